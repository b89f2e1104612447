"""Broker, database, control worker and beat may go away: what was asked for is stored, and goes on afterwards."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from iacq import messages
from iacq.domain.run import Phase, StartTier, Status
from iacq.errors import Unavailable
from iacq.messages import Doorbell
from iacq.store.protocol import waiting
from iacq.store.schema import outbox
from tests import processes, servers
from tests.acceptance import configurations, fleet
from tests.acceptance.conftest import on_both
from tests.acceptance.system import System
from tests.waiting import at_most, wait_until


@contextlib.contextmanager
def broker(system: System) -> Iterator[redis.Redis]:
    with contextlib.closing(redis.Redis(unix_socket_path=str(system.broker.socket))) as client:
        yield client


def test_a_broker_that_is_away_only_delays(system: System, tmp_path):
    system.workspace("late", configurations.write(tmp_path / "late", configurations.COUNTED))
    planned = system.plan("late")
    system.broker.stop()
    try:
        confirmed = system.confirm(planned)
        assert confirmed.status is Status.APPLY_QUEUED
        later = system.client.enqueue("late", "plan")
        assert later.status is Status.PENDING
    finally:
        system.broker.start()
    assert system.wait(planned).status is Status.APPLIED
    assert system.wait(later).status is Status.SUCCESS
    assert len(system.spy.calls("apply", run=planned.id)) == 1


def test_a_broker_that_lost_everything_gets_it_again(system: System, tmp_path):
    system.workspace("lost", configurations.write(tmp_path / "lost", configurations.COUNTED))
    planned = system.plan("lost")
    with broker(system) as client:
        client.flushall()
    assert system.confirm(planned).status is Status.APPLY_QUEUED
    assert system.wait(planned).status is Status.APPLIED
    assert system.plan("lost", "plan").status is Status.SUCCESS


@on_both
def test_a_doorbell_that_was_lost_is_rung_again(system: System, tmp_path):
    """What a client stored before it died is applied, in the same slot."""
    system.workspace("silent", configurations.write(tmp_path / "silent", configurations.COUNTED))
    planned = system.plan("silent")
    confirmed, bell = system.database.attempt(waiting.confirm, planned, by="tester", comment=None)
    assert (confirmed.status, bell.attempt) == (Status.APPLY_QUEUED, confirmed.attempt)
    system.database.run(lambda tx: tx.execute(outbox.update().values(next_ms=0)))  # as after 15 seconds
    applied = system.wait(planned)
    assert (applied.status, applied.start_tier) == (Status.APPLIED, StartTier.HOT)


def test_doorbells_that_are_doubled_late_or_forged_do_nothing(system: System, tmp_path):
    """docs/failures.md 1: what is not confirmed is not applied, whoever rings."""
    system.workspace("forged", configurations.write(tmp_path / "forged", configurations.COUNTED))
    planned = system.plan("forged")
    before = system.row(planned)
    core = system.client._core
    for queue in (f"{planned.pod_name}.{number}" for number in (1, 2, 3)):
        for phase in Phase:
            for attempt in range(4):
                core.ring(Doorbell(run_id=planned.id, phase=phase, attempt=attempt, queue=queue, workspace="forged"))
    others = [system.plan("forged", "plan") for _ in range(3)]  # they queue up behind
    assert {run.status for run in others} == {Status.SUCCESS}
    assert system.row(planned) == before
    assert system.spy.commands(planned.id) == ["init", "plan", "show", "show"]

    # A bell that is doubled: the second one finds nothing to claim.
    confirmed, bell = system.database.attempt(waiting.confirm, planned, by="tester", comment=None)
    for _ in range(5):
        core.ring(bell)
    assert system.wait(confirmed).status is Status.APPLIED
    for _ in range(3):
        core.ring(bell)
    assert system.plan("forged", "plan").status is Status.SUCCESS
    assert len(system.spy.calls("apply", run=planned.id)) == 1


def test_no_control_worker_and_no_beat_for_a_while(system: System, tmp_path):
    """docs/failures.md 1, 3: a restart neither applies nor fails what waits for a person."""
    system.workspace("calm", configurations.write(tmp_path / "calm", configurations.COUNTED))
    planned = system.plan("calm")
    system.kill("beat")
    system.kill("control")
    hot = system.confirm(planned)  # needs no control worker: its slot is its own
    assert system.wait(hot).start_tier is StartTier.HOT
    system.workspace("calm2", configurations.write(tmp_path / "calm2", configurations.COUNTED))
    later = system.client.enqueue("calm2", "plan_and_apply")
    system.start_control()
    later = system.wait(later, Status.APPLY_PENDING)
    assert later.status is Status.APPLY_PENDING
    for task in (messages.DISPATCH, messages.RECOVER, messages.CHECK_AGENTS, messages.RESEND):
        system.ring(task)
    assert system.plan("calm", "plan").status is Status.SUCCESS
    assert system.client.get(later.id).status is Status.APPLY_PENDING


def test_terraform_goes_on_while_the_database_hangs(
    make_system: Callable[..., System], postgres_server: servers.Postgres, tmp_path, gate
):
    """docs/failures.md 26: an outage makes no lease expire, and the result is reported afterwards."""
    system = make_system("postgresql", slots=1, DATABASE_TIMEOUT="1s")
    system.workspace("away", configurations.write(tmp_path / "away", gate.configuration()))
    run = system.plan("away")
    system.confirm(run)
    gate.reached()
    launch = system.fleet().launch(run.id)
    longer = system.settings.lease + system.settings.lease_confirm + 1
    mark = system.mark()
    with postgres_away(postgres_server):
        with at_most(5), pytest.raises(Unavailable, match="no answer within 1 s"):
            system.client.get(run.id)
        wait_until(lambda: system.said("lease not renewed", mark), 10, "its owner gives up waiting, and goes on")
        gate.open()
        wait_until(lambda: not launch.running, 20, "terraform ends")
        ended = time.monotonic()
        wait_until(lambda: time.monotonic() > ended + longer, longer + 1, "the lease has ended")
    assert system.client.get(run.id).status is Status.APPLYING
    run = system.wait(run)
    assert (run.status, run.error_text) == (Status.APPLIED, None)
    assert not {"lease_lost", "late_report", "adopted"} & set(system.history(run))
    assert system.log(run, "apply").count("Apply complete") == 1


@contextlib.contextmanager
def postgres_away(server: servers.Postgres) -> Iterator[None]:
    """Stop every process of the server, as a machine that hangs."""
    postmaster = server._process.pid
    family = [postmaster, *(found.pid for found in processes.descendants(postmaster))]
    fleet.send(signal.SIGSTOP, family)
    try:
        yield
    finally:
        fleet.send(signal.SIGCONT, family)


def test_the_machine_wakes_up_again(system: System, tmp_path, gate):
    """Everything of the pod is stopped past its lease, as in a virtual machine that was suspended."""
    system.workspace("slept", configurations.write(tmp_path / "slept", gate.configuration()))
    run = system.plan("slept")
    system.confirm(run)
    gate.reached()
    with system.suspended(*system.fleet().family()):
        interrupted = system.wait(run, Status.APPLY_INTERRUPTED)
        assert interrupted.owner is None
        wait_until(lambda: not any(slot.usable for slot in system.client.slots()), 15, "the pod is offline")
        gate.open()
    run = system.wait(run)
    assert run.status is Status.APPLIED
    assert "late_report" in system.history(run) or "adopted" in system.history(run)
    assert len(system.spy.calls("apply", run=run.id)) == 1


def test_a_slot_that_does_not_answer_is_closed_until_it_does(system: System, tmp_path):
    system.workspace("mute", configurations.write(tmp_path / "mute", configurations.COUNTED))
    planned = system.plan("mute")
    with system.suspended(system.fleet().slot(planned.slot_id)):
        system.confirm(planned)
        applied = system.wait(planned)
        assert (applied.status, applied.start_tier) == (Status.APPLIED, StartTier.WARM)
        assert applied.slot_id != planned.slot_id
        closed = next(found for found in system.client.slots() if found.slot_id == planned.slot_id)
        assert closed.closed == "not_answering"
    system.wait_ready()
    assert len(system.spy.calls("apply", run=planned.id)) == 1
