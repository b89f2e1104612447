"""The HTTP side: a thread per connection, requests in a log, watches in chunks, and everything that can go wrong."""

import contextlib
import email.utils
import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

from tests.kubernetes import requests, watching
from tests.kubernetes.access import Access
from tests.kubernetes.answers import Answers
from tests.kubernetes.faults import Fault, Faults
from tests.kubernetes.problems import ApiError
from tests.kubernetes.requests import Request
from tests.kubernetes.storage import Object, Storage


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that was answered, or was not."""

    at: float  # monotonic seconds
    verb: str
    resource: str
    name: str
    code: int | None  # None: the connection broke


class ApiServer(http.server.ThreadingHTTPServer):
    """Serves on a free port of loopback while it is a context. Times may be changed while it runs."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, storage: Storage) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.storage = storage
        self.access = Access()
        self.answers = Answers(storage, self.access)
        self.faults = Faults()
        self.asked: list[Asked] = []
        self.bookmark_seconds = 1.0  # a real one: about 60
        self.clock_offset = 0.0  # seconds by which its clock is ahead
        self.watches = 0  # that are open now
        self.generation = 0  # changes when watches are cut
        self._away = False
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, name="api")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.faults.clear()
        self.cut_watches()
        self.shutdown()
        self._thread.join()
        self._drop_connections()
        self.server_close()

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Answer nobody: connections that there are break, and so does each new one."""
        self._away = True
        self.cut_watches()
        self._drop_connections()
        try:
            yield
        finally:
            self._away = False

    def cut_watches(self) -> None:
        """Break the connection of every watch, in the middle of it."""
        with self._lock:
            self.generation += 1
        self.storage.wake()

    def count(self, verb: str | None = None, resource: str = "pods", *, since: float = 0) -> int:
        """Count the requests since then (monotonic seconds)."""
        return sum(one.resource == resource and verb in (None, one.verb) and one.at >= since for one in self.asked)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return not self._away

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error; anything else is printed."""
        import sys

        if not isinstance(sys.exception(), ConnectionError | ValueError):
            super().handle_error(request, client_address)

    def _drop_connections(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for one in connections:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class _BrokenError(ConnectionError):
    """The connection is to break."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: ApiServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet an answer

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        request: Request | None = None
        code: int | None = None
        try:
            request = requests.read(self.command, self.path, self.headers.get("Content-Type") or "", body)
            self.server.access.check(request, self.headers.get("Authorization") or "")
            code = self._serve(request)
        except ApiError as error:
            code = error.code
            self._send(error.code, error.status(), retry_after=error.retry_after)
        except _BrokenError:
            self._break()
        finally:
            if request is not None:
                self.server.asked.append(
                    Asked(
                        at=time.monotonic(), verb=request.verb, resource=request.resource, name=request.name, code=code
                    )
                )

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815 - http.server looks for these names

    def _serve(self, request: Request) -> int:
        fault = self.server.faults.take(request.verb, request.resource, request.name)
        if fault is not None:
            self._suffer(fault)
        if request.verb == "watch":
            self._watch(request)
            return 200
        code, answer = self.server.answers.answer(request)
        if fault is not None and fault.loses_answer:
            raise _BrokenError
        self._send(code, answer)
        return code

    def _suffer(self, fault: Fault) -> None:
        if fault.delay:
            self.server.faults.cleared.wait(fault.delay)
        if fault.breaks:
            raise _BrokenError
        error = fault.error()
        if error is not None:
            raise error

    def _watch(self, request: Request) -> None:
        generation = self.server.generation
        found = watching.events(
            self.server.storage,
            request,
            bookmark_seconds=self.server.bookmark_seconds,
            is_cut=lambda: self.server.generation != generation,
        )
        self.server.watches += 1
        try:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.flush()
            for event in found:
                self._chunk(json.dumps(event).encode() + b"\n")
            if self.server.generation != generation:
                raise _BrokenError
            self._chunk(b"")
        finally:
            self.server.watches -= 1

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _send(self, code: int, answer: Object | str, *, retry_after: int | None = None) -> None:
        text = isinstance(answer, str)
        data = str(answer).encode() if text else json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "text/plain" if text else "application/json")
        self.send_header("Content-Length", str(len(data)))
        if retry_after is not None:
            self.send_header("Retry-After", str(retry_after))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def _break(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return email.utils.formatdate((timestamp or time.time()) + self.server.clock_offset, usegmt=True)

    def log_message(self, *args: Any) -> None:
        """The requests are in `asked`."""
