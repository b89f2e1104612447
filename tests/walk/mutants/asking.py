"""Rules of what people, the scaler and time do."""

from __future__ import annotations

from iacq.messages import Doorbell
from iacq.store import outbox
from iacq.store.session import Transaction
from tests.walk.mutants.mutant import Mutant
from tests.walk.product import Product


def _send_and_forget(tx: Transaction) -> list[Doorbell]:
    """A bell that was rung again is taken for answered."""
    bells = outbox.take_due(tx)
    for bell in bells:
        outbox.remove(tx, bell.run_id)
    return bells


MUTANTS: dict[str, Mutant] = {
    "the outbox forgets at sending": Mutant(
        product=Product(steps={outbox.take_due: _send_and_forget}), favoured={"lose a message": 4, "resend": 4}
    ),
}
