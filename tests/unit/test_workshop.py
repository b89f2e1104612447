"""Directories of runs whose root module lies in a subdirectory."""

import shutil
from pathlib import Path

import pytest

from iacq.adapters.providers import packages
from iacq.adapters.sources import archives
from iacq.adapters.terraform.workshop import SlotWorkshop
from iacq.errors import PhaseFailed
from iacq.settings import Settings


def shop(tmp_path: Path, slot_id: int = 1) -> SlotWorkshop:
    return SlotWorkshop(Settings(home=tmp_path / "home"), "pod", slot_id, {})


@pytest.fixture
def packed(tmp_path: Path) -> bytes:
    for name in ("envs/prod/main.tf", "modules/x/main.tf"):
        (tmp_path / "source" / name).parent.mkdir(parents=True)
        (tmp_path / "source" / name).write_text("")
    return archives.pack(tmp_path / "source", exclude=lambda _path, _is_directory: False, limit=2**20)


@pytest.mark.parametrize("subdir", ["envs/prod", None])
def test_the_canonical_path_leads_to_the_root_module_in_every_slot(tmp_path, packed, subdir):
    made = shop(tmp_path).unpack_source("1-1", "1-1", packed, subdir=subdir)
    assert made.tree == made.source / (subdir or "")
    assert made.path.resolve() == made.tree.resolve()
    assert (made.path / ("../../modules/x/main.tf" if subdir else "modules/x/main.tf")).exists()
    assert shop(tmp_path).kept("1-1", "1-1") == made
    (made.tree / "plan.out").write_text("a plan")
    (made.tree / ".terraform" / "providers").mkdir(parents=True)
    (made.tree / ".terraform" / "modules").mkdir()
    snapshot = shop(tmp_path).snapshot(made)
    other = shop(tmp_path, 2).unpack_snapshot("1-2", "1-1", snapshot, subdir=subdir)
    assert (other.path, other.path.resolve()) == (made.path, other.tree.resolve())
    assert (other.tree / "plan.out").read_text() == "a plan"
    assert (other.source / "modules/x/main.tf").exists()
    assert [item.name for item in (other.tree / ".terraform").iterdir()] == ["modules"]
    assert shop(tmp_path).kept("1-1", "1-1") is None, "its path leads elsewhere"
    shop(tmp_path, 2).remove("1-2")
    assert not other.path.parent.joinpath("1-1").is_symlink()


@pytest.mark.parametrize("subdir", ["envs/prod", None])
def test_what_is_prepared_gets_the_canonical_path_once_it_is_taken(tmp_path, packed, subdir):
    made = shop(tmp_path).unpack_source("1-1", "1-1", packed, subdir=subdir)
    snapshot = shop(tmp_path).snapshot(made)
    other = shop(tmp_path, 2)
    prepared = other.unpack_snapshot("1-2", "1-1", snapshot, subdir=subdir, lead=False)
    assert shop(tmp_path).kept("1-1", "1-1") == made
    assert other.kept("1-2", "1-1") is None
    assert other.take("1-2", "1-1") == prepared
    assert prepared.path.resolve() == prepared.tree.resolve()
    assert shop(tmp_path).kept("1-1", "1-1") is None
    shutil.rmtree(prepared.tree)
    assert other.take("1-2", "1-1") is None
    assert other.take("2-1", "2-1") is None


def test_a_provider_that_is_not_in_the_mirror_with_that_content_is_missing(tmp_path, packed):
    home, program = tmp_path / "home", tmp_path / "terraform"
    made = shop(tmp_path).unpack_source("1-1", "1-1", packed)
    package = home / "providers/packages/host/a/b/1.0.0" / packages.PLATFORM
    package.mkdir(parents=True)
    (package / "terraform-provider-b_v1").write_text("a program")
    pin = {"address": "host/a/b", "version": "1.0.0", "h1": packages.h1(package), "stat": [1]}
    for wrong in ({"h1": "h1:other"}, {"version": "1.0.1"}, {"address": "../../b"}, {"address": None}):
        missing = shop(tmp_path).link_providers(made, program, [pin, {**pin, **wrong}])
        assert len(missing) == 1
        assert not (made.tree / ".terraform").exists(), "all or none"
    assert shop(tmp_path).link_providers(made, program, [pin]) == ()
    assert [one["h1"] for one in shop(tmp_path).providers(made)] == [pin["h1"]]
    assert (made.scratch / "terraform.rc").exists(), "every command reads it"


def test_a_directory_without_its_root_module_is_not_kept(tmp_path, packed):
    made = shop(tmp_path).unpack_source("1-1", "1-1", packed, subdir="envs/prod")
    shutil.rmtree(made.tree)
    assert shop(tmp_path).kept("1-1", "1-1") is None
    assert shop(tmp_path).kept("2-1", "2-1") is None


def test_what_is_fetched_lies_in_the_directory_of_its_claim(tmp_path, packed):
    directory = shop(tmp_path).fetch_directory("1-1")
    assert directory.stat().st_mode & 0o777 == 0o700
    assert shop(tmp_path).names() == ["1-1"]
    with pytest.raises(PhaseFailed, match="cannot be made"):
        shop(tmp_path).fetch_directory("1-1")
    shop(tmp_path).unpack_source("1-1", "1-1", packed, subdir=None)
    shop(tmp_path).remove("1-1")
    assert shop(tmp_path).names() == []
