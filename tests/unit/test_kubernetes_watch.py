"""How often a server that is away is asked."""

import itertools

from iacq.adapters.kubernetes.watch import next_pause


def test_a_server_that_says_nothing_is_asked_less_and_less_often() -> None:
    pauses = list(itertools.accumulate(range(8), lambda last, _: next_pause(last, heard=False), initial=0.2))
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0, 5.0]
    assert next_pause(5.0, heard=True) == 0.2, "it is back"
