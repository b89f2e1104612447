"""What wakes a thread that waits for its children."""

import math
import os
import threading
from collections.abc import Iterator

import pytest

from iacq.adapters.programs.bell import Bell


@pytest.fixture
def bell() -> Iterator[Bell]:
    made = Bell()
    made.hang()
    yield made
    if made.hangs:
        made.take_down()


def test_a_ring_before_the_sleep_ends_it(bell: Bell) -> None:
    bell.ring()
    bell.ring()
    bell.sleep([None], math.inf)


def test_a_ring_wakes_one_sleep(bell: Bell) -> None:
    sleeper = threading.Thread(target=bell.sleep, args=([], math.inf), daemon=True)
    sleeper.start()
    sleeper.join(0.05)
    assert sleeper.is_alive()
    bell.ring()
    sleeper.join(30)
    assert not sleeper.is_alive()


def test_another_descriptor_ends_the_sleep(bell: Bell) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    bell.sleep([None, reading], math.inf)
    os.close(reading)


def test_it_sleeps_no_longer_than_told(bell: Bell) -> None:
    for seconds in (0.01, 0.0, -1.0):
        bell.sleep([], seconds)


def test_a_late_ring_is_lost(bell: Bell) -> None:
    bell.take_down()
    assert not bell.hangs
    bell.ring()
