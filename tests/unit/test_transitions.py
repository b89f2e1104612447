"""The table of run states against the rules as they are written down for people."""

import itertools

import pytest

from iacq.domain import transitions
from iacq.domain.run import Phase, Status
from iacq.domain.transitions import TABLE, Cause

WAITING = {"pending", "plan_queued", "apply_pending", "confirmed", "apply_queued"}
RUNNING = {"planning", "applying"}
ENDS = {"success", "planned_and_finished", "applied", "failed", "cancelled", "discarded"}

FORWARD = {
    ("pending", "plan_queued"),
    ("plan_queued", "planning"),
    ("planning", "success"),
    ("planning", "planned_and_finished"),
    ("planning", "apply_pending"),
    ("apply_pending", "confirmed"),
    ("confirmed", "apply_queued"),
    ("apply_queued", "applying"),
    ("applying", "applied"),
}
BACK = {
    ("plan_queued", "pending"),
    ("planning", "pending"),
    ("apply_queued", "confirmed"),
    ("applying", "confirmed"),
}
INTERRUPTED = {
    ("applying", "apply_interrupted"),
    ("apply_interrupted", "applying"),
    ("apply_interrupted", "applied"),
    ("apply_interrupted", "failed"),
    ("applying", "applying"),  # adopted before anybody noticed
}
EARLY_ENDS = (
    {(state, "cancelled") for state in WAITING | RUNNING}
    | {(state, "failed") for state in RUNNING}
    | {("apply_pending", "discarded")}
)
RESTORED = {
    ("pending", "pending"),
    ("plan_queued", "pending"),
    ("planning", "pending"),
    ("planning", "cancelled"),
    ("apply_pending", "discarded"),
    ("confirmed", "apply_interrupted"),
    ("apply_queued", "apply_interrupted"),
    ("applying", "apply_interrupted"),
    ("apply_interrupted", "apply_interrupted"),
}
ALLOWED = RESTORED | FORWARD | BACK | INTERRUPTED | EARLY_ENDS

WHY: dict[str, set[tuple[str, str]]] = {
    "enqueued": set(),
    "dispatched": {("pending", "plan_queued"), ("confirmed", "apply_queued")},
    "claimed": {("plan_queued", "planning"), ("apply_queued", "applying")},
    "finished": {("planning", end) for end in ENDS - {"applied", "discarded"}}
    | {("planning", "apply_pending")}
    | {("applying", end) for end in ("applied", "failed", "cancelled")},
    "confirmed": {("apply_pending", "confirmed")},
    "auto_applied": {("apply_pending", "confirmed")},
    "discarded": {("apply_pending", "discarded")},
    "expired": {("apply_pending", "discarded")},
    "superseded": {("apply_pending", "discarded")},
    "cancelled": {(state, "cancelled") for state in WAITING | {"applying"}},
    "slot_lost": {("plan_queued", "pending"), ("apply_queued", "confirmed")},
    "lease_lost": {("planning", to) for to in ("pending", "failed", "cancelled")}
    | {("applying", to) for to in ("confirmed", "failed", "cancelled", "apply_interrupted")},
    "pod_gone": {("planning", to) for to in ("pending", "failed", "cancelled")}
    | {("applying", to) for to in ("confirmed", "failed", "cancelled", "apply_interrupted")},
    "not_started": {("applying", to) for to in ("confirmed", "failed", "cancelled")}
    | {("apply_interrupted", "failed")},
    "end_unknown": {("planning", to) for to in ("pending", "failed", "cancelled")}
    | {("applying", "apply_interrupted")},
    "plan_killed": {("planning", to) for to in ("pending", "failed", "cancelled")},
    "stopped": {("planning", to) for to in ("pending", "failed", "cancelled")}
    | {("applying", to) for to in ("confirmed", "failed", "cancelled")},
    "frozen": {("plan_queued", "pending"), ("apply_queued", "confirmed")}
    | {("planning", to) for to in ("pending", "failed", "cancelled")}
    | {("applying", to) for to in ("confirmed", "failed", "cancelled")},
    "no_room": {("planning", to) for to in ("pending", "failed", "cancelled")}
    | {("applying", to) for to in ("confirmed", "failed", "cancelled")},
    "adopted": {("applying", "applying"), ("apply_interrupted", "applying")},
    "late_report": {("apply_interrupted", "applied"), ("apply_interrupted", "failed")},
    "resolved": {("apply_interrupted", "applied"), ("apply_interrupted", "failed")},
    "restored": RESTORED,
}


def test_every_cause_is_expected() -> None:
    assert set(WHY) == {cause.value for cause in Cause}


@pytest.mark.parametrize("cause", list(Cause), ids=str)
def test_a_cause_leads_where_it_may_and_nowhere_else(cause: Cause) -> None:
    for source, target in itertools.product(Status, Status):
        expected = (source.value, target.value) in WHY[cause.value]
        assert transitions.is_allowed(source, cause, target) is expected, f"{source} → {target}"


def test_all_causes_together_allow_what_is_written_and_nothing_else() -> None:
    ways = {(source.value, target.value) for (source, _), targets in TABLE.items() for target in targets}
    assert ways == ALLOWED


def test_derived_sets() -> None:
    assert {status.value for status in transitions.ENDED} == ENDS
    assert {status.value for status in transitions.CANCELLED_AT_ONCE} == WAITING
    assert {status.value for status in transitions.RUNNING} == RUNNING
    assert {status.value for status in transitions.QUEUED} == {"plan_queued", "apply_queued"}
    assert {status.value for status in transitions.ACTIVE} == (
        (WAITING | RUNNING | {"apply_interrupted"}) - {"pending"}
    )
    assert WAITING | RUNNING | ENDS | {"apply_interrupted"} == {status.value for status in Status}


def test_every_state_can_be_reached_and_left_or_is_an_end() -> None:
    reached, todo = set(), [Status.PENDING]
    while todo:
        state = todo.pop()
        if state not in reached:
            reached.add(state)
            todo += [target for (source, _), targets in TABLE.items() if source is state for target in targets]
    assert reached == set(Status)


def test_phases_and_their_tries() -> None:
    plan = {status for status, phase in transitions.PHASE_OF.items() if phase is Phase.PLAN}
    assert plan == {Status.PENDING, Status.PLAN_QUEUED, Status.PLANNING}
    assert set(transitions.PHASE_OF) - plan == {
        Status.CONFIRMED,
        Status.APPLY_QUEUED,
        Status.APPLYING,
        Status.APPLY_INTERRUPTED,
    }
    assert transitions.MAX_TRIES == {Phase.PLAN: 3, Phase.APPLY: 5}
