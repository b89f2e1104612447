"""Stands between a program and a database server on TCP, and can lose the way between them."""

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

import sqlalchemy as sa


class Proxy:
    """A context manager. `change` may change what the server says."""

    def __init__(self, url: str, *, change: Callable[[bytes], bytes] = bytes) -> None:
        server = sa.make_url(url)
        self._server = (server.host, server.port)
        self._change = change
        self._open = threading.Event()
        self._open.set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = server.set(port=self._listening.getsockname()[1]).render_as_string(hide_password=False)
        """The server by this way."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.heal()

    def cut(self) -> None:
        """From now on nothing arrives, and nobody is told; what is sent waits on the way, as TCP sends it again."""
        self._open.clear()

    def heal(self) -> None:
        """Let everything pass again."""
        self._open.set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._server)
                self._start(client, server, bytes)
                self._start(server, client, self._change)

    def _start(self, source: socket.socket, target: socket.socket, change: Callable[[bytes], bytes]) -> None:
        threading.Thread(target=self._pass_on, args=(source, target, change), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, change: Callable[[bytes], bytes]) -> None:
        with source, target, contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                target.sendall(change(data))
            target.shutdown(socket.SHUT_RDWR)
