"""What a plan notes of the machine and the request, so that its apply can tell whether something changed."""

from pathlib import Path
from typing import Any

from iacq.client import Client
from iacq.domain.run import Phase
from iacq.services import dispatching
from iacq.services.core import Core
from tests.store.one_slot import OneSlot
from tests.store.world import World


def test_other_inputs_are_other_options(world: World, core: Core, tmp_path: Path) -> None:
    slot = OneSlot(world, core, tmp_path)
    slot.apply()

    def options(**asked: Any) -> str:
        run = Client(slot.core).enqueue("network", "plan_and_apply", **asked)
        dispatching.dispatch(slot.core)
        slot.ring(run.id, Phase.PLAN)
        planned = world.run(run.id)
        assert planned.fingerprint
        Client(slot.core).discard(run.id)
        return planned.fingerprint["options"]

    assert slot.run.fingerprint
    plain = slot.run.fingerprint["options"]
    assert options() == plain
    others = [options(targets=["a.b"]), options(refresh=False), options(variables={"x": 1})]
    assert len({plain, *others}) == 4
