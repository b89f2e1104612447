"""Become one of iacq's programs: it replaces this process, so that it is the container's first."""

from __future__ import annotations

import os
import sys

from iacq.cli.app import App


def become(app: App, module: str, *arguments: str, **settings: str) -> None:
    """Run `python -m module` in this process's place. settings: more variables of its environment."""
    app.settings  # noqa: B018 - a bad setting is said here, as every other command says it
    environment = {**os.environ, **settings, **({"IACQ_LOG_FORMAT": "json"} if app.as_json else {})}
    sys.stdout.flush()
    sys.stderr.flush()
    # -P: a directory called `iacq` where this is started must not be taken for the package.
    command = [sys.executable, "-P", "-m", module, *arguments]
    os.execve(sys.executable, command, environment)  # noqa: S606 - our interpreter
