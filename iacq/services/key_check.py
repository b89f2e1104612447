"""Notice a wrong encryption key when a process starts, not when a plan cannot be read.

The first process that uses a key leaves a known text sealed with it. Whoever cannot open each of these texts lacks a
key that something stored is sealed with.
"""

from __future__ import annotations

from collections.abc import Mapping

from iacq.errors import Conflict, InvalidInput, PhaseFailed
from iacq.ports import Sealer
from iacq.store import key_checks
from iacq.store.session import Database

_TEXT = b"iacq"
_BOUND_TO = "key check"
_TRIES = 10


def require(database: Database, sealer: Sealer) -> None:
    """Compare the keys with those in use, and note that the first one is used from now on.

    Raises InvalidInput(code=wrong_key), Unavailable.
    """
    for _ in range(_TRIES):
        present = look(database, sealer)
        if any(not sealer.reseal_needed(sealed) for sealed in present.values()):
            return
        # Another process may be faster with this number: its key is then compared with ours.
        number = max(present, default=0) + 1
        database.attempt(key_checks.add, number, sealer.seal(_TEXT, bound_to=_BOUND_TO))
    raise Conflict("the encryption keys in use change faster than they can be compared")


def look(database: Database, sealer: Sealer) -> Mapping[int, bytes]:
    """Return the texts by number; only compares. Raises InvalidInput(code=wrong_key) unless every one can be opened."""
    present = database.read(key_checks.listed)
    for sealed in present.values():
        try:
            sealer.open(sealed, bound_to=_BOUND_TO)
        except PhaseFailed as error:
            why = error.message.removeprefix(f"{_BOUND_TO}: ")
            raise InvalidInput(
                f"the encryption keys are not those of this database: {why}",
                field="IACQ_ENCRYPTION_KEYS",
                hint="give the keys that sealed what is stored, in IACQ_ENCRYPTION_KEYS or HOME/keys; after a change "
                "the old one is needed until `iacq db reencrypt` is done",
                code="wrong_key",
            ) from None
    return present
