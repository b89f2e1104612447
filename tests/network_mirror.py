"""A provider network mirror over HTTPS on loopback, with a certificate authority of its own."""

import contextlib
import datetime as dt
import hashlib
import http.server
import ipaddress
import json
import ssl
import threading
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from iacq.adapters.providers import packages

NULL = "registry.terraform.io/hashicorp/null"
FOREIGN_H1 = "h1:RlWOXBMG5HZGeJYSuHxFAGCgAlYMQOUxBt8o/PXgTsM="
"""Of a package for another platform."""


class NetworkMirror:
    """Serves hashicorp/null in several versions (the same program under other numbers). A context manager."""

    def __init__(self, directory: Path, program: Path, versions: Sequence[str]) -> None:
        directory.mkdir(parents=True)
        self.authority = directory / "authority.pem"
        self.requests: list[str] = []  # paths, oldest first
        self.status: int | None = None  # what every request is answered with; None: properly
        self._directory = directory
        self._archives = {version: _pack(directory, program, version) for version in versions}
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(_issue(self.authority, directory / "server.pem"))
        self._server.socket = self._context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"https://localhost:{self._server.server_address[1]}/"

    @property
    def configuration(self) -> str:
        """What a user writes into the CLI configuration to get everything from here."""
        return f'provider_installation {{\n  network_mirror {{\n    url = "{self.url}"\n  }}\n}}\n'

    @property
    def environment(self) -> dict[str, str]:
        """What makes terraform trust it."""
        return {"SSL_CERT_FILE": str(self.authority)}

    @contextlib.contextmanager
    def answering(self, status: int) -> Iterator[None]:
        """Answer everything with an error meanwhile."""
        self.status = status
        try:
            yield
        finally:
            self.status = None

    def downloads(self) -> list[str]:
        """Name the archives that were fetched."""
        return [path.rpartition("/")[2] for path in self.requests if path.endswith(".zip")]

    def archive_hash(self, version: str) -> str:
        """Return terraform's hash of an archive."""
        return f"zh:{hashlib.sha256(self._archives[version].read_bytes()).hexdigest()}"

    def foreign_lock(self, version: str) -> str:
        """Write a lock file as another platform leaves it: its own h1, and the archives of all."""
        return lock_file(version, FOREIGN_H1, self.archive_hash(version), f"zh:{'0' * 64}")

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.requests.append(self.path)
                body = None if mirror.status else mirror.answer(self.path)
                self.send_response(mirror.status or (404 if body is None else 200))
                self.send_header("Content-Type", f"application/{self.path.rpartition('.')[2]}")
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        return Handler

    def answer(self, path: str) -> bytes | None:
        """Return what the protocol wants at this path; None: there is nothing."""
        address, _, name = path.strip("/").rpartition("/")
        if address != NULL:
            return None
        if name == "index.json":
            return json.dumps({"versions": {version: {} for version in self._archives}}).encode()
        for version, archive in self._archives.items():
            if name == archive.name:
                return archive.read_bytes()
            if name == f"{version}.json":
                return json.dumps({"archives": {packages.PLATFORM: {"url": archive.name}}}).encode()
        return None


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # fifty come at once

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that went away."""


def lock_file(version: str, *entries: str, constraints: str | None = None) -> str:
    """Write a dependency lock file of hashicorp/null as terraform writes it."""
    listed = "".join(f'    "{entry}",\n' for entry in sorted(entries))
    wanted = f'  constraints = "{constraints}"\n' if constraints else ""
    return f'provider "{NULL}" {{\n  version = "{version}"\n{wanted}  hashes = [\n{listed}  ]\n}}\n'


def _pack(directory: Path, program: Path, version: str) -> Path:
    archive = directory / f"terraform-provider-null_{version}_{packages.PLATFORM}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.write(program, f"terraform-provider-null_v{version}_x4")
    return archive


def _issue(authority: Path, server: Path) -> Path:
    """Make an authority and a certificate of localhost; returns the file with certificate and key."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the tests' own authority")])
    ca = (
        _certificate(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = (
        _certificate(x509.Name([]), ca_name, key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    authority.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    server.write_bytes(secret + leaf.public_bytes(serialization.Encoding.PEM))
    return server


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
    )
