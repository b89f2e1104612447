import pytest

from iacq.domain import provider_lock
from iacq.domain.provider_lock import Installation, Locked

LOCK = """
# This file is maintained automatically by "terraform init".
provider "registry.terraform.io/hashicorp/null" {
  version     = "2.1.2"
  constraints = "~> 2.1"
  hashes = [
    "h1:own",
    "zh:archive",
  ]
}

provider "example.com:8443/corp/thing" {
  version = "1.0.0-rc1"
}

provider "registry.terraform.io/hashicorp/broken" {
"""
NULL = Locked(address="registry.terraform.io/hashicorp/null", version="2.1.2", hashes=("h1:own", "zh:archive"))
THING = Locked(address="example.com:8443/corp/thing", version="1.0.0-rc1", hashes=("h1:thing",))


def test_parse():
    assert provider_lock.parse(LOCK) == (
        NULL,
        Locked(address="example.com:8443/corp/thing", version="1.0.0-rc1", hashes=()),
    )
    assert provider_lock.parse("") == ()


@pytest.mark.parametrize(
    ("mirrored", "expected"),
    [
        ({NULL.address: "h1:own", THING.address: "h1:thing"}, Installation.MIRROR_ONLY),
        ({NULL.address: "h1:own"}, Installation.MIRROR_THEN_SOURCE),
        ({}, Installation.MIRROR_THEN_SOURCE),
        ({NULL.address: "h1:other"}, Installation.SOURCE_ONLY),
        ({NULL.address: "h1:own", THING.address: "h1:other"}, Installation.SOURCE_ONLY),
    ],
)
def test_choose(mirrored, expected):
    assert provider_lock.choose([NULL, THING], lambda entry: mirrored.get(entry.address)) is expected


def test_choose_without_anything_locked():
    assert provider_lock.choose([], lambda _: None) is Installation.MIRROR_THEN_SOURCE


def test_complete_adds_one_hash_and_changes_nothing_else():
    text = LOCK.replace('    "h1:own",\n', "")
    entry = Locked(address=NULL.address, version="2.1.2", hashes=("zh:archive",))
    assert provider_lock.complete(text, {entry: "h1:own"}) == LOCK
    assert provider_lock.complete(text, {NULL: "h1:own", THING: "h1:x"}) == text


def test_retry_only_from_the_mirror_and_only_for_providers():
    missing = "Failed to query available provider packages"
    assert provider_lock.retry_after(Installation.MIRROR_ONLY, ["x", missing]) is Installation.MIRROR_THEN_SOURCE
    assert provider_lock.retry_after(Installation.MIRROR_ONLY, ["Backend initialization required"]) is None
    assert provider_lock.retry_after(Installation.MIRROR_THEN_SOURCE, [missing]) is None
    assert provider_lock.retry_after(Installation.SOURCE_ONLY, [missing]) is None
