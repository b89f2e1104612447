import dataclasses

import pytest

from iacq.domain.freeze import deciding, wording
from iacq.domain.freeze.windows import Bypass, Freezes, Manual, Unreadable
from tests.unit.freezes import at, once, pool, weekly

NIGHTS = weekly("daily 22:00-06:00", "Europe/Berlin", "nights")
WEEKEND = weekly("sat,sun 00:00-24:00", "Europe/Berlin", "weekend")
FOREVER = Manual(since=at("11-18 10:00"), until=None, reason="incident 42", by="alice")
AN_HOUR = Manual(since=at("11-18 10:00"), until=at("11-18 11:00:00.001"), reason="incident 42", by="alice")
BYPASS = Bypass(since=at("11-20 23:00"), until=at("11-21 00:00"), reason="hotfix", by="bob")
BYPASS_OF_A_NIGHT = dataclasses.replace(BYPASS, until=at("11-21 08:00"))
BROKEN = Unreadable(name="old", why="'Mars/Base' is not a time zone")


@pytest.mark.parametrize(
    ("freezes", "asked", "sentence"),
    [
        (pool(NIGHTS, WEEKEND), "11-20 23:00",
         "frozen until Mon 2026-11-23 06:00 Europe/Berlin (window nights, window weekend)"),
        (pool(NIGHTS), "11-18 12:00", "not frozen; frozen from Wed 2026-11-18 22:00 Europe/Berlin (window nights)"),
        (pool(), "11-18 12:00", "not frozen"),
        (pool(once("11-18 10:00", "11-18 20:00:30")), "11-18 12:00",
         "frozen until Wed 2026-11-18 20:00:30 UTC (window once)"),
        (pool(manual=FOREVER), "11-18 12:00", "frozen, and no end can be seen (by alice: incident 42)"),
        (pool(manual=AN_HOUR), "11-18 10:00", "frozen until Wed 2026-11-18 11:00:01 UTC (by alice: incident 42)"),
        (pool(BROKEN), "11-18 12:00",
         "frozen, and no end can be seen (window old cannot be read, write it anew: 'Mars/Base' is not a time zone)"),
        (pool(NIGHTS, bypass=BYPASS), "11-20 23:30",
         "not frozen: bypassed by bob until Sat 2026-11-21 01:00 Europe/Berlin (hotfix), then frozen (window nights)"),
        (pool(NIGHTS, bypass=BYPASS_OF_A_NIGHT), "11-20 23:30",
         ("not frozen: bypassed by bob until Sat 2026-11-21 09:00 Europe/Berlin (hotfix), "
          "then frozen from Sat 2026-11-21 22:00 Europe/Berlin (window nights)")),
        (pool(bypass=BYPASS), "11-20 23:30", "not frozen: bypassed by bob until Sat 2026-11-21 00:00 UTC (hotfix)"),
        # Twice in that night a clock in Berlin shows 02:30: the offset says which is meant.
        (pool(weekly("sun 00:00-02:30", "Europe/Berlin")), "10-25 00:00",
         "frozen until Sun 2026-10-25 02:30 Europe/Berlin (UTC+01:00) (window w)"),
        (pool(weekly("sun 02:30-04:00", "Europe/Berlin")), "10-25 00:00",
         "not frozen; frozen from Sun 2026-10-25 02:30 Europe/Berlin (UTC+02:00) (window w)"),
    ],
)  # fmt: skip
def test_a_decision_in_words(freezes: Freezes, asked: str, sentence: str) -> None:
    assert wording.describe(deciding.decide(freezes, at(asked))) == sentence
