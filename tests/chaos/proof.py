"""One chaos run: start everything, torment it under load, let it settle, and gather the facts."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from iacq import messages
from iacq.errors import IacqError
from tests.chaos import database, facts, ledger, schedule
from tests.chaos.facts import Facts, Leftovers
from tests.chaos.journal import Journal
from tests.chaos.load import Load
from tests.chaos.plant import Plant
from tests.chaos.resender import Resender
from tests.chaos.scene import Scene
from tests.chaos.torment import Torment
from tests.waiting import wait_until

SETTLING = 150.0
"""Seconds in which everything has to end once the faults are over."""
CLEANING = 45.0
"""Seconds in which nothing may be left then."""
_FOREIGN = ("IACQ_", "CELERY_", "TF_", "PG", "AWS_")


def describe(seed: int, minutes: float) -> Iterator[str]:
    """Tell the faults of a seed."""
    for fault in schedule.make(seed, minutes):
        yield f"{fault.at:7.2f} s  {fault.kind} for {fault.lasts:g} s ({fault.pick})"


def run(directory: Path, *, kind: str, seed: int, minutes: float) -> tuple[Facts, int, list[str]]:
    """Do it all; returns the facts, when it began (ms), and notes for people."""
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        del os.environ[name]
    journal = Journal(directory / "journal")
    with database.make(kind, directory) as victim, Plant(directory / "home", victim.url) as plant:
        load = Load(plant.client, journal, seed)
        with Resender(plant.broker.socket) as resender:
            scene = Scene(plant=plant, victim=victim, journal=journal, resender=resender)
            torment = Torment(scene, schedule.make(seed, minutes))
            journal.start()
            load.start()
            _say("the faults begin")
            torment.run(minutes * 60)
            _say("the faults are over")
            load.stop_enqueuing()
            _settle(scene, load)
        found = _gather(plant, load, journal, minutes)
        notes = [*(f"not done: {text}" for text in torment.skipped), *(f"by itself: {text}" for text in scene.ended)]
        return found, journal.began, notes


def _settle(scene: Scene, load: Load) -> None:
    """Wait until every run has ended and nothing is left of them, as far as it comes to that."""
    plant = scene.plant

    def ended() -> bool:
        scene.tend()
        return load.is_over() and scene.settled

    def clean() -> bool:
        scene.tend()
        with contextlib.suppress(IacqError):
            plant.ring(messages.CLEANUP_WORK_DIRS)
            return not any((*facts.held(plant), *facts.directories(plant), *facts.queues(plant))) and plant.is_whole()
        return False

    for condition, patience in ((ended, SETTLING), (clean, CLEANING)):
        with contextlib.suppress(AssertionError):  # the judge says what is left
            wait_until(condition, patience)


def _gather(plant: Plant, load: Load, journal: Journal, minutes: float) -> Facts:
    load.stop()
    runs = facts.runs(plant, load.asked)
    held = tuple(facts.held(plant))
    rows, queues = tuple(facts.contradictions(plant)), tuple(facts.queues(plant))
    directories = tuple(facts.directories(plant))
    left = tuple(plant.stop_all())
    return Facts(
        minutes=minutes,
        runs=runs,
        ledger=tuple(ledger.read(plant.ledger.read_text().splitlines())),
        starts=facts.starts(plant),
        journal=tuple(journal.entries()),
        asked=load.asked,
        leftovers=Leftovers(slots=held, queues=queues, rows=rows, directories=directories, processes=left),
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
