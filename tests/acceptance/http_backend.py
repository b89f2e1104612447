"""A stand-in for a remote backend: terraform's http protocol on loopback, with locks, and with failures on request."""

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator


class HttpBackend:
    """States and locks by path. `takes_writes`: else a POST of a state is answered with 500."""

    def __init__(self) -> None:
        self.states: dict[str, bytes] = {}
        self.locks: dict[str, dict[str, str]] = {}
        self.takes_writes = True
        self.address = ""

    def configuration(self, name: str, resources: str, *, locks: bool = False) -> str:
        """Return a configuration that keeps its state here."""
        where = f"{self.address}/{name}"
        lines = [f'address = "{where}"', "retry_max = 0"]
        if locks:
            lines += [f'lock_address = "{where}"', f'unlock_address = "{where}"']
        settings = "\n    ".join(lines)
        return f'terraform {{\n  backend "http" {{\n    {settings}\n  }}\n}}\n{resources}'

    @contextlib.contextmanager
    def serving(self) -> Iterator["HttpBackend"]:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"backend": self}))
        self.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    backend: HttpBackend

    def do_GET(self):
        state = self.backend.states.get(self._name)
        self._answer(200 if state else 404, state or b"")

    def do_POST(self):
        body = self._body()
        if self.backend.takes_writes:
            self.backend.states[self._name] = body
        self._answer(200 if self.backend.takes_writes else 500)

    def do_LOCK(self):
        wanted = json.loads(self._body())
        held = self.backend.locks.setdefault(self._name, wanted)
        self._answer(200 if held is wanted else 423, json.dumps(held).encode())

    def do_UNLOCK(self):
        body = self._body()
        held = self.backend.locks.get(self._name)
        if held is not None and body and json.loads(body).get("ID") != held["ID"]:
            self._answer(409, json.dumps(held).encode())
            return
        self.backend.locks.pop(self._name, None)
        self._answer(200)

    @property
    def _name(self) -> str:
        return self.path.split("?")[0].lstrip("/")

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, code: int, body: bytes = b"") -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass
