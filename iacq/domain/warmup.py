"""Warm-ups: a run that waits for its apply and has lost its slot is prepared in another one, ahead of its confirmation.

    none | failed → warming → ready → expired

A slot is reserved for the run from `warming` on, and freed at `failed` and `expired`. A run whose slot is lost goes
back to `none`. Each beginning is counted, whatever came of it, and their number is limited. Nothing depends on a
warm-up: without one the apply restores the same snapshot itself.
"""

from __future__ import annotations

import enum

from iacq.domain.run import Status, WarmupStatus

W = WarmupStatus


class Step(enum.StrEnum):
    """What happens to a warm-up."""

    BEGIN = "begin"  # a slot is reserved, and its doorbell rung
    CLAIM = "claim"  # the slot took it
    READY = "ready"
    FAIL = "fail"
    EXPIRE = "expire"  # nobody confirmed in time


TABLE: dict[Step, tuple[frozenset[WarmupStatus], WarmupStatus]] = {
    Step.BEGIN: (frozenset({W.NONE, W.FAILED}), W.WARMING),
    Step.CLAIM: (frozenset({W.WARMING}), W.WARMING),
    Step.READY: (frozenset({W.WARMING}), W.READY),
    Step.FAIL: (frozenset({W.WARMING}), W.FAILED),
    # Not begun again: the slot would never be free for anybody else while a person thinks.
    Step.EXPIRE: (frozenset({W.READY}), W.EXPIRED),
}
"""From where each step leads to where."""

PREPARABLE = frozenset({Status.APPLY_PENDING, Status.CONFIRMED})
"""States of a run for which a slot may be reserved."""

SERVED = PREPARABLE | {Status.APPLY_QUEUED}
"""States of a run that a warm-up under way still serves: its apply may wait behind it in the same slot."""
