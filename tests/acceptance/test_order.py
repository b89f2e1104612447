"""Which run goes when: one at a time in a workspace, and nothing is held up for ever."""

from collections import defaultdict

import pytest

from iacq import messages
from iacq.domain.run import RunType, StartTier, Status
from iacq.errors import Conflict
from iacq.store.schema import runs
from tests.acceptance import configurations
from tests.acceptance.conftest import on_both
from tests.acceptance.system import System
from tests.waiting import wait_until

WITNESS = """
variable "log" {}
variable "number" { type = number }
resource "terraform_data" "it" {
  triggers_replace = var.number
  provisioner "local-exec" {
    command = "for word in begin end; do echo $word ${var.number} >> ${var.log}; sleep 0.05; done"
  }
}
"""


@on_both
def test_thirty_runs_on_six_workspaces_keep_their_order(system: System, tmp_path):
    """docs/failures.md 2, 9: never two at once in a workspace, each applied once, oldest first."""
    path = configurations.write(tmp_path / "many", WITNESS)
    names = [f"many{number}" for number in range(6)]
    for name in names:
        system.workspace(name, path, variables={"log": str(tmp_path / name)})
    wanted = defaultdict(list)
    everything = []
    for number in range(5):
        for name in names:
            run = system.client.enqueue(name, "plan_and_apply", variables={"number": number}, auto_apply=True)
            wanted[name] += [f"begin {number}", f"end {number}"]
            everything.append(run)
    ended = [system.wait(run, timeout=120) for run in everything]
    assert {run.status for run in ended} == {Status.APPLIED}, [run.error_text for run in ended if run.error_text]
    for name in names:
        assert (tmp_path / name).read_text().splitlines() == wanted[name]
    for before, after in zip(everything, everything[len(names) :], strict=False):
        assert system.client.events(before.id)[-1].at <= _left_pending(system, after)
    assert all(len(system.spy.calls("apply", run=run.id)) == 1 for run in everything)


def _left_pending(system: System, run) -> int:
    return next(event.at for event in system.client.events(run.id) if event.cause == "dispatched")


def test_three_unread_plans_never_block_a_fourth_run(system: System, tmp_path):
    """docs/failures.md 2, 23: the oldest reservation goes, and its apply starts warm."""
    path = configurations.write(tmp_path / "unread", configurations.COUNTED)
    unread = []
    for number in range(3):
        system.workspace(f"unread{number}", path)
        unread.append(system.plan(f"unread{number}"))
    assert {slot.status for slot in system.client.slots()} == {"reserved"}
    system.workspace("fourth", path)
    assert system.apply("fourth").start_tier is StartTier.HOT
    for run, tier in zip(unread, (StartTier.WARM, StartTier.HOT, StartTier.HOT), strict=True):
        system.confirm(run)
        ended = system.wait(run)
        assert (ended.status, ended.start_tier) == (Status.APPLIED, tier)


def test_a_lock_holds_what_changes_and_keeps_a_confirmation(system: System, tmp_path):
    system.workspace("locked", configurations.write(tmp_path / "locked", configurations.COUNTED))
    planned = system.plan("locked")
    system.client.lock_workspace("locked", reason="maintenance")
    with pytest.raises(Conflict, match="maintenance"):
        system.client.lock_workspace("locked", reason="mine")
    confirmed = system.confirm(planned)
    assert confirmed.status is Status.CONFIRMED
    assert system.plan("locked", RunType.DRIFT).status is Status.SUCCESS  # does not change anything
    system.ring(messages.DISPATCH)
    assert system.plan("locked", RunType.PLAN).status is Status.SUCCESS
    waiting = system.client.waiting(system.client.get(planned.id))
    assert (waiting.code, "maintenance" in waiting.text) == ("workspace_locked", True)
    system.client.unlock_workspace("locked")
    applied = system.wait(planned)
    assert (applied.status, applied.start_tier) == (Status.APPLIED, StartTier.HOT)


def test_runs_wait_behind_an_unread_plan_and_say_so(system: System, tmp_path):
    system.workspace("behind", configurations.write(tmp_path / "behind", configurations.COUNTED))
    first = system.plan("behind")
    second = system.client.enqueue("behind", "plan_and_apply")
    urgent = system.client.enqueue("behind", "destroy", priority=10)
    waiting = system.client.waiting(second)
    assert (waiting.code, str(first.id) in waiting.text) == ("behind_run", True)
    assert system.client.waiting(system.client.get(first.id)).code == "confirmation"
    system.client.discard(first.id)
    urgent = system.wait(urgent)  # of nothing: there is nothing to destroy
    assert urgent.status is Status.PLANNED_AND_FINISHED
    second = system.wait(second, Status.APPLY_PENDING)
    assert system.client.events(second.id)[1].at >= system.client.events(urgent.id)[-1].at


def test_a_newer_run_supersedes_unread_plans(system: System, tmp_path):
    system.workspace("newer", configurations.write(tmp_path / "newer", configurations.COUNTED))
    old = system.plan("newer")
    new = system.plan("newer", supersede=True)
    assert new.status is Status.APPLY_PENDING
    assert system.client.get(old.id).status is Status.DISCARDED
    assert system.history(old)[-1] == "superseded"


def test_a_plan_that_nobody_confirms_expires(system: System, tmp_path):
    """docs/failures.md 8."""
    system.workspace("late", configurations.write(tmp_path / "late", configurations.COUNTED))
    planned = system.plan("late")
    system.database.run(lambda tx: tx.execute(runs.update().where(runs.c.id == planned.id).values(expires_ms=1)))
    system.ring(messages.EXPIRE_PLANS)
    assert system.wait(planned).status is Status.DISCARDED
    assert system.history(planned)[-1] == "expired"
    with pytest.raises(Conflict):
        system.confirm(planned)
    wait_until(lambda: all(slot.usable for slot in system.client.slots()), 10, "the slot is free")


def test_confirming_is_idempotent_and_for_one_plan_only(system: System, tmp_path):
    """docs/failures.md 8, 10."""
    system.workspace("once", configurations.write(tmp_path / "once", configurations.COUNTED))
    planned = system.plan("once")
    with pytest.raises(Conflict, match="another plan"):
        system.client.confirm(planned.id, plan_hash="0" * 64)
    assert system.client.get(planned.id).status is Status.APPLY_PENDING
    first = system.client.confirm(planned.id, plan_hash=planned.plan_hash[:12], by="alice", comment="read it")
    again = system.client.confirm(planned.id, plan_hash=planned.plan_hash, by="bob")
    assert (again.confirmed_by, again.confirmed_at) == ("alice", first.confirmed_at)
    system.wait(planned)
    after = system.client.confirm(planned.id, plan_hash=planned.plan_hash, by="carol")
    assert (after.status, after.confirmed_by, after.confirmed_comment) == (Status.APPLIED, "alice", "read it")
    assert len(system.spy.calls("apply", run=planned.id)) == 1
