"""`iacq doctor`."""

from __future__ import annotations

import dataclasses

import click

from iacq.cli import output
from iacq.cli.app import App
from iacq.cli.command import Command, pass_app
from iacq.errors import Unavailable


@click.command(cls=Command, example="iacq doctor")
@pass_app
def doctor(app: App) -> int:
    """Check everything that a run needs, and say what to do about each failure. Exit code 5 if one fails."""
    from iacq.bootstrap import checks

    findings = []
    for finding in checks.look(app.settings):
        findings.append(finding)
        if not app.as_json:
            mark = "\033[32mok    \033[0m" if finding.ok else "\033[31mfailed\033[0m"
            output.line(f"{mark}  {finding.name:<11} {finding.text}")
            if finding.hint:
                output.line(f"{'':<20}{finding.hint}")
    ok = all(finding.ok for finding in findings)
    if app.as_json:
        output.emit({"ok": ok, "checks": [dataclasses.asdict(finding) for finding in findings]})
    return 0 if ok else Unavailable.exit_code
