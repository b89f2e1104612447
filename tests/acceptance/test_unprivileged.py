"""What a hostile configuration can read of iacq's own processes, which run as the same user."""

import base64
import json
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from iacq.client import Client
from iacq.domain.run import Status
from iacq.domain.workspace import Workspace
from iacq.settings import Settings, load
from tests import processes
from tests.acceptance import configurations
from tests.unprivileged import Unprivileged
from tests.waiting import wait_until

SNOOP = '''
"""Read all that this user can read of every process, and say what it was."""
import ctypes, glob, json, os, sys

PTRACE_ATTACH, PTRACE_DETACH = 16, 17
libc = ctypes.CDLL(None, use_errno=True)

def read(path):
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20).decode(errors="replace")
    except OSError:
        return None

def memory(pid):
    """The part of its memory that it wrote itself."""
    found = []
    try:
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
            for line in maps:
                span, mode = line.split()[:2]
                start, end = (int(part, 16) for part in span.split("-"))
                if mode.startswith("rw") and end - start < 1 << 26:
                    try:
                        mem.seek(start)
                        found.append(mem.read(end - start))
                    except (OSError, ValueError, OverflowError):
                        pass
    except OSError:
        return None
    return b"".join(found)

def files(pid):
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return None
    paths = [f"/proc/{pid}/fd/{name}" for name in names]
    return [read(path) for path in paths if os.path.isfile(path)]

def attached(pid):
    done = libc.ptrace(PTRACE_ATTACH, pid, None, None) == 0
    if done:
        os.waitpid(pid, 0x40000000)
        libc.ptrace(PTRACE_DETACH, pid, None, None)
    return done

ours, decoy, report, marker = os.getpid(), int(sys.argv[1]), sys.argv[2], sys.argv[3].encode()[::-1]
said = {}
for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
    if pid == ours:
        continue
    program = (read(f"/proc/{pid}/comm") or "").strip()
    traced = pid == decoy or program.startswith(("iacq", "python", "celery"))
    mem = memory(pid)
    said[pid] = {
        "program": program, "environ": read(f"/proc/{pid}/environ") or None, "cmdline": read(f"/proc/{pid}/cmdline"),
        "files": files(pid), "memory": mem is not None, "marked": marker in (mem or b""),
        "attached": traced and attached(pid),
    }
said["env"] = dict(os.environ)
with open(report, "w") as file:
    json.dump(said, file)
'''
HOSTILE = """
resource "terraform_data" "hostile" {
  provisioner "local-exec" { command = "%s" }
}
"""
OTHER = """
variable "token" { sensitive = true }
resource "terraform_data" "other" { input = sha256(var.token) }
"""


@pytest.fixture(scope="module")
def unprivileged() -> Iterator[Unprivileged]:
    with Unprivileged() as made:
        yield made


@pytest.fixture
def settings(unprivileged: Unprivileged, postgres_url: str) -> Settings:
    """As on a server: keys and addresses come from the environment of iacq's processes, and from nowhere else."""
    environment = {
        "IACQ_HOME": str(unprivileged.directory / "home"),
        "IACQ_DATABASE_URL": postgres_url,
        "IACQ_ENCRYPTION_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(),
    }
    return load(environment, unprivileged.directory)


def key(settings: Settings) -> str:
    assert settings.encryption_keys
    return settings.encryption_keys[0]


@pytest.fixture
def up(unprivileged: Unprivileged, settings: Settings) -> Iterator[int]:
    """Run `iacq up` as that user."""
    log = unprivileged.directory / "up.log"
    environment = {
        "IACQ_HOME": str(settings.home),
        "IACQ_DATABASE_URL": settings.sqlalchemy_url,
        "IACQ_ENCRYPTION_KEYS": key(settings),
        "IACQ_TERRAFORM": str(unprivileged.program("terraform")),
        "IACQ_DISK_FLOOR": "1MiB",
    }
    program = unprivileged.start("-m", "iacq.cli", "up", environment=environment, log=log)
    try:
        wait_until(lambda: "iacq is up" in log.read_text() or program.poll() is not None, 60, "iacq is up")
        assert program.poll() is None, log.read_text()
        yield program.pid
    finally:
        if program.poll() is None:
            program.send_signal(signal.SIGINT)
        program.wait(60)


@pytest.fixture
def decoy(unprivileged: Unprivileged) -> Iterator[int]:
    """A process of that user that does not protect itself: what is read of it could be read of the others."""
    hold = "held = 'decoy-' + input.__name__; print('ready', flush=True); import time; time.sleep(600)"
    log = unprivileged.directory / "decoy.log"
    started = unprivileged.start("-c", hold, environment={"DECOY": "decoy-environment"}, log=log)
    wait_until(lambda: "ready" in log.read_text(), 20, "the decoy is ready")
    yield started.pid
    started.kill()
    started.wait()


def apply(client: Client, name: str, path: Path, **secrets: Any) -> None:
    client.create_workspace(Workspace(name=name, pool="default", path=str(path), auto_apply=True), **secrets)
    run = client.wait(client.enqueue(name, "plan_and_apply").id, timeout=120)
    assert (run.status, run.error_text) == (Status.APPLIED, None)


def test_nothing_of_iacqs_processes_can_be_read(
    unprivileged: Unprivileged, settings: Settings, up: int, decoy: int, tmp_path: Path
) -> None:
    """Neither keys, nor the database's password, nor a secret of another workspace, whose run was in the same slot."""
    other = {"secret_variables": {"token": "other-" + secrets.token_hex(8)}}
    other["secret_environment"] = {"AWS_SECRET_ACCESS_KEY": "other-" + secrets.token_hex(8)}
    client = Client.from_env(settings)
    apply(client, "other", configurations.write(tmp_path / "other", OTHER), **other)

    report = unprivileged.directory / "report.json"
    marker = "decoy-input"[::-1]
    command = f"{unprivileged.python} snoop.py {decoy} {report} {marker}"
    source = configurations.write(tmp_path / "hostile", HOSTILE % command)
    configurations.write(source, SNOOP, "snoop.py")
    apply(client, "hostile", source)

    said = json.loads(report.read_text())
    hidden = [settings.sqlalchemy_url.split(":")[2].split("@")[0], key(settings)]
    hidden += [value for values in other.values() for value in values.values()]
    for secret in hidden:
        assert len(secret) > 10
        assert secret not in report.read_text()
    assert not (settings.home / "keys").exists()

    found = said[str(decoy)]
    assert "decoy-environment" in found["environ"]
    assert (found["marked"], found["attached"]) == (True, True), "the snoop can read what is not protected"

    family = [up, *(process.pid for process in processes.descendants(up))]
    ours = [said[str(pid)] for pid in family if str(pid) in said and "valkey" not in said[str(pid)]["program"]]
    names = [one["program"] for one in ours]
    assert {"iacq-slot-1", "iacq-slot-2", "iacq-housekeepi", "iacq-keeper", "iacq-forkserver"} <= set(names)
    started = " ".join(one["cmdline"] for one in ours).replace("\0", " ")
    for program in ("iacq.cli up", "workers.control ", "workers.control beat", "workers.agent"):
        assert program in started
    for one in ours:
        readable = [name for name in ("environ", "files", "memory", "attached") if one[name]]
        assert not readable, (one["program"], one["cmdline"])
