import pytest

from iacq.domain import room
from iacq.domain.room import Spare


@pytest.mark.parametrize(
    ("free", "used", "cap", "lacking"),
    [(10, 0, None, 0), (9, 0, None, 1), (0, 99, None, 10), (99, 6, 5, 1), (8, 9, 5, 4), (99, 5, 5, 0), (99, 1, 0, 1)],
)
def test_what_is_lacking(free: int, used: int, cap: int | None, lacking: int) -> None:
    assert room.lacking(free=free, used=used, floor=10, cap=cap) == lacking


def spare(name: str, *, size: int = 2, reserved: bool = False, since: int = 0) -> Spare:
    return Spare(slot_id=1, name=name, size=size, reserved=reserved, since=since)


def test_what_goes_first() -> None:
    spares = [
        spare("old", reserved=True, since=1),
        spare("new", reserved=True, since=9),
        spare("failed", since=5),
        spare("empty", size=0),
        spare("failed before", since=4),
    ]
    order = ["failed before", "failed", "old", "new"]
    for wanted, number in ((0, 0), (1, 1), (2, 1), (3, 2), (5, 3), (8, 4), (99, 4)):
        assert [chosen.name for chosen in room.choose(spares, wanted)] == order[:number]
