import hashlib
import os
import shutil
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from iacq.adapters.providers import packages as provider_packages
from iacq.adapters.providers import usage
from iacq.adapters.providers.mirror import ProviderMirror
from iacq.adapters.terraform import cli_config
from iacq.domain import provider_lock, terraform_commands, terraform_events
from iacq.domain.provider_lock import Installation, Pin
from iacq.errors import InvalidInput
from iacq.settings import Settings

NULL = "registry.terraform.io/hashicorp/null"
VERSION = "2.1.2"
CONFIGURATION = 'resource "null_resource" "x" {}\n'


@pytest.fixture
def mirror(tmp_path) -> ProviderMirror:
    made = ProviderMirror(root=tmp_path / "mirror")
    made.prepare()
    return made


@pytest.fixture
def make_tree(tmp_path):
    def make(name: str = "tree", configuration: str = CONFIGURATION, lock: str | None = None) -> Path:
        tree = tmp_path / name
        tree.mkdir()
        (tree / "main.tf").write_text(configuration)
        if lock is not None:
            (tree / provider_lock.LOCK_FILE).write_text(lock)
        return tree

    return make


@pytest.fixture
def init(mirror, run_terraform, tmp_path):
    """Init as a plan phase does; returns (chosen installation, ended process)."""

    def run(tree: Path, source: Path | None = None, *, choice: Installation | None = None, check: bool = True):
        chosen = choice or mirror.choose(tree)
        configuration = cli_config.write(
            tree.with_suffix(".tfrc"),
            chosen,
            mirror=mirror.packages,
            settings=Settings(provider_source=source or tmp_path / "no-source"),
            # Nothing is to be found elsewhere: the registry is out of reach.
            host_environ={"HOME": str(tmp_path)},
            program=Path("/bin/terraform"),
            tree=tree,
        )
        ended = run_terraform(
            *terraform_commands.init(),
            cwd=tree,
            check=check,
            TF_CLI_CONFIG_FILE=str(configuration),
            HTTPS_PROXY="http://127.0.0.1:9",
        )
        if ended.returncode == 0:
            mirror.adopt(tree)
        return chosen, ended

    return run


@pytest.fixture
def plan(run_terraform):
    """A plan that really starts the providers, by the tree alone."""

    def run(tree: Path):
        return run_terraform("plan", "-input=false", cwd=tree)

    return run


def package_of(mirror: ProviderMirror) -> Path:
    return mirror.packages / NULL / VERSION / provider_packages.PLATFORM


def link_in(tree: Path) -> Path:
    return tree / ".terraform" / "providers" / NULL / VERSION / provider_packages.PLATFORM


@pytest.mark.parametrize("kind", ["packed", "unpacked"])
def test_second_init_needs_no_source(mirror, make_tree, init, plan, null_provider_source, tmp_path, kind):
    source = tmp_path / "source"
    shutil.copytree(getattr(null_provider_source, kind), source)
    first = make_tree("first")
    chosen, _ = init(first, source)
    assert chosen is Installation.MIRROR_THEN_SOURCE
    assert link_in(first).readlink() == package_of(mirror)
    assert not package_of(mirror).is_symlink()
    shutil.rmtree(source)
    plan(first)

    second = make_tree("second", lock=(first / provider_lock.LOCK_FILE).read_text())
    chosen, _ = init(second)
    assert chosen is Installation.MIRROR_ONLY
    assert link_in(second).resolve() == package_of(mirror)
    plan(second)
    assert list((mirror.root / "incoming").iterdir()) == []


def test_h1_is_terraforms(mirror, make_tree, init, null_provider_source):
    tree = make_tree()
    init(tree, null_provider_source.packed)
    (locked,) = provider_lock.parse((tree / provider_lock.LOCK_FILE).read_text())
    (provider,) = mirror.providers(tree)
    assert (provider.address, provider.version) == (NULL, VERSION) == (locked.address, locked.version)
    assert provider.h1 in locked.hashes
    assert provider.path == package_of(mirror)
    (program,) = provider.path.iterdir()
    assert provider.stat == provider_packages.stat(program)


def test_the_mirror_is_read_only(mirror, make_tree, init, null_provider_source):
    for kind in ("packed", "unpacked"):
        init(make_tree(kind), getattr(null_provider_source, kind))
    (program,) = package_of(mirror).iterdir()
    for path in (package_of(mirror), program):
        assert stat.S_IMODE(path.stat().st_mode) == 0o555
    original = next((null_provider_source.unpacked).rglob("terraform-provider-null_*"))
    assert stat.S_IMODE(original.stat().st_mode) & 0o200


def test_parallel_inits_leave_one_package(mirror, make_tree, init, plan, null_provider_source):
    trees = [make_tree(f"tree{number}") for number in range(6)]
    with ThreadPoolExecutor(3) as pool:
        for _, ended in pool.map(lambda tree: init(tree, null_provider_source.packed), trees):
            assert ended.returncode == 0
    assert {link_in(tree).readlink() for tree in trees} == {package_of(mirror)}
    assert [path.name for path in package_of(mirror).parent.iterdir()] == [provider_packages.PLATFORM]
    plan(trees[-1])


def test_fifty_adoptions_of_one_version(mirror, make_tree, tmp_path):
    """Like the inits, without terraform's share of the work: half of them moved in, half of them copied."""
    small = tmp_path / "small"
    small.mkdir()
    (small / "terraform-provider-null_v2.1.2").write_bytes(b"x" * 100_000)
    trees = [make_tree(f"tree{number}", "") for number in range(50)]
    for number, tree in enumerate(trees):
        link_in(tree).parent.mkdir(parents=True)
        if number % 2:
            link_in(tree).symlink_to(small)
        else:
            shutil.copytree(small, link_in(tree))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(mirror.adopt, trees))
    assert {link_in(tree).readlink() for tree in trees} == {package_of(mirror)}
    assert list((mirror.root / "incoming").iterdir()) == []
    (pin,) = {mirror.providers(tree)[0].pin for tree in trees}
    assert mirror.missing([pin]) == []


def foreign_lock(*hashes: str) -> str:
    listed = "".join(f'    "{entry}",\n' for entry in hashes)
    return f'provider "{NULL}" {{\n  version = "{VERSION}"\n  hashes = [\n{listed}  ]\n}}\n'


def test_a_lock_file_of_another_platform_is_not_held_against_the_mirror(
    mirror, make_tree, init, plan, null_provider_source
):
    init(make_tree("first"), null_provider_source.packed)
    archive = next(null_provider_source.packed.rglob("*.zip"))
    lock = foreign_lock(
        "h1:RlWOXBMG5HZGeJYSuHxFAGCgAlYMQOUxBt8o/PXgTsM=",
        f"zh:{hashlib.sha256(archive.read_bytes()).hexdigest()}",
    )
    tree = make_tree("foreign", lock=lock)
    # This is why: the very same package is refused.
    _, refused = init(tree, choice=Installation.MIRROR_ONLY, check=False)
    assert "checksum" in refused.stdout
    chosen, _ = init(tree, null_provider_source.packed)
    assert chosen is Installation.SOURCE_ONLY
    # The content is the mirror's after all, and the lock file knows it now.
    assert link_in(tree).readlink() == package_of(mirror)
    assert mirror.choose(tree) is Installation.MIRROR_ONLY
    plan(tree)


def test_a_package_that_differs_from_the_mirrors_stays_in_its_tree(
    mirror, make_tree, init, plan, null_provider_source, tmp_path
):
    init(make_tree("first"), null_provider_source.packed)
    other = tmp_path / "other"
    shutil.copytree(null_provider_source.unpacked, other)
    (next(other.rglob(provider_packages.PLATFORM)) / "LICENSE").write_text("another build")
    tree = make_tree("second", lock=foreign_lock(provider_packages.h1(next(other.rglob(provider_packages.PLATFORM)))))
    chosen, _ = init(tree, other)
    assert chosen is Installation.SOURCE_ONLY
    assert not link_in(tree).resolve().is_relative_to(mirror.root)
    plan(tree)
    (provider,) = mirror.providers(tree)
    assert mirror.missing([provider.pin]) == [provider.pin]


def test_a_provider_that_the_lock_file_lacks_leads_to_another_try(
    mirror, make_tree, init, null_provider_source, tmp_path
):
    first = make_tree("first")
    init(first, null_provider_source.packed)
    both = CONFIGURATION + 'resource "other_thing" "y" {}\n'
    tree = make_tree("second", both, lock=(first / provider_lock.LOCK_FILE).read_text())
    chosen, failed = init(tree, check=False)
    assert chosen is Installation.MIRROR_ONLY
    error = terraform_events.first_error(map(terraform_events.parse, failed.stdout.splitlines()))
    assert "hashicorp/other" in error
    assert provider_lock.retry_after(chosen, [error]) is Installation.MIRROR_THEN_SOURCE

    source = tmp_path / "source"
    shutil.copytree(null_provider_source.unpacked, source)
    other = source / NULL.replace("null", "other") / "1.0.0" / provider_packages.PLATFORM
    other.mkdir(parents=True)
    shutil.copy2(next(source.rglob("terraform-provider-null_*")), other / "terraform-provider-other_v1.0.0")
    init(tree, source, choice=Installation.MIRROR_THEN_SOURCE)
    assert [provider.address for provider in mirror.providers(tree)] == [NULL, NULL.replace("null", "other")]
    assert mirror.choose(tree) is Installation.MIRROR_ONLY


def test_links_without_init(mirror, make_tree, init, plan, null_provider_source):
    first = make_tree("first")
    init(first, null_provider_source.packed)
    pins = [provider.pin for provider in mirror.providers(first)]
    assert mirror.missing(pins) == []
    second = make_tree("second", lock=(first / provider_lock.LOCK_FILE).read_text())
    mirror.link(second, pins)
    plan(second)
    newer = Pin(address=NULL, version="9.9.9", h1="h1:x")
    assert mirror.missing([*pins, newer]) == [newer]


def test_a_changed_package_is_noticed(mirror, make_tree, init, null_provider_source):
    tree = make_tree()
    init(tree, null_provider_source.packed)
    (pin,) = [provider.pin for provider in mirror.providers(tree)]
    (program,) = package_of(mirror).iterdir()
    program.chmod(0o755)
    with program.open("r+b") as file:
        file.seek(1000)
        file.write(b"tampered")
    assert mirror.missing([pin]) == [pin]


def test_without_a_lock_file_or_with_a_broken_one(mirror, make_tree):
    assert mirror.choose(make_tree("none")) is Installation.MIRROR_THEN_SOURCE
    broken = 'provider "../../../etc" {\n  version = "1"\n}\nprovider "a/b/c" {\n  version = "../x"\n}\nprovider {'
    assert mirror.choose(make_tree("broken", lock=broken)) is Installation.MIRROR_THEN_SOURCE
    with pytest.raises(InvalidInput, match="not HOST/NAMESPACE/TYPE"):
        mirror.link(make_tree("escape"), [Pin(address="../../x", version="1", h1="h1:x")])


def test_a_configuration_without_providers(mirror, make_tree, init, plan):
    tree = make_tree(configuration='resource "terraform_data" "x" {}\n')
    chosen, _ = init(tree)
    assert chosen is Installation.MIRROR_THEN_SOURCE
    assert mirror.providers(tree) == []
    plan(tree)


DAY = 86_400.0


def _run_directory(tmp_path: Path, name: str, make_tree) -> Path:
    """A directory as the workshop makes it."""
    tree = make_tree(name)
    directory = tmp_path / f"run-{name}"
    directory.mkdir()
    (directory / "module").symlink_to(tree)
    return directory


def _age(mirror: ProviderMirror, seconds: float) -> None:
    for record in (mirror.root / "hashes").rglob("*.json"):
        os.utime(record, (time.time() - seconds,) * 2)


def test_a_version_that_no_run_uses_is_removed(mirror, make_tree, init, null_provider_source, tmp_path) -> None:
    """docs/failures.md 33."""
    directory = _run_directory(tmp_path, "first", make_tree)
    tree = (directory / "module").resolve()
    init(tree, null_provider_source.packed)
    assert usage.remove_unused(mirror, [], unused_for=DAY) == [], "it was used just now"
    _age(mirror, DAY + 60)
    assert usage.remove_unused(mirror, [directory], unused_for=DAY) == [], "a directory links to it"
    with usage.using(mirror), usage.using(mirror):
        assert usage.remove_unused(mirror, [], unused_for=DAY) == [], "somebody initializes"
    mirror.adopt(tree)
    assert usage.remove_unused(mirror, [], unused_for=DAY) == [], "it was used again"
    _age(mirror, DAY + 60)
    assert usage.remove_unused(mirror, [], unused_for=DAY) == [f"{NULL} {VERSION}"]
    assert list(provider_packages.packages(mirror.packages)) == []
    init(make_tree("second"), null_provider_source.packed)
    assert len(list(provider_packages.packages(mirror.packages))) == 1, "it comes back when it is needed"
