"""Sees off an embedded broker that an earlier parent left: two servers would ruin one append-only file."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from iacq.adapters.broker import program
from iacq.settings import Settings


def see_off(settings: Settings, patience: float = 5.0) -> None:
    """Wait until no earlier server of this HOME is left: the kernel told it to go when its parent died.

    patience: seconds until it gets SIGTERM, and again until SIGKILL.
    """
    for pid in set(_servers(settings)):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if _is_ours(pid, settings):  # asked after opening: the descriptor stays that process
                _stop(descriptor, patience)
        finally:
            os.close(descriptor)


def _servers(settings: Settings) -> Iterator[int]:
    """Who listens on our socket, and who wrote our pid file (a server that shuts down listens no more)."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        client.connect(str(settings.broker_socket))
        credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        yield struct.unpack("3i", credentials)[0]
    with contextlib.suppress(OSError, ValueError):
        yield int(program.pid_file(settings).read_text())


def _is_ours(pid: int, settings: Settings) -> bool:
    """Tell by its command line; a number may belong to another process by now."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return os.fsencode(settings.broker_socket) in command


def _stop(descriptor: int, patience: float) -> None:
    ended = select.poll()
    ended.register(descriptor, select.POLLIN)
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        if number is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
        if ended.poll(patience * 1000):
            return
