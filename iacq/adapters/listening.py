"""Addresses that a server of iacq listens on."""

from __future__ import annotations

import ipaddress
import os
import socket

from iacq.errors import Unavailable
from iacq.settings import split_endpoint


def is_loopback(endpoint: str) -> bool:
    """Tell whether only this machine can reach `host:port`. A name other than localhost counts as reachable."""
    host, _ = split_endpoint(endpoint)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_free(endpoint: str, *, field: str) -> None:
    """Try to listen on `host:port` for a moment. field: the setting it comes from. Raises Unavailable."""
    host, port = split_endpoint(endpoint)
    try:
        socket.create_server((host, port), family=family(host, port)).close()
    except OSError as error:
        raise unavailable(endpoint, error, field=field) from error


def family(host: str, port: int) -> socket.AddressFamily:
    """Return the kind of an address: IPv4 or IPv6. Raises OSError for a name that nobody knows."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]


def unavailable(endpoint: str, error: OSError, *, field: str) -> Unavailable:
    """Say why nothing can listen on `host:port`."""
    # An address error names no system error; what asyncio and socket add to the others repeats the address.
    reason = str(error) if isinstance(error, socket.gaierror) or not error.errno else os.strerror(error.errno)
    return Unavailable(
        f"nothing can listen on {endpoint}: {reason}",
        field=field,
        hint="stop what listens there, or choose another address or port",
        code="address_in_use",
    )
