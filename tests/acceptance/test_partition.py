"""A pod whose way to the database is lost, while all others go on. Its processes live, and so does its terraform."""

from collections.abc import Callable, Iterator

import pytest

from iacq.domain.run import Status
from tests.acceptance import configurations
from tests.acceptance.system import POD, System
from tests.proxy import Proxy
from tests.waiting import wait_until

OTHER = "other-1"


@pytest.fixture
def system(make_system: Callable[..., System]) -> System:
    return make_system("postgresql", slots=1, DATABASE_TIMEOUT="1s")


@pytest.fixture
def way(system: System) -> Iterator[Proxy]:
    """Let the pod reach the database by a way that can be cut."""
    with Proxy(system.settings.database_url or "") as proxy:
        system.stop(POD)
        system.start_agent(DATABASE_URL=proxy.url)
        system.wait_ready()
        yield proxy


def test_its_apply_is_interrupted_for_others_and_applied_when_it_is_back(system: System, way, tmp_path, gate) -> None:
    """docs/failures.md 26: nobody applies what it may be applying; what came of it is believed when it arrives."""
    system.workspace("applies", configurations.write(tmp_path / "applies", gate.configuration()))
    run = system.plan("applies")
    system.confirm(run)
    gate.reached()
    launch = system.fleet().launch(run.id)
    way.cut()
    interrupted = system.wait(run, Status.APPLY_INTERRUPTED)
    assert not system.client.evidence(interrupted.id).end_proven
    next_one = system.client.enqueue("applies", "plan_and_apply")
    system.start_agent(OTHER)
    wait_until(lambda: any(slot.usable for slot in system.client.slots()), 30, "another pod is there")
    gate.open()
    wait_until(lambda: not launch.running, 30, "its terraform ends")
    assert system.client.get(next_one.id).status is Status.PENDING
    assert str(run.id) in system.client.waiting(next_one).text
    way.heal()
    applied = system.wait(run, Status.APPLIED)
    assert "late_report" in system.history(applied)
    assert system.wait(next_one).status is Status.PLANNED_AND_FINISHED  # the state has all of it
    assert len(system.spy.calls("apply", run=run.id)) == gate.visits() == 1


def test_its_plan_is_made_again_elsewhere_and_its_own_one_is_forgotten(system: System, way, tmp_path) -> None:
    """docs/failures.md 10: the fence has passed; what it still says changes nothing."""
    held = tmp_path / "held"
    system.spy.hook(
        f"if [ \"$1\" = plan ] && mkdir '{held}' 2>/dev/null; then\n"
        f"  while [ ! -e '{held}/go' ]; do sleep 0.05; done\nfi"
    )
    system.workspace("plans", configurations.write(tmp_path / "plans", configurations.COUNTED))
    run = system.client.enqueue("plans", "plan_and_apply")
    wait_until(held.exists, 30, "it plans")
    way.cut()
    system.start_agent(OTHER)
    planned = system.wait(run, Status.APPLY_PENDING)
    assert planned.pod_name == OTHER
    mark = system.mark()
    (held / "go").touch()
    way.heal()
    wait_until(lambda: all(slot.closed is None for slot in system.client.slots()), 30, "it is back")
    assert system.client.get(run.id) == planned
    system.confirm(planned)
    applied = system.wait(run)
    assert (applied.status, applied.pod_name) == (Status.APPLIED, OTHER)
    assert not system.said("Traceback", mark)
