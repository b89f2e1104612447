"""kombu's connection to Redis, keeping what it makes anew for each command."""

from __future__ import annotations

import functools
from typing import Any


@functools.cache
def keep_client(transport: Any) -> Any:
    """Build the class that stands for `transport` (a class of `kombu.transport.redis`).

    A client of redis-py, which threads may share, takes longer to make than a command to send.
    """

    class KeptClientChannel(transport.Channel):  # type: ignore[misc]  # kombu has no types
        _kept_client: Any = None

        def _create_client(self, asynchronous: bool = False) -> Any:
            if asynchronous:
                return super()._create_client(asynchronous=True)
            if self._kept_client is None or self._kept_client.connection_pool is not self.pool:
                self._kept_client = super()._create_client()
            return self._kept_client

    class KeptClientTransport(transport):  # type: ignore[misc]  # kombu has no types
        Channel = KeptClientChannel

    return KeptClientTransport
