import datetime as dt

from iacq.domain import state_lock
from iacq.domain.run import Status
from tests import samples

HTTP = """Error acquiring the state lock

Error message: HTTP remote state already locked: ID=cd5e7e77-b4b3-a9b5-6f20-9966e39d17cc
Lock Info:
  ID:        6e4b66fc-efa0-1dfb-184c-9df45963fc2d
  Path:
  Operation: OperationTypeApply
  Who:       root@vm
  Version:   1.11.4
  Created:   2026-11-22 05:13:34.404908437 +0000 UTC
  Info:


Terraform acquires a state lock to protect the state from being written"""
"""As terraform 1.11 printed it: the lock info is that of the lock that it did not get."""

OTHERS = HTTP.replace("HTTP remote state already locked: ID=cd5e7e77-b4b3-a9b5-6f20-9966e39d17cc", "ConditionalCheck")
CREATED = int(dt.datetime(2026, 11, 22, 5, 13, 34, 404_000, tzinfo=dt.UTC).timestamp() * 1000)


def test_a_backend_that_says_who_holds_it() -> None:
    lock = state_lock.parse(OTHERS)
    assert lock is not None
    assert (lock.id, lock.who) == ("6e4b66fc-efa0-1dfb-184c-9df45963fc2d", "root@vm")
    assert lock.created_at == CREATED


def test_the_http_backend_says_the_id_only() -> None:
    lock = state_lock.parse(HTTP)
    assert lock is not None
    assert (lock.id, lock.who, lock.created_at) == ("cd5e7e77-b4b3-a9b5-6f20-9966e39d17cc", None, None)


def test_other_errors_name_no_lock() -> None:
    assert state_lock.parse("Error: Saved plan is stale\n  ID: 7") is None
    assert state_lock.parse("Error acquiring the state lock\n\nError message: 2 errors occurred") is None


def test_a_lock_is_that_of_the_apply_that_started_just_before() -> None:
    lock = state_lock.parse(OTHERS)
    assert lock is not None
    applies = [
        samples.run(Status.FAILED, id=3, effects_at=CREATED + 6_000),
        samples.run(Status.FAILED, id=2, effects_at=CREATED - 200),
        samples.run(Status.APPLIED, id=1, effects_at=CREATED - 3_600_000),
        samples.run(Status.DISCARDED, id=0),
    ]
    found = state_lock.taken_by(lock, applies)
    assert found is not None
    assert found.id == 2
    assert state_lock.taken_by(lock, [applies[0], applies[2], applies[3]]) is None
