"""A pod's agent for tests: `agent_program ROOT SLOTS GRACE BEHAVIOUR [HOUSEKEEPING]`, functions below.

Children say what they do in files of ROOT: `<name>/<boot>` with their pid.
"""

import errno
import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from iacq.adapters.keeper_client import KeeperClient
from iacq.keeper.agent import ProcessTree
from iacq.keeper.child import INTERRUPT, ChildContext
from iacq.ports import Ended, EndUnknown
from tests.keeper import jobs

ROOT = Path(sys.argv[1])
REQUESTS = (signal.SIGTERM, INTERRUPT)


def say_hello(context: ChildContext) -> None:
    """Tell who lives, under a name that is complete when it is there."""
    directory = ROOT / context.name
    directory.mkdir(exist_ok=True)
    aside = ROOT / f".{context.boot}"
    descriptors = sorted(int(name) for name in os.listdir("/proc/self/fd"))
    said = {"pid": os.getpid(), "at": time.monotonic(), "descriptors": descriptors, "stop_at": context.stop_at}
    aside.write_text(json.dumps(said))
    aside.rename(directory / context.boot)


def idle(context: ChildContext) -> None:
    """Live until a signal comes."""
    say_hello(context)
    while True:
        signal.pause()


def crash(context: ChildContext) -> None:
    """Die at once."""
    say_hello(context)
    sys.exit(1)


def stubborn(context: ChildContext) -> None:
    """Ignore the requests to end."""
    for number in REQUESTS:
        signal.signal(number, signal.SIG_IGN)
    idle(context)


def hurried(context: ChildContext) -> None:
    """Write down each request; obey once both were heard. While ROOT/deaf exists nothing is heard."""
    heard: list[str] = []

    def note(number: int, _frame: FrameType | None) -> None:
        heard.append(signal.Signals(number).name)
        (ROOT / f"{context.name}.heard").write_text(" ".join(heard))

    signal.pthread_sigmask(signal.SIG_BLOCK, REQUESTS)
    for number in REQUESTS:
        signal.signal(number, note)
    say_hello(context)
    while len(heard) < 2:
        if not (ROOT / "deaf").exists():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, REQUESTS)
        time.sleep(0.02)


def work(context: ChildContext) -> None:
    """Run ROOT/<slot>.order or go on with it, and write ROOT/<slot>.ended. SIGTERM: end after it."""
    leaving = context.stop_at is not None

    def leave(_number: int, _frame: FrameType | None) -> None:
        nonlocal leaving
        leaving = True

    signal.signal(signal.SIGTERM, leave)
    assert context.keeper_socket is not None
    assert context.slot_id is not None
    client = KeeperClient(context.keeper_socket, unknown_after=0.5)
    say_hello(context)
    order, report = ROOT / f"{context.slot_id}.order", ROOT / f"{context.slot_id}.ended"
    while not order.exists():
        if leaving or client.gone:
            return
        time.sleep(0.02)
    job = jobs.from_json(order.read_text())
    if not job.directory.exists():
        client.start(job)
    ended: Ended | None = None
    while ended is None:
        try:
            ended = client.wait(job.directory, 0.2)
        except EndUnknown:
            report.write_text("unknown")
            break
    else:
        report.write_text(json.dumps([context.boot, ended.returncode, list(ended.signals)]))
    while not leaving and not client.gone:
        time.sleep(0.02)


def wait_for_bell(context: ChildContext) -> None:
    """Write down each ring."""
    say_hello(context)
    assert context.bell is not None
    while True:
        select.select([context.bell], [], [])
        rings = len(os.read(context.bell, 100))
        (ROOT / f"{context.name}.rung").write_text(str(rings))


def ring(context: ChildContext) -> None:
    """Ring the slots named by files `ROOT/ring-<slot>`."""
    say_hello(context)
    while True:
        for slot_id, bell in context.bells.items():
            wanted = ROOT / f"ring-{slot_id}"
            if wanted.exists():
                wanted.unlink()
                os.write(bell, b"x")
        time.sleep(0.02)


def last_words(context: ChildContext) -> None:
    """Say at the end which slots still live."""

    def leave(_number: int, _frame: FrameType | None) -> None:
        pids = [json.loads(file.read_text())["pid"] for file in ROOT.glob("slot-*/*") if file.is_file()]
        (ROOT / "alive-at-the-end").write_text(str(sum(os.path.exists(f"/proc/{pid}") for pid in pids)))
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    idle(context)


def fork(really: Callable[[], int] = os.fork) -> int:
    """Fork, but not while ROOT/no-room exists."""
    if (ROOT / "no-room").exists():
        (ROOT / "refused").touch()
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    return really()


def scandir(path: str | Path = ".", really: Callable[..., Any] = os.scandir) -> Any:
    """List a directory, but not that of jobs while ROOT/unreadable exists."""
    if (ROOT / "unreadable").exists() and str(path).endswith("/jobs"):
        (ROOT / "failed").touch()
        raise OSError(errno.EIO, "Input/output error")
    return really(path)


def main() -> int:
    os.fork = fork
    os.scandir = scandir
    slots, grace = int(sys.argv[2]), float(sys.argv[3])
    behaviour = globals()[sys.argv[4]]
    housekeeping = globals()[sys.argv[5]] if len(sys.argv) > 5 else idle
    tree = ProcessTree(ROOT / "work", slots)
    children = {f"slot-{number}": behaviour for number in range(1, slots + 1)}
    return tree.run({"housekeeping": housekeeping, **children}, grace)


if __name__ == "__main__":
    sys.exit(main())
