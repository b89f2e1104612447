"""Secrets that are planted in a workspace are found where terraform needs them, and nowhere else."""

import contextlib
import dataclasses
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import redis

from iacq.adapters.messaging import celery_app
from iacq.domain.run import StartTier, Status
from tests.acceptance import configurations, fleet
from tests.acceptance.configurations import Gate
from tests.acceptance.conftest import on_both
from tests.acceptance.stored import everything_stored
from tests.acceptance.system import System
from tests.waiting import wait_until

PEM_LINES = ("MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "BKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj", "Zm9yIHBsYW50aW5nIG9ubHksIG5vIGtl")
PEM = "\n".join(["-----BEGIN PRIVATE KEY-----", *PEM_LINES, "-----END PRIVATE KEY-----", ""])
TOKEN = 'var-token "quoted" \\ <and> long enough to be wrapped by a box of seventy-eight columns, twice'
NESTED = "nested-in-json-7731"
ENVIRONMENT = "env-secret-5502"
SENSITIVE = "sensitive-output-9917"
PLANTED = [*PEM_LINES, TOKEN, TOKEN[:20], TOKEN[-20:], NESTED, ENVIRONMENT]
"""What is known to be secret; of the long one also its ends."""

LEAKING = """
variable "token" {}
variable "pem" {}
variable "config" { type = object({ password = string }) }
variable "broken" { default = false }
resource "terraform_data" "shown" {
  input = {
    token = var.token
    pem   = var.pem
    json  = jsonencode([var.token, var.config])
    line  = split("\\n", var.pem)[1]
  }
}
resource "terraform_data" "printed" {
  depends_on = [terraform_data.shown]
  triggers_replace = var.broken
  provisioner "local-exec" {
    command = <<-END
      cat <<'HERE'
      ${var.token}
      ${var.pem}
      ${jsonencode(var.config)}
      HERE
      env; printf 'no newline '; printf %s "$DEPLOY_TOKEN"
    END
  }
}
resource "terraform_data" "failing" {
  count      = var.broken ? 1 : 0
  depends_on = [terraform_data.printed]
  lifecycle {
    postcondition {
      condition     = self.id == ""
      error_message = "It is not ${var.token}, nor ${join(" ", split("\\n", var.pem))}."
    }
  }
}
output "token" { value = var.token }
output "pem" { value = var.pem }
output "quiet" {
  value     = "SENSITIVE"
  sensitive = true
}
""".replace("SENSITIVE", SENSITIVE)


class Overheard:
    """Celery's events and the process list, while a test runs."""

    def __init__(self, system: System) -> None:
        self.events: list[str] = []
        self.commands: set[bytes] = set()
        app = celery_app.make_worker_app(system.settings)
        self._connection = app.connection()
        self._receiver = app.events.Receiver(self._connection, handlers={"*": self._note})
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._hear), threading.Thread(target=self._look)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self.events, 20, "an event of Celery")
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._receiver.should_stop = True
        for thread in self._threads:
            thread.join()

    def _hear(self) -> None:
        with self._connection:
            self._receiver.capture(limit=None, timeout=None, wakeup=False)

    def _note(self, event: Any) -> None:
        self.events.append(repr(event))

    def _look(self) -> None:
        while not self._over.wait(0.05):
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError):
                    command = Path(f"/proc/{pid}/cmdline").read_bytes()
                    # What a configuration writes into a command of its own is there for all to see.
                    if not command.startswith(b"/bin/sh\0-c\0"):
                        self.commands.add(command)


def redis_dump(system: System) -> bytes:
    """Return every key of the broker with what it holds."""
    with contextlib.closing(redis.Redis(unix_socket_path=str(system.broker.socket))) as client:
        return b"".join(key + (client.dump(key) or b"") for key in client.scan_iter())


def files_below(*roots: Path) -> Iterator[Path]:
    for root in roots:
        yield from (file for file in root.rglob("*") if file.is_file() and not file.is_symlink())


@on_both
def test_planted_secrets_are_in_the_runs_own_directory_only(system: System, tmp_path: Path) -> None:
    """docs/failures.md 37, 38."""
    system.workspace("quiet", configurations.write(tmp_path / "quiet", configurations.COUNTED))
    system.workspace(
        "leaking",
        configurations.write(tmp_path / "leaking", LEAKING),
        secret_variables={"token": TOKEN, "pem": PEM, "config": json.dumps({"password": NESTED})},
        secret_environment={"DEPLOY_TOKEN": ENVIRONMENT},
    )
    with Overheard(system) as overheard:
        bystander = system.plan("quiet")
        planned = system.plan("leaking")
        assert planned.status is Status.APPLY_PENDING, planned.error_text
        check_directory(system, planned)
        system.confirm(planned)
        applied = system.wait(planned)
        assert applied.status is Status.APPLIED
        failed = system.apply("leaking", variables={"broken": True})
        assert failed.status is Status.FAILED
    said = []
    for run in (applied, system.client.get(failed.id)):
        said += [system.log(run), system.client.plan_text(run.id), str(run), json.dumps(system.client.to_json(run))]
        said += map(str, system.client.events(run.id))
    assert said[0].count("***") > 10, "what was printed is there, masked"
    assert "It is not ***, nor" in str(failed.error_text)
    elsewhere = b"".join(file.read_bytes() for file in files_below(*directories(system, bystander)))
    places = {
        "what people are shown": "\n".join(said).encode(),
        "events of Celery": "\n".join(overheard.events).encode(),
        "process list": b"\n".join(overheard.commands),
        "broker": redis_dump(system),
        "stored": everything_stored(system),
        "another run": elsewhere,
    }
    assert b"task-failed" in places["events of Celery"]
    assert b"terraform\0apply" in places["process list"]
    for where, content in places.items():
        for secret in (*PLANTED, SENSITIVE):
            for written in (secret.encode(), json.dumps(secret)[1:-1].encode()):
                assert written not in content, (where, secret)
    outputs = system.client.outputs("leaking")
    assert outputs["token"] == {"value": TOKEN, "type": "string", "sensitive": True}
    assert outputs["quiet"]["value"] == SENSITIVE


def directories(system: System, run: Any) -> list[Path]:
    return list(system.settings.work_root.glob(f"pods/*/slot-*/{run.id}-*")) + list(
        system.settings.work_root.glob(f"pods/*/slot-*/jobs/{run.id}-*")
    )


def check_directory(system: System, run: Any) -> None:
    """The secrets are where terraform needs them, and nobody else may look there."""
    found = directories(system, run)
    assert any(NESTED.encode() in file.read_bytes() for file in files_below(*found))
    assert system.settings.work_root.stat().st_mode & 0o777 == 0o700
    for directory in (system.home, *found):
        assert directory.stat().st_mode & 0o077 == 0, directory
    for file in files_below(*(directory for directory in found if directory.parent.name == "jobs")):
        assert file.stat().st_mode & 0o077 == 0, file


def test_a_rotated_credential_works_at_a_hot_apply(system: System, tmp_path: Path) -> None:
    """The secret environment is no part of the plan; a secret variable is."""
    seen = tmp_path / "seen"
    text = 'variable "v" {}\nresource "terraform_data" "it" {\n  provisioner "local-exec" {\n'
    text += f"    command = \"echo ${{var.v}} $KEY $PLAIN >> '{seen}'; echo $KEY\"\n  }}\n}}\n"
    system.workspace(
        "rotated",
        configurations.write(tmp_path / "rotated", text),
        environment={"PLAIN": "plain-1"},
        secret_variables={"v": "frozen-1"},
        secret_environment={"KEY": "rotates-1"},
    )
    run = system.plan("rotated")
    system.client.update_workspace(
        "rotated",
        environment={"PLAIN": "plain-2"},
        secret_variables={"v": "frozen-2"},
        secret_environment={"KEY": "rotates-2"},
    )
    system.confirm(run)
    applied = system.wait(run)
    assert (applied.status, applied.start_tier) == (Status.APPLIED, StartTier.HOT)
    assert seen.read_text().split() == ["frozen-1", "rotates-2", "plain-1"]
    assert "rotates-2" not in system.log(run)
    shown = dataclasses.asdict(system.client.workspace("rotated"))
    assert (shown["secret_names"], shown["secret_environment"]) == (("v",), ("KEY",))
    assert "frozen" not in str(shown)


@pytest.mark.parametrize("readable", [True, False])
def test_an_adopted_apply_shows_no_secret(system: System, tmp_path: Path, gate: Gate, readable: bool) -> None:
    """Where a new process of the slot cannot learn what is secret, it shows nothing; the apply ends all the same."""
    source = configurations.write(tmp_path / "gated", gate.configuration(after="echo said $TOKEN"))
    system.workspace("gated", source, secret_environment={"TOKEN": ENVIRONMENT})
    run = system.plan("gated")
    system.confirm(run)
    gate.reached()
    if not readable:
        (system.home / "artifacts" / "runs" / str(run.id) / "inputs-0").unlink()
    fleet.kill(system.fleet().slot(system.client.get(run.id).slot_id or 0))
    system.until(run, lambda _: "adopted" in system.history(run), "the apply is adopted")
    gate.open()
    assert system.wait(run).status is Status.APPLIED
    log = system.log(run, "apply")
    assert ENVIRONMENT not in log
    assert ("said ***" in log) is readable
    assert ("cannot be shown" in log) is not readable
    assert ("Apply complete" in log) is readable
