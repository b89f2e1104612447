"""A wrong key is noticed at the start."""

import pytest

from iacq.adapters.sealer import AesGcmSealer
from iacq.errors import InvalidInput
from iacq.services import key_check
from iacq.store import key_checks
from tests.store.world import World, at_once

OLD, NEW, OTHER = (letter * 32 for letter in (b"o", b"n", b"x"))


def require(world: World, *keys: bytes) -> None:
    key_check.require(world.database, AesGcmSealer(keys))


def refused(world: World, *keys: bytes) -> InvalidInput:
    before = world.rows()
    with pytest.raises(InvalidInput) as caught:
        require(world, *keys)
    assert (caught.value.code, caught.value.field) == ("wrong_key", "IACQ_ENCRYPTION_KEYS")
    assert world.rows() == before
    return caught.value


def test_the_first_use_is_remembered(world: World) -> None:
    for _ in range(2):
        require(world, OLD)
    assert list(world.database.read(key_checks.listed)) == [1]
    assert "is not here" in refused(world, OTHER).message


def test_a_key_that_only_reads_leaves_no_trace_until_it_seals(world: World) -> None:
    require(world, OLD, NEW)
    require(world, OLD)
    require(world, NEW, OLD)
    refused(world, OLD)
    refused(world, NEW)
    require(world, OLD, NEW)
    assert list(world.database.read(key_checks.listed)) == [1, 2]


def test_of_two_keys_at_once_one_is_the_databases(world: World) -> None:
    results = at_once(*[lambda key=key: require(world, key) for key in (OLD, NEW, OLD, NEW)])
    refusals = [result for result in results if result is not None]
    assert [type(refusal) for refusal in refusals] == [InvalidInput] * 2
    assert list(world.database.read(key_checks.listed)) == [1]


def test_a_damaged_check_is_no_other_key(world: World) -> None:
    world.do(key_checks.add, 1, AesGcmSealer([OLD]).seal(b"iacq", bound_to="key check")[:-1] + b"\0")
    assert "damaged" in refused(world, OLD).message
