"""What a freeze does to the runs of its pool, and what people may say about freezes."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from iacq import messages
from iacq.domain.pool import PoolPolicy
from iacq.domain.run import Phase, Run, RunType, Status
from iacq.domain.slot import SlotStatus
from iacq.errors import Conflict, IacqError, InvalidInput, NotFound
from iacq.services import dispatching, freeze_changes, freeze_views, freezing, views
from iacq.services.core import Core
from iacq.services.freeze_changes import NewWindow, Until
from iacq.settings import Settings
from iacq.store import freezes, pools, runs
from iacq.store.freeze_events import Action
from iacq.store.freezes import PoolFreezes
from iacq.store.protocol import owning
from iacq.store.runs import NewRun
from iacq.testing.core import make_core
from iacq.testing.dispatcher import RecordingDispatcher, Rung
from tests.store.world import World

S = Status
HOUR = 3600
DAY = 86_400_000
NIGHT = NewWindow(name="night", days="daily", start="08:30", end="09:30", zone="UTC")


def day_of(world: World, days: int = 0) -> str:
    return (views.rfc3339(world.clock.now_ms() + days * DAY) or "")[:10]


@pytest.fixture
def default(world: World) -> World:
    """A pool with a pod, at eight o'clock in the morning."""
    world.clock.advance((8 * HOUR * 1000 - world.clock.now_ms() % DAY) % DAY / 1000)
    world.do(pools.set_policy, "default", PoolPolicy(max_pods=1, slots_per_pod=4))
    world.pod(slots_of_pod=4)
    return world


def freeze(core: Core, pool: str = "default", until: str | None = None) -> PoolFreezes:
    end = None if until is None else Until(text=until)
    return freeze_changes.freeze_now(core, pool, until=end, reason="incident 42", by="eve")


def actions(core: Core, pool: str = "default") -> list[Action]:
    return [event.action for event in freeze_views.listed(core, [pool])[0].events]


def rung(core: Core) -> list[Rung]:
    assert isinstance(core.dispatcher, RecordingDispatcher)
    return core.dispatcher.rung


def signalled(core: Core) -> list[int]:
    return [bell.arguments["run_id"] for bell in rung(core) if bell.task == messages.SIGNAL_RUN]


def causes(world: World, run: Run) -> list[str]:
    return [str(event.cause) for event in world.database.read(runs.events_of, run.id)]


@pytest.mark.parametrize("status", [S.PLAN_QUEUED, S.APPLY_QUEUED])
def test_what_is_queued_goes_back_and_that_was_no_try(default: World, core: Core, status: Status) -> None:
    run = default.at(status)
    freeze(core)
    assert freezing.apply_windows(core) == 1
    back = default.run(run.id)
    assert (back.status, back.attempt, back.tries) == (
        S.PENDING if status is S.PLAN_QUEUED else S.CONFIRMED,
        run.attempt + 1,
        0,
    )
    assert causes(default, run)[-1] == "frozen"
    assert default.slot().status is SlotStatus.IDLE
    default.check()
    assert freezing.apply_windows(core) == 0


@pytest.mark.parametrize("status", [S.APPLY_PENDING, S.CONFIRMED])
def test_what_is_kept_for_a_run_is_given_up(default: World, core: Core, status: Status) -> None:
    run = default.at(status)
    default.set_run(run.id, warmup_status="warming")
    freeze(core)
    freezing.apply_windows(core)
    after = default.run(run.id)
    assert (after.status, after.prepared_pod_name) == (status, None)
    row = sa.text("SELECT warmup_status FROM workspace_tasks WHERE id = :id").bindparams(id=run.id)
    assert default.do(lambda tx: tx.execute(row).scalar()) == "none"
    assert default.slot().status is SlotStatus.IDLE
    default.check()


@pytest.mark.parametrize("status", [S.PLANNING, S.APPLYING])
def test_what_has_no_effects_is_asked_to_stop_once(default: World, core: Core, status: Status) -> None:
    run = default.at(status)
    freeze(core)
    assert freezing.apply_windows(core) == 1
    assert default.run(run.id).freeze_requested_at == default.clock.now_ms()
    assert signalled(core) == [run.id]
    assert freezing.apply_windows(core) == 0
    assert signalled(core) == [run.id]


@pytest.mark.parametrize(("grace", "asked"), [(None, []), (0.0, [0]), (60.0, [60, 90])])
def test_an_apply_with_effects_has_a_grace(
    default: World, tmp_path: Any, grace: float | None, asked: list[int]
) -> None:
    settings = Settings(home=tmp_path, freeze_apply_grace=grace)
    core = make_core(default.url, tmp_path, clock=default.clock, settings=settings)
    run = default.with_effects()
    freeze(core)
    found = []
    for second in (0, 30, 60, 90):
        freezing.apply_windows(core)
        found += [second] if default.run(run.id).freeze_requested_at is not None else []
        default.clock.advance(30)
    assert found == (asked and [second for second in (0, 30, 60, 90) if second >= asked[0]])
    core.database.close()


@pytest.mark.parametrize("status", [S.PLANNING, S.APPLYING])
def test_a_freeze_that_is_over_asks_nobody_to_stop(default: World, core: Core, status: Status) -> None:
    run = default.at(status)
    freeze(core)
    freezing.apply_windows(core)
    freeze_changes.bypass(core, "default", until=Until(text="1h"), reason="hotfix", by="eve")
    freezing.apply_windows(core)
    assert default.run(run.id).freeze_requested_at is None
    default.clock.advance(HOUR)
    freezing.apply_windows(core)
    assert default.run(run.id).freeze_requested_at is not None, "the bypass is over"


def test_a_window_begins_and_ends_by_the_clock(default: World, core: Core) -> None:
    freeze_changes.add_window(core, "default", NIGHT, by="eve")
    run = default.enqueue()
    assert dispatching.dispatch(core) == 1, "it is not frozen yet"
    default.clock.advance(HOUR / 2)
    other = default.enqueue("other")
    assert dispatching.dispatch(core) == 0, "it is frozen, though nobody has marked it"
    default.clock.advance(90)
    freezing.apply_windows(core)
    found = default.database.read(freezes.find, "default")
    assert found.frozen_since == default.clock.now_ms() - 90_000, "since the window began"
    assert default.run(run.id).status is S.PENDING
    assert dispatching.dispatch(core) == 0
    default.clock.advance(HOUR - 90)
    assert dispatching.dispatch(core) == 0, "a freeze ends when the mark is gone"
    rung(core).clear()
    freezing.apply_windows(core)
    assert [bell.task for bell in rung(core)] == [
        messages.DISPATCH,
        messages.RECONCILE_PODS,
        messages.BEGIN_WARMUPS,
    ]
    assert dispatching.dispatch(core) == 2
    assert default.run(other.id).status is S.PLAN_QUEUED
    assert actions(core) == [Action.ADDED, Action.ENTERED, Action.LEFT]
    found = default.database.read(freezes.find, "default")
    assert (found.frozen_since, found.settled) == (None, True)


def test_a_plan_that_nobody_marked_frozen_is_not_claimed(default: World, core: Core) -> None:
    """docs/failures.md 35: the slot that accepts work asks too."""
    freeze_changes.add_window(core, "default", NIGHT, by="eve")
    run = default.at(S.PLAN_QUEUED)
    default.clock.advance(HOUR / 2)
    refused = default.database.attempt(owning.claim, run.id, Phase.PLAN, run.attempt, default.place(), lease_ms=1000)
    assert refused is None


def test_a_bypass_lifts_windows_and_a_freeze_by_hand_ends_it(default: World, core: Core) -> None:
    freeze_changes.add_window(core, "default", NIGHT, by="eve")
    default.clock.advance(HOUR / 2)
    freezing.apply_windows(core)
    rung(core).clear()
    hour = Until(text="2026-01-01 10:00")
    with pytest.raises(InvalidInput):
        freeze_changes.bypass(core, "default", until=hour, reason="hotfix", by="eve")
    found = freeze_changes.bypass(core, "default", until=Until(text="20m"), reason="hotfix", by="eve")
    assert (found.frozen, found.freezes_at) == (False, default.clock.now_ms() + 20 * 60_000)
    assert [bell.task for bell in rung(core)] == [messages.DISPATCH, messages.RECONCILE_PODS]
    found = freeze(core, until="2h")
    assert found.frozen
    assert found.freezes.bypass is None
    assert [bell.task for bell in rung(core)][2:] == [messages.APPLY_FREEZE_WINDOWS, messages.RECONCILE_PODS]
    found = freeze_changes.lift(core, "default", reason="over", by="eve")
    assert found.frozen, "the window is not lifted"
    with pytest.raises(Conflict, match=r"not frozen by hand: frozen until .*window night"):
        freeze_changes.lift(core, "default", reason="again", by="eve")
    freeze_changes.remove_window(core, "default", "night", by="eve")
    assert dispatching.dispatch(core) == 0
    assert actions(core) == [
        Action.ADDED,
        Action.ENTERED,
        Action.BYPASSED,
        Action.LEFT,
        Action.FROZEN,
        Action.ENTERED,
        Action.LIFTED,
        Action.REMOVED,
        Action.LEFT,
    ]
    assert [(event.by, event.reason) for event in freeze_views.listed(core, ["default"])[0].events][2:5] == [
        ("eve", "hotfix"),
        (None, None),
        ("eve", "incident 42"),
    ]


def test_a_freeze_of_one_pool_holds_up_no_other(default: World, core: Core) -> None:
    default.do(pools.set_policy, "cold", PoolPolicy(max_pods=1))
    default.pod("pod2", pool="cold")
    freeze(core, "cold")
    default.workspace("network")

    def fill(tx: Any) -> None:
        for _ in range(210):  # more than a round of dispatching looks at
            new = NewRun(
                workspace="network",
                run_type=RunType.PLAN,
                pool="cold",
                priority=100,
                auto_apply=False,
                message=None,
                requested_by="alice",
                idempotency_key=None,
                request_digest="",
            )
            runs.insert(tx, new)

    default.do(fill)
    run = default.enqueue("other")
    assert dispatching.dispatch(core) == 1
    assert default.run(run.id).status is S.PLAN_QUEUED
    freezing.apply_windows(core)
    assert default.run(run.id).status is S.PLAN_QUEUED


@pytest.mark.parametrize("status", [S.PENDING, S.CONFIRMED])
def test_a_waiting_run_says_until_when(default: World, core: Core, status: Status) -> None:
    run = default.at(status)
    freeze(core, until="2h")
    why = views.waiting_of(core, run)
    assert why is not None
    assert why.code == "frozen_until"
    assert why.text.startswith("pool default: frozen until ")
    assert why.text.endswith(f" {day_of(default)} 10:00 UTC (by eve: incident 42)")
    assert [why for found, why in views.queue(core) if found.id == run.id] == [why]


def test_a_stored_window_that_cannot_be_read_freezes(default: World, core: Core) -> None:
    """docs/failures.md 36."""
    freeze_changes.add_window(core, "default", NIGHT, by="eve")
    default.do(lambda tx: tx.execute(sa.text("UPDATE iacq_freeze_windows SET days = 'someday'")))
    freezing.apply_windows(core)
    default.enqueue()
    assert dispatching.dispatch(core) == 0
    shown = freeze_views.pool_to_json(freeze_views.listed(core, ["default"])[0])
    assert shown["frozen"]
    assert "someday" in shown["windows"][0]["error"]
    freeze_changes.remove_window(core, "default", "night", by="eve")
    assert dispatching.dispatch(core) == 1


Change = Callable[[Core], object]


def add(**changes: str | None) -> Change:
    return lambda core: freeze_changes.add_window(core, "default", dataclasses.replace(NIGHT, **changes), by="eve")


REFUSED: dict[str, tuple[type[IacqError], str, Change]] = {
    "zone": (InvalidInput, "--tz", add(zone="Mars/Base")),
    "empty window": (InvalidInput, "--to", add(end="08:30")),
    "day": (InvalidInput, "--days", add(days="someday")),
    "hour": (InvalidInput, "--from", add(start="25:00")),
    "missing": (InvalidInput, "--tz", add(zone=None)),
    "both kinds": (InvalidInput, "--days", add(until="2h")),
    "name": (InvalidInput, "--name", add(name="a/b")),
    "taken": (Conflict, "--name", add(name="taken")),
    "once without an end": (
        InvalidInput,
        "--until",
        lambda core: freeze_changes.add_window(core, "default", NewWindow(at="2030-02-01 10:00"), by="eve"),
    ),
    "over": (
        InvalidInput,
        "--until",
        lambda core: freeze_changes.add_window(
            core, "default", NewWindow(at="2026-02-01 10:00", until="2026-02-01 11:00"), by="eve"
        ),
    ),
    "until": (InvalidInput, "--until", lambda core: freeze(core, until="soon")),
    "until now": (InvalidInput, "--until", lambda core: freeze(core, until="0s")),
    "far away": (InvalidInput, "--until", lambda core: freeze(core, until="999999d")),
    "reason": (
        InvalidInput,
        "--reason",
        lambda core: freeze_changes.freeze_now(core, "default", until=None, reason=" ", by="eve"),
    ),
    "pool": (NotFound, "pool", lambda core: freeze(core, "nowhere")),
    "no pool's name": (InvalidInput, "pool", lambda core: freeze(core, "a/\0b")),
    "window": (NotFound, "window", lambda core: freeze_changes.remove_window(core, "default", "nothing", by="eve")),
    "days ahead": (InvalidInput, "--days", lambda core: freeze_views.preview(core, "default", days=0)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_changes_nothing(default: World, core: Core, name: str) -> None:
    error, field, change = REFUSED[name]
    add(name="taken")(core)
    before = default.rows()
    with pytest.raises(error) as raised:
        change(core)
    assert raised.value.field == field
    assert default.rows() == before


def test_windows_without_a_name_get_one(default: World, core: Core) -> None:
    for expected in ("window-1", "window-2"):
        found = add(name=None)(core)
        assert isinstance(found, PoolFreezes)
        assert expected in [window.name for window in found.freezes.windows]
    freeze_changes.remove_window(core, "default", "window-1", by="eve")
    add(name=None)(core)
    kept = default.database.read(freezes.find, "default")
    assert sorted(window.name for window in kept.freezes.windows) == ["window-1", "window-2"]


def test_windows_go_with_their_pool(default: World, core: Core) -> None:
    add()(core)
    default.do(lambda tx: tx.execute(sa.text("DELETE FROM iacq_pools")))
    default.do(pools.set_policy, "default", PoolPolicy(max_pods=1))
    assert default.database.read(freezes.find, "default").freezes.windows == ()


def test_the_days_ahead(default: World, core: Core) -> None:
    add()(core)
    found = freeze_views.preview(core, "default", days=2)
    shown = freeze_views.preview_to_json(found)
    assert shown["first_open"] == f"{day_of(default)}T08:00:00.000Z"
    assert [(entry["from"], entry["until"]) for entry in shown["intervals"]] == [
        (f"{day_of(default, days)}T08:30:00.000Z", f"{day_of(default, days)}T09:30:00.000Z") for days in (0, 1)
    ]
