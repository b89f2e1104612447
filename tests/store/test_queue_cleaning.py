from iacq import messages
from iacq.domain.run import Status
from iacq.services import queue_cleaning
from iacq.services.core import Core
from iacq.store import pods
from tests.store.world import POD, World


def test_only_queues_of_pods_that_nobody_knows_are_removed(world: World, core: Core) -> None:
    world.pod()
    world.pod("other")
    for pod in (POD, "other", "gone"):
        core.dispatcher.ring_agent(pod, messages.REMOVE_WORK_DIRS)
    core.dispatcher.ring_control(messages.DISPATCH)
    assert queue_cleaning.remove_queues(core) == 1
    assert core.dispatcher.pods_with_queues() == {POD, "other"}
    assert world.do(pods.forget, "other", "other-boot1")
    assert queue_cleaning.remove_queues(core) == 1
    assert core.dispatcher.pods_with_queues() == {POD}
    assert queue_cleaning.remove_queues(core) == 0


def test_a_queue_that_a_run_names_stays(world: World, core: Core) -> None:
    world.pod()
    run = world.at(Status.PLANNING)
    world.set_run(run.id, queue="lost.1")
    core.dispatcher.ring_agent("lost", messages.REMOVE_WORK_DIRS)
    assert queue_cleaning.remove_queues(core) == 0
