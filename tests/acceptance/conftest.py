"""One running system of each database kind, shared by the tests and tidied between them."""

import contextlib
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.acceptance.configurations import Gate
from tests.acceptance.http_backend import HttpBackend
from tests.acceptance.machine import Machine
from tests.acceptance.system import System

MARKS = pytest.StashKey[list[tuple[System, dict[Path, int]]]]()
BOTH = ["sqlite", "postgresql"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the system said meanwhile."""
    report = yield
    if report.failed:
        for system, mark in item.stash.get(MARKS, []):
            report.sections.append((f"system {system.home.name}", system.described_since(mark)))
    return report


@pytest.fixture(scope="session")
def make_database(postgres_server: servers.Postgres, sqlite_template: Path) -> Iterator[Callable[[str, Path], str]]:
    """Make fresh, migrated databases: `make_database(kind, directory)` returns a URL."""
    with contextlib.ExitStack() as stack:

        def make(kind: str, directory: Path) -> str:
            if kind == "postgresql":
                return stack.enter_context(postgres_server.database())
            directory.mkdir(parents=True)
            for file in sqlite_template.parent.glob("template.db*"):
                shutil.copy(file, directory / file.name.replace("template", "iacq"))
            return f"sqlite:///{directory / 'iacq.db'}"

        yield make


class Systems:
    """Keeps a running system of each kind; one that a test has spoilt is replaced."""

    def __init__(self, make: Callable[[str], System]) -> None:
        self._make = make
        self._running: dict[str, System] = {}

    def get(self, kind: str) -> System:
        if kind not in self._running:
            self._running[kind] = self._make(kind).__enter__()
        return self._running[kind]

    def tidy(self, kind: str) -> None:
        try:
            self._running[kind].tidy()
        except BaseException:
            self._running.pop(kind).__exit__()
            raise

    def end(self) -> None:
        for system in self._running.values():
            system.__exit__()


@pytest.fixture(scope="session")
def systems(
    clean_environment: None,
    make_database: Callable[[str, Path], str],
    null_provider: Path,
    terraform_versions: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Systems]:
    def make(kind: str) -> System:
        directory = tmp_path_factory.mktemp(kind)
        url = make_database(kind, directory / "database")
        return System(
            directory / "system", url, PROVIDER_SOURCE=str(null_provider), TERRAFORM_VERSIONS=str(terraform_versions)
        )

    running = Systems(make)
    yield running
    running.end()


@pytest.fixture(params=["sqlite"])
def system(request: pytest.FixtureRequest, systems: Systems, home: Path) -> Iterator[System]:
    """Give a running, idle system; `on_both` runs the test on each database."""
    running = systems.get(request.param)
    request.node.stash[MARKS] = [(running, running.mark())]
    yield running
    systems.tidy(request.param)


@pytest.fixture
def make_system(
    request: pytest.FixtureRequest, make_database: Callable[[str, Path], str], tmp_path: Path, home: Path
) -> Iterator[Callable[..., System]]:
    """Start a system of the test's own, with other settings."""
    with contextlib.ExitStack() as stack:

        def make(kind: str = "sqlite", *, slots: int = 3, **settings: str) -> System:
            url = make_database(kind, tmp_path / "database")
            system = System(tmp_path / "system", url, slots=slots, **settings)
            request.node.stash[MARKS] = [(system, {})]
            return stack.enter_context(system)

        yield make


@pytest.fixture(scope="session")
def terraform_versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the directory of versions that the shared systems know; a test fills it."""
    return tmp_path_factory.mktemp("versions")


@pytest.fixture(scope="session")
def null_provider(null_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an unpacked mirror with the real hashicorp/null."""
    from iacq.adapters.providers import packages

    root = tmp_path_factory.mktemp("null-provider")
    package = root / "registry.terraform.io/hashicorp/null/2.1.2" / packages.PLATFORM
    package.mkdir(parents=True)
    shutil.copy2(null_program, package)
    return root


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Give a gate; it is opened at the end, so that nothing waits behind it for ever."""
    made = Gate(tmp_path / "gate")
    yield made
    made.open()


@pytest.fixture
def backend() -> Iterator[HttpBackend]:
    """Serve states and locks on loopback."""
    with HttpBackend().serving() as serving:
        yield serving


@pytest.fixture
def machine(home: Path) -> Machine:
    """Give an empty HOME."""
    return Machine(home)


on_both = pytest.mark.parametrize("system", BOTH, indirect=True)
