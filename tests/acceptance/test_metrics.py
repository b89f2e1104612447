"""Metrics and health of real processes, scraped over HTTP."""

import contextlib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from iacq.messages import CONTROL_QUEUE, TALLY, agent_queue
from iacq.services import tallying
from tests.acceptance.configurations import COUNTED, write
from tests.acceptance.system import POD, System
from tests.ports import free_address
from tests.waiting import wait_until

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def served(system: System) -> Iterator[tuple[System, str, str]]:
    """The shared system; its control worker and its agent are started anew, and serve their metrics."""
    control, agent = free_address(), free_address()
    system.kill("control")
    system.stop(POD)
    system.start("control", "-m", "workers.control", METRICS_ADDRESS=control)
    system.start_agent(METRICS_ADDRESS=agent)
    system.wait_ready()
    yield system, control, agent
    system.kill("control")  # the next test gets one that serves nothing
    system.stop(POD)


def ask(endpoint: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{endpoint}{path}", timeout=300) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def scrape(endpoint: str) -> Samples:
    status, text = ask(endpoint, "/metrics")
    assert status == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(value for (found, given), value in samples.items() if found == name and wanted <= set(given))


def test_processes_serve_metrics_and_health(served: tuple[System, str, str], tmp_path: Path) -> None:
    system, control, agent = served
    tallying.tally(system.client._core)  # else what an earlier test did may be counted meanwhile
    before = scrape(control)
    system.workspace("net", write(tmp_path / "net", COUNTED))
    system.apply("net")
    system.plan("net", "plan_and_apply", variables={"size": 2})
    system.ring(TALLY)
    applied = total(before, "iacq_runs_ended_total", status="applied") + 1
    wait_until(
        lambda: total(scrape(control), "iacq_runs_ended_total", status="applied") == applied, 20, "it is counted"
    )
    after = scrape(control)
    assert (
        total(after, "iacq_apply_starts_total", tier="hot") == total(before, "iacq_apply_starts_total", tier="hot") + 1
    )
    count = "iacq_step_seconds_count"
    for phase, step in (("plan", "queue_wait"), ("plan", "init"), ("plan", "terraform"), ("apply", "terraform")):
        assert total(after, count, phase=phase, step=step) > total(before, count, phase=phase, step=step), (phase, step)
    assert total(after, "iacq_runs", status="apply_pending") == 1
    assert total(after, "iacq_slots", status="reserved") == 1
    assert total(after, "iacq_pods", status="online") == 1
    assert ask(control, "/healthz") == (200, "ok\n")

    pod = scrape(agent)
    assert total(pod, "iacq_work_free_bytes") > 0
    assert total(pod, "iacq_agent_silent_seconds") < 4
    assert ask(agent, "/healthz") == (200, "ok\n")
    assert ask(agent, "/") == (404, "there is /metrics and /healthz\n")

    with contextlib.closing(redis.Redis(unix_socket_path=str(system.broker.socket))) as broker:
        for queue in (CONTROL_QUEUE, agent_queue(POD)):
            broker.lpush(queue, "{}", "no message")
    for endpoint in (control, agent):
        wait_until(lambda at=endpoint: _refused(at) == {"not_json": 1, "envelope": 1}, 20, "refusals are counted")

    # Another control worker tells the same, and no counter begins anew.
    again = free_address()
    system.kill("control")
    system.start("control", "-m", "workers.control", METRICS_ADDRESS=again)
    wait_until(lambda: _answers(again), 20, "the new control worker answers")
    assert total(scrape(again), "iacq_runs_ended_total") >= total(after, "iacq_runs_ended_total")


def _refused(endpoint: str) -> dict[str, float]:
    found = scrape(endpoint).items()
    return {dict(labels)["reason"]: value for (name, labels), value in found if name == "iacq_messages_refused_total"}


def _answers(endpoint: str) -> bool:
    try:
        return ask(endpoint, "/healthz")[0] in (200, 503)
    except OSError:
        return False
