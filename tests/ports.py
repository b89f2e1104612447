"""Ports for servers that cannot choose their own: below those that the kernel hands out, and another one each time.

A port that was free a moment ago may be anybody's connection by the time that a slow program listens on it.
"""

import itertools
import os
import socket
from collections.abc import Iterator

_FIRST, _BEHIND = 12_000, 32_000
_EACH = 2_000
"""Ports of one of the processes that run tests beside each other."""


def _numbers() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw9").removeprefix("gw")) % ((_BEHIND - _FIRST) // _EACH)
    first = _FIRST + worker * _EACH
    begin = os.getpid() % _EACH  # two test sessions on one machine
    return itertools.cycle([*range(first + begin, first + _EACH), *range(first, first + begin)])


_PORTS = _numbers()


def free_port() -> int:
    """Return a port of loopback on which nothing listens, and nothing else will."""
    for port in itertools.islice(_PORTS, _EACH):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")


def free_address() -> str:
    """Return such a port as host:port."""
    return f"127.0.0.1:{free_port()}"
