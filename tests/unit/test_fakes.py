"""What fakes promise beyond the contracts that they share with the real ones."""

import dataclasses

import pytest

from iacq.adapters.clock import SystemClock
from iacq.adapters.sealer import AesGcmSealer
from iacq.domain.source import SourceKind, SourceLocation
from iacq.errors import InvalidInput, PhaseFailed
from iacq.ports import Clock, Sealer
from iacq.testing.clock import START_MS, FakeClock
from iacq.testing.source import FakeSource, without_backend
from iacq.testing.storage import PlainSealer

AT = SourceLocation(kind=SourceKind.PATH, at="/x")


@pytest.mark.parametrize("clock", [SystemClock(), FakeClock()], ids=["system", "fake"])
def test_clocks_go_forward_while_one_sleeps(clock: Clock) -> None:
    before = (clock.now_ms(), clock.monotonic(), clock.boottime())
    clock.sleep(0.02)
    after = (clock.now_ms(), clock.monotonic(), clock.boottime())
    assert after[0] - before[0] >= 19
    assert after[1] - before[1] == pytest.approx(0.02, abs=1)
    assert after[2] - before[2] >= 0.0199


def test_a_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock()
    assert clock.now_ms() == START_MS
    clock.advance(1.5)
    assert (clock.now_ms() - START_MS, clock.monotonic(), clock.boottime()) == (1500, 1.5, 1.5)


@pytest.mark.parametrize("sealer", [AesGcmSealer([b"k" * 32]), PlainSealer()], ids=["aes", "plain"])
def test_sealers_open_only_what_was_sealed_for_it(sealer: Sealer) -> None:
    sealed = sealer.seal(b"state", bound_to="a")
    assert sealer.open(sealed, bound_to="a") == b"state"
    for broken, bound_to in ((sealed, "b"), (sealed[:-1], "a"), (sealed + b"x", "a"), (b"", "a")):
        with pytest.raises(PhaseFailed) as caught:
            sealer.open(broken, bound_to=bound_to)
        assert caught.value.code == "unreadable"


def test_a_fake_source_has_a_limit() -> None:
    source = FakeSource(without_backend(), packed=b"12345")
    assert source.pack(AT, limit=5).data == b"12345"
    with pytest.raises(InvalidInput):
        source.pack(AT, limit=4)
    with pytest.raises(InvalidInput):
        source.look(dataclasses.replace(AT, at=""))
