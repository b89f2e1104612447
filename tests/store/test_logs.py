import itertools

import pytest

from iacq.domain.run import Phase, Run, Status
from iacq.store import logs
from iacq.store.session import Raced
from tests.store.world import World

PLAN, APPLY = Phase.PLAN, Phase.APPLY


def write(world: World, run: Run, text: str, *, phase: Phase = PLAN, fence: int | None = None) -> None:
    start = world.database.read(logs.size, run.id, phase)
    world.do(
        logs.append,
        run.id,
        phase,
        start=start,
        text=text,
        fence=run.fence if fence is None else fence,
        effects=run.effects_fence,
    )


def read(world: World, run: Run, **where: object) -> str:
    return "".join(chunk.text for chunk in world.database.read(logs.read, run.id, **where))


def test_chunks_follow_each_other(world: World) -> None:
    world.pod()
    run = world.at(Status.PLANNING)
    for text in ("one\n", "zwei: ä€😀\n", "three\n"):
        write(world, run, text)
    chunks = world.database.read(logs.read, run.id, phase=PLAN)
    assert [chunk.text for chunk in chunks] == ["one\n", "zwei: ä€😀\n", "three\n"]
    assert all(before.end == after.start for before, after in itertools.pairwise(chunks))
    assert world.database.read(logs.size, run.id, PLAN) == chunks[-1].end
    assert world.database.read(logs.size, run.id, APPLY) == 0


def test_a_reader_resumes_at_any_byte(world: World) -> None:
    world.pod()
    run = world.at(Status.PLANNING)
    whole = "a€\n" + "ä😀b\n" + "ü\n"
    for text in ("a€\n", "ä😀b\n", "ü\n"):
        write(world, run, text)
    data = whole.encode()
    for offset in range(len(data) + 1):
        chunks = world.database.read(logs.read, run.id, phase=PLAN, offset=offset)
        text = "".join(chunk.text for chunk in chunks)
        assert text == data[offset:].decode(errors="ignore"), offset
        if chunks:
            assert chunks[-1].end == len(data), "where it says that it ended is where the next one begins"
            assert chunks[0].end - chunks[0].start == len(chunks[0].text.encode())


def test_following_with_small_pages_gives_everything_once(world: World) -> None:
    world.pod()
    run = world.at(Status.PLANNING)
    for number in range(7):
        write(world, run, f"line {number} ä\n")
    offset, found = 0, ""
    while chunks := world.database.read(logs.read, run.id, phase=PLAN, offset=offset, limit=2):
        found += "".join(chunk.text for chunk in chunks)
        offset = chunks[-1].end
    assert found == "".join(f"line {number} ä\n" for number in range(7))


def test_both_phases_plan_first(world: World) -> None:
    world.pod()
    run = world.at(Status.PLANNING)
    write(world, run, "plan\n")
    applying = world.claimed(world.do(_confirm, world.planned(run))[0])
    write(world, applying, "apply\n", phase=APPLY)
    assert read(world, run) == "plan\napply\n"
    assert read(world, run, phase=APPLY) == "apply\n"


def _confirm(tx: object, run: Run) -> object:
    from iacq.store.protocol import waiting

    return waiting.confirm(tx, run, by="bob", comment=None)  # type: ignore[arg-type]


def test_only_the_present_claim_writes(world: World) -> None:
    world.pod()
    run = world.at(Status.PLANNING)
    for fence in (run.fence - 1, run.fence + 1):
        with pytest.raises(Raced):
            write(world, run, "x", fence=fence)
    assert world.database.read(logs.size, run.id, PLAN) == 0


def test_the_process_of_an_interrupted_apply_goes_on_writing(world: World) -> None:
    world.pod()
    run = world.with_effects()
    lost = world.interrupted(run)
    assert lost.fence != run.fence
    write(world, run, "still there\n", phase=APPLY)
    with pytest.raises(Raced):
        world.do(logs.append, run.id, APPLY, start=0, text="x", fence=run.fence, effects=None)
    with pytest.raises(Raced):
        world.do(logs.append, run.id, APPLY, start=0, text="x", fence=run.fence, effects=run.fence + 9)
    assert read(world, run, phase=APPLY) == "still there\n"
