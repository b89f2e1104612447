from __future__ import annotations

import os

import pytest

from iacq.adapters.sealer import AesGcmSealer
from iacq.errors import PhaseFailed

OLD, NEW = b"o" * 32, b"n" * 32


@pytest.mark.parametrize("plain", [b"", b"x", os.urandom(100_000)], ids=["empty", "one", "many"])
def test_what_was_sealed_is_opened(plain: bytes) -> None:
    sealer = AesGcmSealer([NEW])
    sealed = sealer.seal(plain, bound_to="network/42/plan")
    assert sealed.startswith(b"iacq1")
    assert sealer.open(sealed, bound_to="network/42/plan") == plain
    assert sealer.seal(plain, bound_to="network/42/plan") != sealed


def test_large_data() -> None:
    sealer = AesGcmSealer([NEW])
    plain = bytes(100 * 2**20)
    assert sealer.open(sealer.seal(plain, bound_to="x"), bound_to="x") == plain


def test_the_first_key_seals_and_all_open() -> None:
    sealed = AesGcmSealer([OLD]).seal(b"x", bound_to="y")
    both = AesGcmSealer([NEW, OLD])
    assert both.open(sealed, bound_to="y") == b"x"
    assert both.reseal_needed(sealed)
    again = both.seal(b"x", bound_to="y")
    assert not both.reseal_needed(again)
    assert AesGcmSealer([NEW]).open(again, bound_to="y") == b"x"


def test_a_key_given_twice_is_one_key() -> None:
    sealer = AesGcmSealer([NEW, NEW])
    assert sealer.open(sealer.seal(b"x", bound_to="y"), bound_to="y") == b"x"


def unreadable(sealer: AesGcmSealer, sealed: bytes, bound_to: str) -> PhaseFailed:
    with pytest.raises(PhaseFailed) as caught:
        sealer.open(sealed, bound_to=bound_to)
    assert caught.value.code == "unreadable"
    assert bound_to in caught.value.message
    assert caught.value.__cause__ is None
    return caught.value


def test_a_missing_key_says_which_setting() -> None:
    sealed = AesGcmSealer([OLD]).seal(b"x", bound_to="y")
    error = unreadable(AesGcmSealer([NEW]), sealed, "y")
    assert sealed[5:9].hex() in error.message
    assert error.field == "IACQ_ENCRYPTION_KEYS"
    assert "HOME/keys" in str(error.hint)


def test_every_changed_byte_is_noticed() -> None:
    sealer = AesGcmSealer([NEW])
    sealed = sealer.seal(b"plan", bound_to="y")
    for at in range(len(sealed)):
        unreadable(sealer, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :], "y")
        unreadable(sealer, sealed[:at], "y")
    unreadable(sealer, sealed + b"\0", "y")


def test_it_opens_only_for_what_it_belongs_to() -> None:
    sealer = AesGcmSealer([NEW])
    unreadable(sealer, sealer.seal(b"x", bound_to="network/42/plan"), "network/43/plan")


def test_keys_are_not_shown() -> None:
    assert "n" * 32 not in repr(AesGcmSealer([NEW])) + repr(vars(AesGcmSealer([NEW])))


def test_what_is_sealed_in_pieces_opens_as_one() -> None:
    plain = bytes(range(256)) * 10_000  # more than two pieces
    assert AesGcmSealer([NEW]).open(AesGcmSealer([NEW]).seal(plain, bound_to="y"), bound_to="y") == plain
