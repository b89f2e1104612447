"""Installs one pinned terraform where neither terraform nor tofu is on PATH.

The scripts run `python -m iacq.adapters.terraform.release DIRECTORY`; iacq itself never downloads a program.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import platform
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from iacq.errors import IacqError, Unavailable

VERSION = "1.11.4"
PUBLISHER = "https://releases.hashicorp.com/terraform"
SHA256 = {  # of the publisher's zip files: the one place where the version's sums are pinned
    "linux_amd64": "1ce994251c00281d6845f0f268637ba50c0005657eb3cf096b92f753b42ef4dc",
    "linux_arm64": "a43d1d0da9b9bab214a8305a39db0e40869572594ccf50c416a7756499143633",
}

_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_HINT = "put terraform or tofu on PATH, or set IACQ_TERRAFORM to one, and start again"
_STALL = 30.0  # seconds without a byte
_LONGEST = 900.0  # seconds for the whole download
_LARGEST = 256 * 2**20  # bytes
_CHUNK = 2**16


def install(
    directory: Path,
    *,
    environ: Mapping[str, str],
    base_url: str = PUBLISHER,
    sums: Mapping[str, str] = SHA256,
    longest: float = _LONGEST,
) -> Path:
    """Download the pinned release, check its SHA-256, and put `terraform` into `directory`; returns its path.

    It appears there whole or not at all. Proxies and SSL_CERT_FILE work as usual. Raises Unavailable:
    downloads are forbidden (`IACQ_NO_DOWNLOAD`), there is none for this machine, it failed, or the sum is not
    the pinned one.
    """
    if environ.get("IACQ_NO_DOWNLOAD", "") not in {"", "0"}:
        raise _unavailable("neither terraform nor tofu was found, and IACQ_NO_DOWNLOAD forbids to download one")
    name = platform_name()
    if name not in sums:
        raise _unavailable(f"there is no pinned terraform for {name}")
    url = f"{base_url}/{VERSION}/terraform_{VERSION}_{name}.zip"
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory) as archive:
        found = _download(url, archive, deadline=time.monotonic() + longest)
        if found != sums[name]:
            raise _unavailable(f"{url} is not the pinned release: its SHA-256 is {found}, expected {sums[name]}")
        return _unpack(archive, directory / "terraform")


def platform_name() -> str:
    """Name this machine as the publisher does: `linux_amd64`."""
    machine = platform.machine().lower()
    return f"{platform.system().lower()}_{_MACHINES.get(machine, machine)}"


def main(arguments: list[str]) -> int:
    """Install into the directory given; returns the exit code."""
    if len(arguments) != 1:
        print("Usage: python -m iacq.adapters.terraform.release DIRECTORY", file=sys.stderr)
        return 2
    try:
        print(install(Path(arguments[0]), environ=os.environ))
    except IacqError as error:
        print(f"Error: {error.message}\n  {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


def _download(url: str, to: BinaryIO, *, deadline: float) -> str:
    """Copy what `url` answers, and return its SHA-256."""
    digest, size = hashlib.sha256(), 0
    opener = urllib.request.build_opener()  # a new one reads the proxies of now
    with _translated(url), opener.open(url, timeout=_STALL) as answer:
        promised = answer.headers.get("Content-Length")
        while chunk := answer.read(_CHUNK):
            size += len(chunk)
            if size > _LARGEST:
                raise _unavailable(f"{url} is larger than {_LARGEST} bytes")
            if time.monotonic() > deadline:
                raise _unavailable(f"{url} took too long: {size} bytes came in time")
            digest.update(chunk)
            to.write(chunk)
    if promised is not None and size < int(promised):
        raise _unavailable(f"{url} broke off after {size} of {promised} bytes")
    return digest.hexdigest()


@contextlib.contextmanager
def _translated(url: str) -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as error:
        error.close()
        raise _unavailable(f"{url} answered {error.code} {error.reason}") from error
    except urllib.error.URLError as error:
        raise _unavailable(f"cannot download {url}: {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _unavailable(f"cannot download {url}: {error or type(error).__name__}") from error


def _unpack(archive: BinaryIO, target: Path) -> Path:
    """Take `terraform` alone out of the archive; a link or a path in it has no effect."""
    descriptor, partial = tempfile.mkstemp(dir=target.parent, prefix=".terraform-")
    try:
        with open(descriptor, "wb") as program, zipfile.ZipFile(archive) as release:
            program.write(release.read("terraform"))
            os.fchmod(program.fileno(), 0o755)
            program.flush()
            os.fsync(program.fileno())
        os.replace(partial, target)
    except BaseException as error:
        os.unlink(partial)
        if isinstance(error, (OSError, KeyError, zipfile.BadZipFile)):
            raise _unavailable(f"cannot unpack terraform into {target.parent}: {error}") from error
        raise
    return target


def _unavailable(what: str) -> Unavailable:
    return Unavailable(what, hint=_HINT, code="no_terraform")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
