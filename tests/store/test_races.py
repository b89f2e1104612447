"""Two processes at once. Whoever commits first decides, and the rows agree afterwards.

Each pair says what comes of it in one order and in the other; at the same moment it is one of the two. On PostgreSQL
each order is also forced: the second statement waits for the first one's lock and must look again when it gets it.
"""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from iacq.domain.pool import PoolPolicy
from iacq.domain.run import Phase, Run, RunType, StartTier, Status
from iacq.domain.slot import PodStatus
from iacq.errors import Conflict
from iacq.services import enqueuing
from iacq.services.core import Core
from iacq.store import pools, runs, workspaces
from iacq.store.protocol import owning, waiting, warming
from iacq.store.runs import NewRun
from iacq.store.schema import pods as pod_table
from iacq.store.session import Database, Transaction
from tests import samples
from tests.store.racing_pairs import PAIRS, Came, Pair, Seen, Step
from tests.store.world import CLAIM_MS, EXPIRES_MS, LEASE_MS, World, at_once
from tests.waiting import wait_until

S = Status
ROUNDS = 8


def prepare(world: World, pair: Pair) -> tuple[Seen, Step, Step]:
    world.pod()
    world.do(pools.set_policy, "default", PoolPolicy(max_pods=1))
    run = pair.begin(world)
    other = pair.other(world) if pair.other else None
    seen = Seen(world=world, run=run, other=other, slot=world.slot(1), slot2=world.slot(2))
    return seen, pair.first(seen), pair.second(seen)


def judge(seen: Seen, first: Any, second: Any) -> Came:
    for result in (first, second):
        if isinstance(result, Exception):
            raise result
    seen.world.check()
    return Came(first=first is not None, second=second is not None, status=seen.world.run(seen.run.id).status)


@pytest.mark.parametrize("name", PAIRS)
def test_at_the_same_moment(world: World, name: str) -> None:
    pair = PAIRS[name]
    for _ in range(ROUNDS):
        seen, first, second = prepare(world, pair)
        late = world.later if pair.second_is_late else world.database
        results = at_once(partial(world.database.attempt, first), partial(late.attempt, second))
        assert judge(seen, *results) in (pair.in_order, pair.reversed)
        clear(world, seen)


def clear(world: World, seen: Seen) -> None:
    """End what the round left, so that the next one finds free slots."""
    ended = {
        "status": S.CANCELLED,
        "completed_ms": 1,
        "cancel_requested_ms": 1,
        "queue": None,
        "owner": None,
        "lease_until": None,
    }
    for run in filter(None, (seen.run, seen.other)):
        world.set_run(run.id, **ended, **runs.LOST_PLACE)
    world.do(lambda tx: tx.execute(pod_table.update().values(status=PodStatus.ONLINE)))
    for number in (1, 2):
        world.set_slot(number, run_id=None, status="idle", task_type=None, closed=None)
    world.do(lambda tx: tx.execute(sa.text("DELETE FROM iacq_outbox")))
    world.do(workspaces.unlock, "network")
    world.do(lambda tx: tx.execute(sa.text("UPDATE iacq_pools SET frozen_ms = NULL, freeze_since_ms = NULL")))


@pytest.mark.parametrize("turned", [False, True], ids=["in order", "reversed"])
@pytest.mark.parametrize("name", PAIRS)
def test_one_after_the_other_where_the_second_waits(postgres_world: World, name: str, turned: bool) -> None:
    world, pair = postgres_world, PAIRS[name]
    seen, first, second = prepare(world, pair)
    late = world.later if pair.second_is_late else world.database
    if turned:
        second_result, first_result = wait_for(world, (late, second), (world.database, first))
        assert judge(seen, first_result, second_result) == pair.reversed
    else:
        first_result, second_result = wait_for(world, (world.database, first), (late, second))
        assert judge(seen, first_result, second_result) == pair.in_order


def wait_for(world: World, holder: tuple[Database, Step], waiter: tuple[Database, Step]) -> tuple[Any, Any]:
    """Run the first step, keep its transaction open until the second one waits for it, then commit."""
    results: list[Any] = []
    with holder[0].transaction() as tx:
        held = holder[1](tx)
        thread = threading.Thread(target=lambda: results.extend(at_once(lambda: waiter[0].attempt(waiter[1]))))
        thread.start()
        wait_until(lambda: results or is_waiting(world.database), what="the second one waits for the first one")
        assert not results, "it did not wait"
    thread.join(60)
    return held, results[0]


def is_waiting(database: Database) -> bool:
    blocked = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock' AND cardinality(pg_blocking_pids(pid)) > 0"
    )
    with database.transaction(reading=True) as tx:
        return bool(tx.execute(blocked).scalar())


def test_one_message_delivered_eight_times(world: World) -> None:
    world.pod()
    for status, claimed in ((S.PLAN_QUEUED, S.PLANNING), (S.APPLY_QUEUED, S.APPLYING)):
        run = world.at(status, workspace=f"w-{status}", slot_id=1 if status is S.PLAN_QUEUED else 2)
        place = world.place(1 if status is S.PLAN_QUEUED else 2)
        phase = Phase.PLAN if status is S.PLAN_QUEUED else Phase.APPLY
        claim_it = partial(
            owning.claim, run_id=run.id, phase=phase, attempt=run.attempt, place=place, lease_ms=LEASE_MS
        )
        results = at_once(*[partial(world.database.attempt, claim_it)] * 8)
        assert [result is not None for result in results].count(True) == 1
        after = world.run(run.id)
        assert (after.status, after.fence, after.tries) == (claimed, run.fence + 1, 1)
        world.check()


def test_a_lease_that_ended_while_the_statement_waited_is_not_accepted(postgres_world: World) -> None:
    world = postgres_world
    world.pod()
    run = world.at(S.APPLYING)
    real = Database(world.url)  # the database's own clock
    try:
        hold = world.hold(run)
        for change in ({"stage": "apply"}, {}):  # the holder changed the row, or only locked it
            real.run(owning.renew, hold, lease_ms=300, stage="verify")
            where = sa.text("SELECT id FROM workspace_tasks WHERE id = :id FOR UPDATE").bindparams(id=run.id)
            pool = ThreadPoolExecutor(1)
            with real.transaction() as tx:
                tx.execute(where)
                if change:
                    runs.change(tx, run.id, hold.seen, **change)
                passed = pool.submit(real.attempt, owning.pass_point_of_no_return, hold, StartTier.HOT)
                wait_until(partial(is_waiting, real), what="it waits")
                wait_until(partial(has_ended, real, run.id), what="the lease ends")
            pool.shutdown()
            assert passed.result() is None, f"accepted after the lease ended; the holder changed {change}"
    finally:
        real.close()


def has_ended(database: Database, run_id: int) -> bool:
    with database.transaction(reading=True) as tx:
        ended = sa.text(
            "SELECT lease_until < extract(epoch from clock_timestamp()) * 1000 FROM workspace_tasks WHERE id = :id"
        )
        return bool(tx.execute(ended.bindparams(id=run_id)).scalar())


def test_enqueue_with_one_key_at_the_same_moment(world: World, core: Core) -> None:
    world.workspace()
    for number in range(ROUNDS):
        request = enqueuing.Request(
            workspace="network",
            run_type=enqueuing.RunType.PLAN,
            by="alice",
            idempotency_key=f"deploy-{number}",
        )
        found = at_once(*[lambda: enqueuing.enqueue(core, request)] * 4)  # noqa: B023 - done within the round
        assert len({run.id for run in found}) == 1


def test_a_workspace_is_never_deleted_under_a_run(world: World, core: Core) -> None:
    accepted = 0
    for number in range(ROUNDS):
        name = f"short-lived-{number}"
        world.workspace(name)
        request = enqueuing.Request(workspace=name, run_type=enqueuing.RunType.PLAN_AND_APPLY, by="alice")
        run, deleted = at_once(
            lambda: enqueuing.enqueue(core, request),  # noqa: B023 - done within the round
            lambda: world.database.run(workspaces.delete, name, force=False),  # noqa: B023
        )
        exists = world.database.read(workspaces.find, name) is not None
        assert isinstance(run, Run) is exists, "a run without its workspace could never start nor end"
        assert isinstance(deleted, Conflict) is exists
        accepted += exists
    assert 0 <= accepted <= ROUNDS


def test_an_apply_is_not_queued_for_a_slot_that_it_has_just_lost(postgres_world: World) -> None:
    """It is prepared in another one meanwhile: neither step counts as an attempt."""
    world = postgres_world
    world.pod()
    run, slot, slot2 = world.at(S.CONFIRMED), world.slot(1), world.slot(2)

    def prepare_elsewhere(tx: Transaction) -> object:
        lost = waiting.give_up_reservation(tx, run, slot)
        return warming.begin(tx, lost, slot2, claim_within_ms=CLAIM_MS)

    def dispatch(tx: Transaction) -> object:
        return waiting.dispatch_to_own_slot(tx, run)

    _, bell = wait_for(world, (world.database, prepare_elsewhere), (world.database, dispatch))
    assert bell is None
    world.check()
    assert world.do(dispatch).queue == "pod1.2"


def test_a_run_that_is_enqueued_while_its_workspace_moves_goes_along(postgres_world: World) -> None:
    world = postgres_world
    world.workspace()

    def enqueue(tx: Transaction) -> Run:
        new = NewRun(
            workspace="network",
            run_type=RunType.PLAN,
            pool=workspaces.hold(tx, "network").pool,
            priority=0,
            auto_apply=False,
            message=None,
            requested_by="alice",
            idempotency_key=None,
            request_digest="",
        )
        return runs.insert(tx, new)

    def move(tx: Transaction) -> object:
        return workspaces.update(tx, samples.workspace(pool="trusted"), secrets=None)

    run, _ = wait_for(world, (world.database, enqueue), (world.database, move))
    assert world.run(run.id).pool == "trusted"


def test_plans_expire_after_their_time_only(world: World) -> None:
    world.pod()
    run = world.at(S.APPLY_PENDING)
    assert run.expires_at == world.clock.now_ms() + EXPIRES_MS
    assert world.database.attempt(waiting.expire, run) is None
    world.clock.advance(EXPIRES_MS / 1000)
    assert world.database.attempt(waiting.confirm, run, by="bob", comment=None) is None
    assert world.database.attempt(waiting.expire, run) is not None
