"""The judge can say no: each of these histories breaks the promise in one way, and it is found."""

import dataclasses
import json
from dataclasses import replace

import pytest

from iacq.domain.run import RunType, Status
from iacq.domain.transitions import Cause
from tests.chaos import ledger, report
from tests.chaos.facts import Change, Facts, JudgedRun, Leftovers
from tests.chaos.journal import Entry
from tests.chaos.judge import judge, percentile
from tests.chaos.ledger import Line
from tests.chaos.load import Asked
from tests.chaos.schedule import Kind

RESOURCES = 2
APPLIED = (
    Change(at=100, target=Status.PENDING, cause=Cause.ENQUEUED),
    Change(at=200, target=Status.PLANNING, cause=Cause.CLAIMED),
    Change(at=300, target=Status.APPLY_PENDING, cause=Cause.FINISHED),
    Change(at=1000, target=Status.CONFIRMED, cause=Cause.CONFIRMED),
    Change(at=1100, target=Status.APPLYING, cause=Cause.CLAIMED),
    Change(at=3000, target=Status.APPLIED, cause=Cause.FINISHED),
)
INTERRUPTED = (
    *APPLIED[:-1],
    Change(at=9000, target=Status.APPLY_INTERRUPTED, cause=Cause.LEASE_LOST),
    Change(at=12_000, target=Status.FAILED, cause=Cause.RESOLVED),
)


def run(number: int, **fields: object) -> JudgedRun:
    made = JudgedRun(
        id=number,
        workspace=f"w{number}",
        run_type=RunType.PLAN_AND_APPLY,
        status=Status.APPLIED,
        token=f"t{number}",
        confirmed_at=1000,
        effects_at=1200,
        error="",
        changes=APPLIED,
        state=dict.fromkeys(range(RESOURCES), f"t{number}"),
    )
    return replace(made, **fields)


def line(number: int, resource: int = 0, *, began: bool = True, at: int = 2000, **fields: object) -> Line:
    made = Line(began=began, token=f"t{number}", resource=resource, pid=7, at=at, run=number)
    return replace(made, **fields)


def lines_of(number: int) -> tuple[Line, ...]:
    return tuple(line(number, resource, began=began) for resource in range(RESOURCES) for began in (True, False))


def fault(kind: Kind, at: int = 5000, runs: set[int] | None = None) -> Entry:
    return Entry(kind=kind, target="it", at=at, until=at, runs={5} if runs is None else runs)


RUNS = tuple(run(number) for number in range(1, 6))
CLEAN = Facts(
    minutes=2,
    runs=RUNS,
    ledger=tuple(one for each in RUNS for one in lines_of(each.id)),
    starts={each.id: 1 for each in RUNS},
    journal=(fault(Kind.KILL_SLOT),),
    asked=Asked(
        enqueued={f"t{each.id}": each.id for each in RUNS},
        confirmed={each.id for each in RUNS},
        tokens={each.id: f"t{each.id}" for each in RUNS},
    ),
    resources=RESOURCES,
)


def with_last(**fields: object) -> Facts:
    """Give the last run another history."""
    return replace(CLEAN, runs=(*RUNS[:-1], run(5, **fields)))


def interrupted(*journal: Entry, **fields: object) -> Facts:
    wanted = {"status": Status.FAILED, "changes": INTERRUPTED, "state": None, **fields}
    return replace(with_last(**wanted), journal=journal)


def test_what_keeps_the_promise_is_clean() -> None:
    verdict = judge(CLEAN)
    assert verdict.violations() == {}
    assert (verdict.confirmed, verdict.applied, verdict.interrupted) == (5, 5, 0)


DOCTORED: dict[str, tuple[Facts, str]] = {
    "a resource made twice": (replace(CLEAN, ledger=(*CLEAN.ledger, line(1, at=2500))), "double_applies"),
    "started twice": (replace(CLEAN, starts={**CLEAN.starts, 1: 2}), "double_applies"),
    "never confirmed": (with_last(confirmed_at=None, status=Status.DISCARDED), "unconfirmed_applies"),
    "before it was confirmed": (replace(CLEAN, ledger=(*CLEAN.ledger[2:], line(1, at=800))), "unconfirmed_applies"),
    "another plan": (replace(CLEAN, ledger=(*CLEAN.ledger, line(5, token="t4"))), "unconfirmed_applies"),
    "in no run": (replace(CLEAN, ledger=(*CLEAN.ledger, line(5, run=None))), "unconfirmed_applies"),
    "applied without effect": (replace(CLEAN, ledger=CLEAN.ledger[2:]), "lost"),
    "an answered enqueue": (replace(CLEAN, runs=RUNS[:-1], ledger=CLEAN.ledger[:-4]), "lost"),
    "an answered confirmation": (with_last(confirmed_at=None), "lost"),
    "failed without a reason": (with_last(status=Status.FAILED), "lost"),
    "discarded after its confirmation": (with_last(status=Status.DISCARDED), "lost"),
    "still confirmed": (with_last(status=Status.CONFIRMED), "stuck"),
    "still interrupted": (
        interrupted(fault(Kind.KILL_POD), status=Status.APPLY_INTERRUPTED, changes=INTERRUPTED[:-1]),
        "stuck",
    ),
    "interrupted by nothing": (interrupted(), "unexplained"),
    "interrupted by the death of a slot": (interrupted(fault(Kind.KILL_SLOT)), "unexplained"),
    "interrupted by an outage": (interrupted(fault(Kind.OUTAGE, runs=set())), "unexplained"),
    "another run was met": (interrupted(fault(Kind.KILL_POD, runs={4})), "unexplained"),
    "a fault before its effects": (interrupted(fault(Kind.KILL_POD, at=1000)), "unexplained"),
    "a fault after it": (interrupted(fault(Kind.KILL_POD, at=9500)), "unexplained"),
    "a state that forgot": (with_last(state={0: "t5"}), "states"),
    "no state": (with_last(state=None), "states"),
    "the state of another run": (with_last(state=dict.fromkeys(range(RESOURCES), "t4")), "states"),
    "an orphan": (replace(CLEAN, leftovers=Leftovers(processes=("7: sh",))), "orphans"),
    "a directory": (replace(CLEAN, leftovers=Leftovers(directories=("runs/1-1",))), "leaked_dirs"),
    "a slot": (replace(CLEAN, leftovers=Leftovers(slots=("slot a.1",))), "leaked_holds"),
    "a queue": (replace(CLEAN, leftovers=Leftovers(queues=("a.1",))), "leaked_holds"),
    "rows that contradict each other": (replace(CLEAN, leftovers=Leftovers(rows=("run 1",))), "leaked_holds"),
    "two of five failed": (
        replace(CLEAN, runs=(*RUNS[:3], *(run(it, status=Status.FAILED, error="timeout: x") for it in (4, 5)))),
        "too_few",
    ),
    "nothing was confirmed": (Facts(minutes=1, runs=(), ledger=(), starts={}, journal=(), asked=Asked()), "too_few"),
}


@pytest.mark.parametrize("what", DOCTORED)
def test_what_breaks_it_is_found(what: str) -> None:
    facts, name = DOCTORED[what]
    verdict = judge(facts)
    assert name in verdict.violations()
    assert any(f"VIOLATION {name}: " in text for text in report.violations(facts, verdict, 0))


@pytest.mark.parametrize(
    "journal",
    [
        (fault(Kind.KILL_POD),),
        (fault(Kind.PAUSE_POD),),
        (fault(Kind.KILL_SLOT), fault(Kind.KILL_KEEPER, at=5100)),  # each alone is survived
        (fault(Kind.KILL_SLOT), fault(Kind.OUTAGE, runs=set())),
    ],
)
def test_an_interruption_that_a_fault_explains_is_none_of_ours(journal: tuple[Entry, ...]) -> None:
    verdict = judge(interrupted(*journal))
    assert verdict.violations() == {}
    assert (verdict.applied, verdict.interrupted) == (4, 1)


def test_an_interruption_that_heals_needs_less_of_a_reason() -> None:
    healed = (
        *INTERRUPTED[:-1],
        Change(at=9500, target=Status.APPLYING, cause=Cause.ADOPTED),
        Change(at=9600, target=Status.APPLIED, cause=Cause.FINISHED),
    )
    by_a_slot = replace(with_last(changes=healed), journal=(fault(Kind.KILL_SLOT),))
    assert judge(by_a_slot).violations() == {}
    assert judge(by_a_slot).applied == 5
    by_the_database = replace(by_a_slot, journal=(fault(Kind.PAUSE_DATABASE, runs=set()),))
    assert judge(by_the_database).violations() == {}
    by_an_outage = replace(by_a_slot, journal=(fault(Kind.OUTAGE, runs=set()),))
    assert "unexplained" in judge(by_an_outage).violations()
    by_nothing = replace(by_a_slot, journal=(fault(Kind.KILL_SLOT, runs={4}),))
    assert "unexplained" in judge(by_nothing).violations()


def test_a_retry_of_a_lost_apply_makes_the_rest() -> None:
    """docs/reliability.md: terraform calls a resource made before its provisioner has ended."""
    lost = run(4, status=Status.FAILED, changes=INTERRUPTED, state=None)
    again = run(5, token="t4", state=dict.fromkeys(range(RESOURCES), "t4"))
    ledger = (*CLEAN.ledger[:-8], line(4), line(5, 1, token="t4"), line(5, 1, token="t4", began=False))
    asked = replace(CLEAN.asked, tokens={**CLEAN.asked.tokens, 5: "t4"})
    facts = replace(CLEAN, runs=(*RUNS[:3], lost, again), ledger=ledger, asked=asked)
    facts = replace(facts, journal=(fault(Kind.KILL_POD, runs={4}),))
    verdict = judge(replace(facts, asked=replace(asked, enqueued={f"t{number}": number for number in range(1, 5)})))
    assert verdict.violations() == {}
    made_none = judge(replace(facts, ledger=ledger[:-3]))
    assert any("run 5" in text for text in made_none.lost)


@pytest.mark.parametrize("status", [Status.CANCELLED, Status.FAILED])
def test_an_end_with_a_reason_is_one(status: Status) -> None:
    assert judge(with_last(status=status, error="cancelled: by alice", state=None)).violations() == {}


def test_recovery_is_measured_for_each_fault() -> None:
    later = (*APPLIED[:-1], Change(at=7500, target=Status.APPLYING, cause=Cause.ADOPTED), APPLIED[-1])
    facts = replace(with_last(changes=later), journal=(fault(Kind.KILL_SLOT), fault(Kind.FLUSH, at=250, runs=set())))
    assert judge(facts).recoveries == {Kind.KILL_SLOT: [2.5], Kind.FLUSH: [0.05]}


def test_percentiles() -> None:
    values = [float(number) for number in range(100, 0, -1)]
    assert [percentile(values, part) for part in (0.5, 0.95, 1)] == [50, 95, 100]
    assert percentile([], 0.95) == 0


KEYS = (
    "minutes faults runs confirmed applied interrupted double_applies unconfirmed_applies lost stuck orphans "
    "leaked_dirs recovery_p95_s"
)


def test_the_last_line_has_stable_keys() -> None:
    facts = replace(CLEAN, journal=(fault(Kind.KILL_SLOT), fault(Kind.CANCEL)))
    said = json.loads(report.figures(facts, judge(facts)))
    assert list(said) == KEYS.split()
    assert said["faults"] == 1, "what people ask for is none"


def test_the_ledger_is_read() -> None:
    text = ["end t7 2 42 1700000000500 /work/runs/9-1", "begin t7 2 42 1700000000000 /work/runs/9-1"]
    first, second = ledger.read(text)
    assert (first.began, second.began) == (True, False)
    assert dataclasses.asdict(first) | {"at": 0} == {
        "began": True,
        "token": "t7",
        "resource": 2,
        "pid": 42,
        "at": 0,
        "run": 9,
    }
    [stray] = ledger.read(["begin t7 2 42 1 /tmp"])
    assert stray.run is None
