"""What a client does while the broker hangs, or the database is away for a while."""

import contextlib
import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from iacq.adapters.broker.embedded import EmbeddedBroker
from iacq.client import Client
from iacq.domain.run import Phase, Status
from iacq.domain.workspace import Workspace
from iacq.errors import Unavailable, WaitTimeout
from iacq.settings import Settings
from iacq.store.schema import logs
from iacq.store.session import Database, Transaction
from iacq.testing.clock import FakeClock
from iacq.testing.core import make_core
from tests.store.world import at_once
from tests.waiting import at_most

LONGEST = 15.0
"""Seconds that any call may take."""


@contextlib.contextmanager
def hanging(broker: EmbeddedBroker) -> Iterator[None]:
    with redis.Redis(unix_socket_path=str(broker.socket)) as client:
        pid = client.info()["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_hung_broker_delays_each_call_by_seconds(
    settings: Settings, client: Client, broker_server: EmbeddedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    waits = client.enqueue("it", "plan")

    def call(used: Client) -> None:
        with at_most(LONGEST):
            run = used.enqueue("it", "plan")
            assert used.get(run.id).status is Status.PENDING

    with hanging(broker_server), Client.from_env(settings) as fresh:
        said = at_once(*[lambda: call(client)] * 12, lambda: call(fresh), lambda: client.cancel(waits.id))
        assert not [one for one in said if isinstance(one, BaseException)]
        with at_most(LONGEST):
            fresh.warm()
            fresh.close()
            client.close()
    assert "it is stored" in caplog.text
    call(client)


class Away(Database):
    """A database that can be away."""

    away = False

    @contextlib.contextmanager
    def transaction(self, *, reading: bool = False) -> Iterator[Transaction]:
        if self.away:
            raise Unavailable("the database does not answer: it is away")
        with super().transaction(reading=reading) as tx:
            yield tx


class Until(FakeClock):
    """Time at whose course something happens."""

    def __init__(self, database: Away, away_for: float) -> None:
        super().__init__()
        self.database, self.away_for = database, away_for

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        self.database.away = self.monotonic() < self.away_for


@pytest.fixture
def flaky(sqlite_url: str, tmp_path: Path) -> Iterator[tuple[Client, Until]]:
    database = Away(sqlite_url)
    clock = Until(database, 60)
    core = make_core(sqlite_url, tmp_path)
    core.database.close()
    client = Client(dataclasses.replace(core, database=database, clock=clock))
    with client:
        yield client, clock


def make_run(client: Client) -> int:
    client.create_workspace(Workspace(name="it", pool="default", path="/src", auto_apply=False))
    return client.enqueue("it", "plan").id


def test_waiting_outlives_an_outage(flaky: tuple[Client, Until]) -> None:
    client, clock = flaky
    run_id = make_run(client)
    with pytest.raises(WaitTimeout, match="is pending after 10 s, as far as is known: the database does not answer"):
        client.wait(run_id, timeout=10)
    clock.sleep(60)
    clock.away_for += 60
    with pytest.raises(WaitTimeout, match=r"is pending after 70 s$"):
        client.wait(run_id, timeout=70)  # and it was there again
    clock.database.away = True
    with pytest.raises(Unavailable):
        client.wait(run_id, timeout=10)


def test_following_outlives_an_outage(flaky: tuple[Client, Until]) -> None:
    client, clock = flaky
    run_id = make_run(client)
    chunk = {"run_id": run_id, "phase": Phase.PLAN, "start": 0, "size": 6, "text": "first\n"}
    client._core.database.run(lambda tx: tx.execute(logs.insert().values(**chunk)))
    lines = client.logs(run_id, phase="plan", follow=True)
    assert next(lines).text == "first"
    client.cancel(run_id)
    clock.database.away = True
    assert list(lines) == []
    assert clock.monotonic() >= 60
    clock.database.away = True
    with pytest.raises(Unavailable):
        list(client.logs(run_id))
