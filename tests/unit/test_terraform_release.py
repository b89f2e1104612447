"""The pinned terraform: only what has the pinned sum is installed, whole or not at all."""

import hashlib
import http.server
import io
import re
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from iacq.adapters.terraform import release as terraform_release
from iacq.errors import Unavailable

PROGRAM = b"#!/bin/sh\necho Terraform v0\n"


def archive(**files: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as release:
        for name, content in files.items():
            release.writestr(name, content)
    return packed.getvalue()


RELEASE = archive(terraform=PROGRAM, LICENSE=b"text")
SUMS = {terraform_release.platform_name(): hashlib.sha256(RELEASE).hexdigest()}


class Publisher:
    """A publisher on loopback that answers as a test wants."""

    def __init__(self) -> None:
        self.body = RELEASE
        self.status = 200
        self.promised: int | None = None  # bytes, where not those of the body
        self.asked: list[str] = []
        publisher = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.asked.append(self.path)
                self.send_response(publisher.status)
                self.send_header("Content-Length", str(publisher.promised or len(publisher.body)))
                self.end_headers()
                self.wfile.write(publisher.body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/terraform"


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    publisher = Publisher()
    thread = threading.Thread(target=publisher.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield publisher
    publisher.server.shutdown()
    publisher.server.server_close()
    thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "bin"


def install(publisher: Publisher, target: Path, **changes: object) -> Path:
    arguments = {"environ": {}, "base_url": publisher.url, "sums": SUMS, **changes}
    return terraform_release.install(target, **arguments)


def test_the_pinned_release_is_installed(publisher, target):
    program = install(publisher, target)
    assert program == target / "terraform"
    assert program.read_bytes() == PROGRAM
    assert stat.S_IMODE(program.stat().st_mode) == 0o755
    assert list(target.iterdir()) == [program]
    version, name = terraform_release.VERSION, terraform_release.platform_name()
    assert publisher.asked == [f"/terraform/{version}/terraform_{version}_{name}.zip"]


def test_another_sum_is_refused(publisher, target):
    publisher.body = archive(terraform=b"something else")
    with pytest.raises(Unavailable, match="is not the pinned release"):
        install(publisher, target)
    assert list(target.iterdir()) == []


def test_what_is_there_stays_when_the_download_fails(publisher, target):
    program = install(publisher, target)
    publisher.body = b"garbage"
    with pytest.raises(Unavailable):
        install(publisher, target)
    assert program.read_bytes() == PROGRAM


def test_a_download_that_breaks_off_is_refused(publisher, target):
    publisher.promised = len(RELEASE)
    publisher.body = RELEASE[:100]
    with pytest.raises(Unavailable, match=f"broke off after 100 of {len(RELEASE)} bytes"):
        install(publisher, target)
    assert list(target.iterdir()) == []


def test_an_error_of_the_publisher_is_told(publisher, target):
    publisher.status = 404
    with pytest.raises(Unavailable, match="answered 404 Not Found") as caught:
        install(publisher, target)
    assert "IACQ_TERRAFORM" in caught.value.hint


def test_no_publisher_is_told(publisher, target):
    with pytest.raises(Unavailable, match=r"cannot download .*refused"):
        install(publisher, target, base_url="http://127.0.0.1:1")


def test_the_time_is_bounded(publisher, target):
    with pytest.raises(Unavailable, match="took too long"):
        install(publisher, target, longest=0)


@pytest.mark.parametrize("body", [b"not a zip", archive(README=b"text")])
def test_an_archive_without_terraform_is_told(publisher, target, body):
    publisher.body = body
    sums = {terraform_release.platform_name(): hashlib.sha256(body).hexdigest()}
    with pytest.raises(Unavailable, match="cannot unpack terraform"):
        install(publisher, target, sums=sums)
    assert list(target.iterdir()) == []


def test_downloads_can_be_forbidden(publisher, target):
    with pytest.raises(Unavailable, match="IACQ_NO_DOWNLOAD forbids") as caught:
        install(publisher, target, environ={"IACQ_NO_DOWNLOAD": "1"})
    assert "put terraform or tofu on PATH" in caught.value.hint
    assert publisher.asked == []


def test_a_machine_without_a_pinned_release_is_told(publisher, target):
    with pytest.raises(Unavailable, match="no pinned terraform for linux_"):
        install(publisher, target, sums={})
    assert publisher.asked == []


def test_a_proxy_is_used(publisher, target, monkeypatch):
    monkeypatch.setenv("http_proxy", publisher.url)
    install(publisher, target, base_url="http://releases.invalid/terraform")
    assert publisher.asked[0].startswith("http://releases.invalid/terraform/")


def test_the_pinned_sums_are_sums_of_two_machines():
    assert set(terraform_release.SHA256) == {"linux_amd64", "linux_arm64"}
    assert all(re.fullmatch("[0-9a-f]{64}", pinned) for pinned in terraform_release.SHA256.values())


def test_as_a_program_it_says_the_fix(target):
    command = [sys.executable, "-m", "iacq.adapters.terraform.release"]
    refused = subprocess.run(
        [*command, target], env={"IACQ_NO_DOWNLOAD": "1"}, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 5
    assert refused.stderr.startswith("Error: neither terraform nor tofu was found, and IACQ_NO_DOWNLOAD")
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2
