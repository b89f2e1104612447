"""The metrics as Prometheus reads them."""

import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from iacq.adapters import prometheus
from iacq.adapters.messaging.refusals import Refusals
from iacq.bootstrap import measured
from iacq.domain import metrics
from iacq.domain.pool import PoolPolicy
from iacq.domain.queueing import order
from iacq.domain.run import RunType, Status
from iacq.domain.slot import Closed
from iacq.services import measuring, tallying, views
from iacq.services.core import Core
from iacq.settings import Settings
from iacq.store import control, pods, pools, slots, workspaces
from iacq.store.protocol import owning
from iacq.testing.core import make_core
from tests.ports import free_address
from tests.store.world import POD, World
from tests.waiting import wait_until

Samples = dict[tuple[str, ...], float]


def scrape(core: Core) -> dict[str, Samples]:
    """Parse all metrics: name → label values, by the names of the labels → value."""
    found: dict[str, Samples] = {}
    for family in text_string_to_metric_families(prometheus.render(measuring.measure(core))):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(value for _, value in sorted(sample.labels.items()))] = sample.value
    return found


def fill(world: World) -> None:
    """One run in each state, and reasons to wait."""
    world.do(control.beat)
    world.pod(slots_of_pod=6)
    world.at(Status.APPLY_PENDING, workspace="reads")
    world.at(Status.APPLYING, workspace="applies", slot_id=2)
    world.at(Status.APPLY_INTERRUPTED, workspace="interrupted", slot_id=3)
    world.at(Status.PLAN_QUEUED, workspace="queued", slot_id=4)
    for workspace in ("reads", "interrupted", "locked", "free"):
        world.enqueue(workspace)
        world.enqueue(workspace, priority=3)
        world.enqueue(workspace, RunType.DRIFT)
    world.do(workspaces.lock, "locked", by="eve", reason="x")
    world.do(control.beat)


def test_the_present_is_counted(world: World, core: Core) -> None:
    fill(world)
    world.do(slots.close, POD, 6, f"{POD}-boot1", Closed.NOT_ANSWERING)
    world.clock.advance(20)
    found = scrape(core)
    assert found["iacq_runs"] == {
        ("default", "apply_pending"): 1,
        ("default", "applying"): 1,
        ("default", "apply_interrupted"): 1,
        ("default", "plan_queued"): 1,
        ("default", "pending"): 12,
    }
    assert found["iacq_runs_waiting"] == {
        ("default", "confirmation"): 1,
        ("default", "interrupted_run"): 3,
        ("default", "behind_run"): 3,
        ("default", "workspace_locked"): 2,
        ("default", "claim"): 6,
    }
    assert found["iacq_runs_waiting_oldest_seconds"]["default", "workspace_locked"] == 20
    assert found["iacq_slots"] == {("default", "idle"): 2, ("default", "running"): 3, ("default", "reserved"): 1}
    assert found["iacq_slots_closed"] == {("default", "not_answering"): 1}
    assert found["iacq_pods"] == {("default", "online"): 1}
    assert found["iacq_pool_frozen"] == {("default",): 0}
    assert (found["iacq_outbox_bells"], found["iacq_outbox_oldest_seconds"]) == ({(): 1}, {(): 20})
    assert found["iacq_control_silent_seconds"] == {(): 20}
    assert "iacq_beat_silent_seconds" not in found
    assert found["iacq_setbacks_total"]["lease_lost",] == 1
    assert found["iacq_setbacks_total"]["plan_killed",] == 0


def test_one_question_for_all_gives_the_answers_of_one_for_each(world: World, core: Core) -> None:
    fill(world)
    _compare(core, "claim")
    for slot_id in range(1, 7):
        world.do(slots.close, POD, slot_id, f"{POD}-boot1", Closed.NOT_ANSWERING)
    _compare(core, "no_free_slot")
    for slot_id in (5, 6):
        world.do(slots.open_again, world.place(slot_id))
        world.do(slots.close, POD, slot_id, f"{POD}-boot1", Closed.DISK_FULL)
    _compare(core, "disk_full")
    world.do(pods.set_offline, POD, f"{POD}-boot1")
    _compare(core, "no_agent")
    world.clock.advance(40)
    _compare(core, "no_control")


def _compare(core: Core, among: str) -> None:
    explained = views.queue(core)
    assert {"behind_run", "interrupted_run", "workspace_locked", "confirmation", among} <= {
        why.code for _, why in explained if why
    }
    assert [run.id for run, _ in explained] == [run.id for run in sorted((run for run, _ in explained), key=order)]
    for run, why in explained:
        assert why == views.waiting_of(core, run), run


def test_counters_only_grow_and_histograms_add_up(world: World, core: Core) -> None:
    world.pod()
    before: dict[str, Samples] = {}
    for took in (3, 300, 10**8):
        applying = world.with_effects()
        world.do(owning.finish_apply, world.hold(applying), Status.APPLIED, timings={"apply": {"terraform": took}})
        tallying.tally(core)
        found = scrape(core)
        for name, samples in before.items():
            if name.endswith(("_total", "_bucket", "_count", "_sum")):
                assert all(found[name][labels] >= value for labels, value in samples.items()), name
        before = found
    buckets = [
        value for _, value in sorted(found["iacq_step_seconds_bucket"].items(), key=lambda item: float(item[0][0]))
    ]
    assert buckets == sorted(buckets)
    assert (buckets[0], buckets[-1]) == (1, 3)
    assert found["iacq_step_seconds_count"] == {("apply", "default", "terraform"): 3}
    assert found["iacq_step_seconds_sum"]["apply", "default", "terraform"] == pytest.approx(100_000.303)


def test_no_series_names_a_workspace_a_pod_or_a_run(world: World, core: Core) -> None:
    """docs/failures.md 38: series of what comes and goes would never expire."""
    fill(world)
    world.at(Status.PLANNING, workspace="planning-one", slot_id=5)
    tallying.tally(core)
    text = prometheus.render(measuring.measure(core))
    families = {family.name: family for family in text_string_to_metric_families(text)}
    labels = {label for family in families.values() for sample in family.samples for label in sample.labels}
    assert labels <= {"pool", "type", "status", "tier", "phase", "step", "le", "cause", "reason"}
    values = {value for family in families.values() for sample in family.samples for value in sample.labels.values()}
    assert not values & {POD, f"{POD}-boot1", "reads", "applies", "planning-one", "alice"}


def test_every_metric_is_described(world: World, core: Core) -> None:
    fill(world)
    tallying.tally(core)
    for metric in measuring.measure(core):
        what = metrics.CATALOGUE[metric.name]
        assert all(len(sample.labels) == len(what.labels) for sample in metric.samples), metric.name
        assert all(bool(sample.buckets) == (what.kind == metrics.HISTOGRAM) for sample in metric.samples), metric.name


def test_health_is_the_truth(world: World, core: Core) -> None:
    assert measuring.find_faults(core) == ["no control worker has heard beat yet"]
    tallying.tally(core)
    assert measuring.find_faults(core) == []
    world.clock.advance(31)
    assert measuring.find_faults(core) == ["no control worker has heard beat for 31 s"]


def test_a_database_that_is_away_is_said(tmp_path) -> None:
    away = make_core("postgresql+psycopg2://nobody@127.0.0.1:1/none", tmp_path, settings=Settings(home=tmp_path))
    (metric,) = measuring.measure_or_say_down(away)
    assert prometheus.render([metric]).endswith("iacq_database_up 0.0\n")
    (fault,) = measuring.find_faults(away)
    assert "the database does not answer" in fault


def test_how_many_pods_a_pool_should_have(world: World, core: Core) -> None:
    world.do(pools.create, "build", PoolPolicy(min_pods=1, max_pods=2, slots_per_pod=1))
    for number in range(3):
        world.enqueue(f"w{number}", pool="build")
    found = scrape(core)
    assert found["iacq_pods_desired"][("build",)] == 2
    assert found["iacq_pods_needed"][("build",)] == 3


def ask(address: str, page: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{address}{page}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_worker_that_does_nothing_while_others_hear_beat_is_stuck(world: World, tmp_path: Path) -> None:
    address = free_address()
    core = make_core(world.url, tmp_path, settings=Settings(home=tmp_path, metrics_address=address))
    idle = 10_000.0
    measured.serve_control(core, Refusals(), lambda: idle)
    assert ask(address, "/livez") == (200, "ok\n"), "nobody hears beat"
    tallying.tally(core)
    stuck = (503, "others hear beat, and this worker has done nothing for 10000 s\n")
    wait_until(lambda: ask(address, "/livez") == stuck, 5, "it is stuck")
    idle = 0.0
    wait_until(lambda: ask(address, "/livez") == (200, "ok\n"), 5, "it works again")
