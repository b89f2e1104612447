"""What is in the wheel, and that it runs as the images run it."""

import base64
import contextlib
import secrets
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from iacq.adapters.broker import program as broker_program
from iacq.adapters.programs import child_process
from iacq.client import Client
from iacq.domain.run import Status
from iacq.domain.workspace import Workspace
from iacq.settings import Settings, load
from tests import servers
from tests.acceptance import configurations
from tests.acceptance.machine import Machine
from tests.ports import free_address
from tests.unprivileged import Unprivileged
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and install it, without what it needs, outside the checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", directory, ROOT], check=True, timeout=300)
    (wheel,) = directory.glob("*.whl")
    target = directory / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", target, wheel], check=True, timeout=300)
    return target


def test_the_wheel_is_complete(installed: Path, tmp_path: Path, home: Path) -> None:
    """Installed from the wheel, outside the checkout, the demo works, and so does Celery's own command line."""
    machine = Machine(home, python_path=installed)
    where = [sys.executable, "-c", "import iacq, workers, beat_schedule; print(iacq.__file__, beat_schedule.__file__)"]
    found = subprocess.run(where, cwd=tmp_path, env=machine.environment, capture_output=True, text=True, check=True)
    assert found.stdout.count(str(installed)) == 2
    assert (installed / "iacq" / "py.typed").is_file()
    done = machine.iacq("demo")
    assert done.returncode == 0, done.stderr + done.stdout
    report: Sequence[str] = [sys.executable, "-P", "-m", "celery", "-A", "workers.control", "report"]
    subprocess.run(report, cwd=tmp_path, env=machine.environment, check=True, capture_output=True, timeout=300)


@contextlib.contextmanager
def redis_server(directory: Path) -> Iterator[str]:
    """Run a broker that another user may reach; gives its URL."""
    host, _, port = free_address().partition(":")
    program = broker_program.find(Settings(home=directory))
    options = ["--port", port, "--bind", host, "--save", "", "--dir", str(directory)]
    with subprocess.Popen(
        [program, *options],
        stdout=subprocess.DEVNULL,
        preexec_fn=child_process.die_with_parent(),  # noqa: PLW1509 - one prctl
    ) as server:
        try:
            yield f"redis://{host}:{port}/0"
        finally:
            server.terminate()


def answers(address: str, page: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}{page}", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def test_the_programs_run_as_in_the_images(installed: Path, postgres_server: servers.Postgres, tmp_path: Path) -> None:
    """As a user who may write in one directory only, each told where its servers are, and nothing else."""
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(Unprivileged(installed))
        terraform = place.program("terraform")
        state = place.close_all_but("state")
        url = stack.enter_context(postgres_server.database(template="template0"))
        broker = stack.enter_context(redis_server(tmp_path))
        pages = {"control": free_address(), "beat": free_address()}
        flower = free_address()
        common = {
            "HOME": str(state),
            "TMPDIR": str(state),
            "IACQ_HOME": str(state / "home"),
            "IACQ_BROKER_URL": broker,
            "IACQ_POD_RUNTIME": "none",
            "IACQ_DISK_FLOOR": "1MiB",
        }
        secret = {
            "IACQ_DATABASE_URL": url,
            "IACQ_ENCRYPTION_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(),
        }

        def start(name: str, *arguments: str, **environment: str) -> "subprocess.Popen[bytes]":
            program = place.start(
                *("-m", *arguments), environment={**common, **environment}, log=tmp_path / f"{name}.log", cwd=Path("/")
            )
            stack.callback(program.wait, 60)
            stack.callback(program.send_signal, signal.SIGTERM)
            return program

        migrating = start("migrate", "iacq.cli", "db", "upgrade", **secret)
        assert migrating.wait(120) == 0, (tmp_path / "migrate.log").read_text()
        start("control", "workers.control", **secret, IACQ_METRICS_ADDRESS=pages["control"])
        # Neither has the database or the keys.
        start("beat", "workers.control", "beat", IACQ_METRICS_ADDRESS=pages["beat"])
        people = {"IACQ_FLOWER_ADDRESS": flower, "IACQ_FLOWER_BASIC_AUTH": "operator:" + secrets.token_hex(8)}
        start("flower", "workers.flower", **people)
        start("agent", "workers.agent", "--slots", "1", **secret, POD_NAME="pod", IACQ_TERRAFORM=str(terraform))
        for name, address in pages.items():
            wait_until(lambda address=address: answers(address, "/healthz"), 120, f"{name} is well")
        assert answers(pages["control"], "/livez")
        wait_until(lambda: answers(flower, "/healthcheck"), 120, "Flower answers")

        client = Client.from_env(load({**common, **secret}, tmp_path))
        source = configurations.write(tmp_path / "source", 'resource "terraform_data" "one" {}\n')
        client.create_workspace(Workspace(name="network", pool="default", path=str(source), auto_apply=True))
        run = client.wait(client.enqueue("network", "plan_and_apply").id, timeout=300)
        assert (run.status, run.error_text) == (Status.APPLIED, None)
        client.close()
