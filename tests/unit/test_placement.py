import dataclasses

from iacq.domain import placement
from iacq.domain.slot import Closed, SlotStatus
from tests.samples import slot


def test_the_fullest_pod_first_so_that_others_become_empty() -> None:
    slots = [slot("a", 1), slot("a", 2), slot("b", 1, run_id=1), slot("b", 2), slot("c", 1)]
    chosen = placement.choose_slot("default", slots)
    assert chosen is not None
    assert chosen.queue == "b.2"


def test_a_reservation_fills_a_pod_too() -> None:
    reserved = slot("b", 1, run_id=1, status=SlotStatus.RESERVED)
    chosen = placement.choose_slot("default", [slot("a", 1), reserved, slot("b", 2)])
    assert chosen is not None
    assert chosen.pod_name == "b"


def test_equals_by_name_and_number() -> None:
    chosen = placement.choose_slot("default", [slot("b", 1), slot("a", 2), slot("a", 1)])
    assert chosen is not None
    assert chosen.queue == "a.1"


def test_never_a_closed_a_held_or_a_foreign_slot() -> None:
    unusable = [slot("a", number, closed=why) for number, why in enumerate(Closed, 1)]
    unusable += [slot("b", 1, run_id=1), slot("b", 2, run_id=2, status=SlotStatus.RESERVED)]
    unusable += [slot("c", 1, pool="other")]
    assert placement.choose_slot("default", unusable) is None
    assert placement.choose_slot("default", []) is None
    chosen = placement.choose_slot("other", unusable)
    assert chosen is not None
    assert chosen.pod_name == "c"


def test_the_oldest_unconfirmed_reservation_is_given_up() -> None:
    def reserved(number: int, at: int) -> placement.Slot:
        return slot("a", number, run_id=number, status=SlotStatus.RESERVED, updated_at=at)

    confirmed, newer, older = reserved(1, 1), reserved(2, 30), reserved(3, 20)
    closed = dataclasses.replace(reserved(4, 2), closed=Closed.NOT_ANSWERING)
    elsewhere = dataclasses.replace(reserved(5, 3), pool="other")
    running = slot("a", 6, run_id=6)
    slots = [confirmed, newer, older, closed, elsewhere, running]
    assert placement.choose_reservation("default", slots, {2, 3, 4, 5, 6}) == older
    assert placement.choose_reservation("default", slots, {4, 5, 6}) is None
