"""One client in many threads, and in processes that were forked off."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from iacq.client import Client
from iacq.errors import IacqError
from iacq.settings import Settings
from tests.store.world import at_once

THREADS = 8
CHECKOUT = Path(__file__).parent.parent.parent


def bells(settings: Settings) -> int:
    with redis.Redis(unix_socket_path=settings.celery_broker_url.removeprefix("redis+socket://")) as broker:
        return int(broker.llen("iacq.control"))


def test_one_client_serves_threads(settings: Settings, client: Client) -> None:
    before = bells(settings)

    def work(number: int) -> list[int]:
        made = [client.enqueue("it", "plan", message=f"{number}").id for _ in range(5)]
        shared = client.enqueue("it", "plan", idempotency_key="shared").id
        assert {client.get(run_id).message for run_id in made} == {f"{number}"}
        assert client.cancel(made[0]).status == "cancelled"
        return [shared, *made]

    found = at_once(*[lambda number=number: work(number) for number in range(THREADS)])
    assert not [one for one in found if isinstance(one, BaseException)]
    assert len({one[0] for one in found}) == 1, "a key gave two runs"
    assert len({run_id for one in found for run_id in one[1:]}) == 5 * THREADS
    assert len(client.list(limit=None)) == 5 * THREADS + 1
    assert bells(settings) - before == 6 * THREADS + 1


def test_threads_that_begin_together_share_one_engine(settings: Settings) -> None:
    with Client.from_env(settings) as fresh:
        found = at_once(*[lambda: fresh._core.database.engine for _ in range(THREADS)])
        assert len({id(engine) for engine in found}) == 1


def test_a_client_goes_on_after_a_fork(settings: Settings, client: Client) -> None:
    children, runs = 3, 10
    environment = {
        **os.environ,
        "IACQ_DATABASE_URL": str(settings.database_url),
        "IACQ_BROKER_URL": settings.celery_broker_url,
    }
    before = bells(settings)
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.client.forking", str(children), str(runs)],
        cwd=CHECKOUT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    said = json.loads(ended.stdout)
    assert set(said["after"]) <= set(said["before"]), "a child closed the parent's connection"
    each = [said["before"], *said["children"]]
    assert len({one for found in each for one in found}) == sum(map(len, each)), "a child used another's connection"
    stored = client.list(limit=None)
    assert len(stored) == 1 + children + children * runs
    assert bells(settings) - before == len(stored), "a bell was lost or doubled"


def test_a_closed_client_opens_again(settings: Settings, client: Client) -> None:
    client.enqueue("it", "plan")
    client.close()
    client.close()
    assert client.enqueue("it", "plan").id == 2
    assert bells(settings) == 2


def test_every_error_is_one_of_iacq(client: Client) -> None:
    run = client.enqueue("it", "plan")
    odd = object()
    calls = [
        lambda: client.enqueue("it", "plan", priority="high"),  # type: ignore[arg-type]
        lambda: client.enqueue("it", "plan", var_files="x.tfvars"),
        lambda: client.enqueue("it", "plan", var_files=[odd]),  # type: ignore[list-item]
        lambda: client.enqueue("it", "plan", targets="a.b"),
        lambda: client.enqueue("it", "plan", variables=[1]),  # type: ignore[arg-type]
        lambda: client.enqueue("it", "plan", message="a\0b"),
        lambda: client.enqueue("it", "plan", by="b" * 300),
        lambda: client.enqueue(odd, "plan"),  # type: ignore[arg-type]
        lambda: client.enqueue("it", odd),  # type: ignore[arg-type]
        lambda: client.get("x"),  # type: ignore[arg-type]
        lambda: client.get(10**30),
        lambda: client.get(-1),
        lambda: client.list(status=["lost"]),
        lambda: client.list(status=[odd]),  # type: ignore[list-item]
        lambda: client.wait(run.id, until="planned"),
        lambda: client.wait(run.id, until={"apply_pending"}, timeout=0),
        lambda: client.confirm(run.id, plan_hash=None),  # type: ignore[arg-type]
        lambda: client.confirm(run.id, plan_hash="a" * 64, by="\0"),
        lambda: client.cancel(10**30),
        lambda: client.resolve(run.id, applied=True, comment=odd),  # type: ignore[arg-type]
        lambda: list(client.logs(run.id, phase="middle")),
        lambda: list(client.logs(run.id, phase="plan", offset=odd)),  # type: ignore[arg-type]
        lambda: client.plan_text(run.id),
        lambda: client.outputs("it"),
        lambda: client.workspace("x" * 1000),
        lambda: client.update_workspace("it", colour="red"),
        lambda: client.lock_workspace("it", reason=odd),  # type: ignore[arg-type]
        lambda: client.pull_state("it"),
    ]
    for call in calls:
        with pytest.raises(IacqError):
            call()
