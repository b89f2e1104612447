"""Hears every message that goes into a queue, and sends it again later: doubled, late, out of order."""

import contextlib
import random
import threading
from collections import deque
from pathlib import Path
from typing import Self

import redis

REMEMBERED = 400
"""Messages."""


class Resender:
    """A context manager."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._heard: deque[tuple[str, str]] = deque(maxlen=REMEMBERED)  # queue, message
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="resender", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def resend(self, pick: int) -> int:
        """Put what was heard of slots and control workers into its queues once more; returns how many messages."""
        chosen = list(self._heard)
        random.Random(pick).shuffle(chosen)
        with contextlib.closing(self._connect()) as client:
            for queue, message in chosen:
                client.lpush(queue, message)
        return len(chosen)

    def _listen(self) -> None:
        while not self._over.wait(0.2):
            with contextlib.suppress(redis.RedisError, OSError), contextlib.closing(self._connect()) as client:
                self._monitor(client)

    def _monitor(self, client: redis.Redis) -> None:
        """Hear until the broker goes away."""
        with client.monitor() as monitor:
            while not self._over.is_set():
                if not monitor.connection.can_read(timeout=0.2):
                    continue
                words = monitor.next_command()["command"]
                command, _, rest = words.partition(" ")
                queue, _, message = rest.partition(" ")
                if command == "LPUSH" and not queue.startswith(("_kombu", "unacked")) and "pidbox" not in queue:
                    self._heard.append((queue, message))

    def _connect(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self._socket), socket_timeout=2, decode_responses=True)
