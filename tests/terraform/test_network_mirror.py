"""Providers over the network, under lock files of any kind; what was fetched once is not fetched again."""

import os
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from iacq.adapters.providers import packages
from iacq.adapters.sources import source_tree
from iacq.adapters.terraform.workshop import SlotWorkshop
from iacq.domain import provider_lock
from iacq.domain.provider_lock import Installation
from iacq.settings import Settings
from tests.inits import Initialized, initialize
from tests.network_mirror import FOREIGN_H1, NULL, NetworkMirror, lock_file

RESOURCE = 'resource "null_resource" "x" {}\n'


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(home=tmp_path / "iacq")


@pytest.fixture
def make_workshop(settings, tmp_path):
    """Make the directories of one slot; its user takes providers from a network mirror."""
    user = tmp_path / "terraform-user"
    user.mkdir()

    def make(mirror: NetworkMirror, slot: int = 1) -> SlotWorkshop:
        (user / ".terraformrc").write_text(mirror.configuration)
        environ = {"PATH": os.environ["PATH"], "HOME": str(user), **mirror.environment}
        return SlotWorkshop(settings, "pod", slot, environ)

    return make


@pytest.fixture
def workshop(make_workshop, network_mirror):
    return lambda slot=1: make_workshop(network_mirror, slot)


@pytest.fixture
def init(workshop, tmp_path):
    """Initialize a configuration in a directory of its own."""
    numbers = iter(range(1000))

    def run(configuration: str = RESOURCE, lock: str | None = None, *, slot: int = 1) -> Initialized:
        return initialize(workshop(slot), f"run-{next(numbers)}", pack(tmp_path, configuration, lock))

    return run


def pack(tmp_path: Path, configuration: str, lock: str | None) -> bytes:
    source = tmp_path / "source"
    source.mkdir(exist_ok=True)
    (source / "main.tf").write_text(configuration)
    (source / provider_lock.LOCK_FILE).unlink(missing_ok=True)
    if lock is not None:
        (source / provider_lock.LOCK_FILE).write_text(lock)
    return source_tree.pack(source, limit=2**20).data


def wanting(version: str) -> str:
    required = f'required_providers {{\n    null = {{\n      source = "hashicorp/null"\n      version = "{version}"\n'
    return f"terraform {{\n  {required}    }}\n  }}\n}}\n{RESOURCE}"


def lock_of(initialized: Initialized) -> str:
    return (initialized.tree.tree / provider_lock.LOCK_FILE).read_text()


def package(settings: Settings, version: str) -> Path:
    return settings.mirror / "packages" / NULL / version / packages.PLATFORM


def linked(initialized: Initialized) -> Path:
    (link,) = (initialized.tree.tree / ".terraform" / "providers" / NULL).glob("*/*")
    return link.readlink()


def test_the_second_init_under_a_lock_file_asks_nobody(init, settings, network_mirror):
    first = init()
    assert (first.returncode, first.ways) == (0, (Installation.MIRROR_THEN_SOURCE,)), first.output
    assert linked(first) == package(settings, "3.2.0")
    network_mirror.requests.clear()
    with network_mirror.answering(500):
        second = init(lock=lock_of(first))
    assert (second.returncode, second.ways) == (0, (Installation.MIRROR_ONLY,)), second.output
    assert network_mirror.requests == []
    assert linked(second) == package(settings, "3.2.0")


def test_a_lock_file_of_another_platform_is_fetched_for_once(init, settings, network_mirror):
    foreign = network_mirror.foreign_lock("2.1.2")
    first = init(lock=foreign)
    assert (first.returncode, first.ways) == (0, (Installation.MIRROR_THEN_SOURCE,)), first.output
    # terraform accepted the archive by its zh, and wrote down the h1 of what was in it.
    h1 = packages.h1(package(settings, "2.1.2"))
    assert h1 in lock_of(first)
    network_mirror.requests.clear()
    with network_mirror.answering(500):
        second = init(lock=foreign, slot=2)
    assert (second.returncode, second.ways) == (0, (Installation.MIRROR_ONLY,)), second.output
    assert network_mirror.requests == []
    assert provider_lock.parse(lock_of(second)) == provider_lock.parse(lock_of(first))
    # A lock file that allows more archives allows this one, too.
    more = lock_file("2.1.2", FOREIGN_H1, network_mirror.archive_hash("2.1.2"), f"zh:{'0' * 64}", f"zh:{'1' * 64}")
    assert init(lock=more).ways == (Installation.MIRROR_ONLY,)


def test_the_lock_file_of_a_plan_is_not_completed_for_its_apply(init, workshop, network_mirror, tmp_path):
    foreign = network_mirror.foreign_lock("2.1.2")
    init(lock=foreign)
    slot = workshop()
    tree = slot.unpack_source("cold", "cold", pack(tmp_path, RESOURCE, foreign))
    way = slot.init(tree, Path("/bin/terraform"), readonly_lock=True)
    assert (way.name, (tree.tree / provider_lock.LOCK_FILE).read_text()) == (Installation.SOURCE_ONLY, foreign)
    assert slot.init(tree, Path("/bin/terraform"), readonly_lock=False).name == Installation.MIRROR_ONLY


def test_what_terraform_has_not_accepted_is_never_completed(init, network_mirror):
    """Not under other archives, nor for a package that only lies in the mirror: terraform judges the archive itself."""
    foreign = network_mirror.foreign_lock("2.1.2")
    assert init(wanting("2.1.2")).returncode == 0  # in the mirror, accepted under no lock file
    for lock in (foreign, lock_file("2.1.2", network_mirror.archive_hash("2.1.2"))):
        network_mirror.requests.clear()
        fetched = init(lock=lock)
        assert (fetched.returncode, fetched.ways) == (0, (Installation.SOURCE_ONLY,)), fetched.output
        assert network_mirror.downloads() == ["terraform-provider-null_2.1.2_linux_amd64.zip"]
    init(lock=lock_file("2.1.2", "h9:unknown"))  # terraform takes any package then
    other = init(lock=lock_file("2.1.2", "h9:unknown", f"zh:{'2' * 64}"))
    assert "checksum" in other.output
    other = init(lock=lock_file("2.1.2", FOREIGN_H1, f"zh:{'2' * 64}"))
    assert other.returncode != 0
    assert "checksum" in other.output


def test_two_versions_by_their_constraints(init, settings):
    for wanted, version in (("~> 2.1", "2.1.9"), ("2.1.2", "2.1.2"), (">= 3.0", "3.2.0")):
        found = init(wanting(wanted))
        assert found.returncode == 0, found.output
        assert linked(found) == package(settings, version)
    nothing = init(wanting("> 4.0"))
    assert nothing.returncode != 0
    assert "no available releases match" in " ".join(nothing.output.split())


def test_a_mirror_that_answers_500_or_is_away(init, network_mirror):
    with network_mirror.answering(500):
        failed = init()
    assert failed.returncode != 0
    assert "500 Internal Server Error" in failed.output
    assert init().returncode == 0


def test_a_changed_copy_is_removed_and_fetched_again(init, settings, workshop, network_mirror):
    """Without a lock file terraform itself would have nothing to compare it with."""
    for lock in (None, "the lock file of the first init"):
        first = init(wanting("2.1.2"))
        h1 = packages.h1(package(settings, "2.1.2"))
        (program,) = package(settings, "2.1.2").iterdir()
        program.chmod(stat.S_IMODE(program.stat().st_mode) | 0o200)
        with program.open("r+b") as file:
            file.seek(1000)
            file.write(b"tampered")
        network_mirror.requests.clear()
        second = init(wanting("2.1.2"), lock_of(first) if lock else None)
        assert second.returncode == 0, second.output
        assert network_mirror.downloads() == ["terraform-provider-null_2.1.2_linux_amd64.zip"]
        assert packages.h1(package(settings, "2.1.2")) == h1
        assert [found["h1"] for found in workshop().providers(second.tree)] == [h1]
        assert list((settings.mirror / "incoming").iterdir()) == []


def test_a_removal_is_said(workshop, init, settings, tmp_path, caplog):
    init(wanting("2.1.2"))
    package(settings, "2.1.2").chmod(0o755)
    (package(settings, "2.1.2") / "more").write_text("x")
    slot = workshop()
    tree = slot.unpack_source("a", "a", pack(tmp_path, RESOURCE, None))
    way = slot.init(tree, Path("/bin/terraform"), readonly_lock=False)
    assert way.label.endswith(f"removed there, since it was changed: {NULL} 2.1.2")
    assert "was changed in the mirror" in caplog.text


def test_providers_start_however_deep_the_work_directory_is(init, settings, workshop, terraform):
    """Their sockets are in TMPDIR, and a socket's path ends at 108 bytes."""
    one = init()
    assert len(str(one.tree.scratch)) > 80, "the directories of this test are deep enough"
    slot = workshop()
    environment = slot.environment(one.tree, {}, own_backend=False)
    command = [terraform, "plan", "-input=false", "-lock=false"]
    ended = subprocess.run(command, cwd=one.tree.path, env=environment, capture_output=True, text=True, check=False)
    assert "1 to add" in ended.stdout, ended.stderr
    assert Path(environment["TMPDIR"]).exists()
    slot.remove(one.tree.home.name)
    assert not Path(environment["TMPDIR"]).is_symlink()


def test_fifty_parallel_inits_of_two_versions(make_workshop, settings, tmp_path):
    """docs/failures.md 33: no error, and one copy of each version on the disk. It is small: init starts no provider."""
    (program := tmp_path / "program").write_bytes(os.urandom(50_000))
    sources = [pack(tmp_path, wanting(version), None) for version in ("2.1.2", "3.2.0")]
    with NetworkMirror(tmp_path / "small", program, ["2.1.2", "3.2.0"]) as mirror, ThreadPoolExecutor(50) as pool:
        futures = [
            pool.submit(initialize, workshop, f"run-{slot}", sources[slot % 2])
            for slot, workshop in enumerate([make_workshop(mirror, slot) for slot in range(1, 51)])
        ]
        found = [future.result() for future in futures]
    assert {one.returncode for one in found} == {0}, next(one.output for one in found if one.returncode)
    assert {linked(one) for one in found} == {package(settings, "2.1.2"), package(settings, "3.2.0")}
    programs = [path for path in settings.home.rglob("terraform-provider-null_*") if path.is_file()]
    assert len({path.resolve() for path in programs}) == 2
    assert list((settings.mirror / "incoming").iterdir()) == []
