"""The faults. Each is a generator: it begins what it does, yields, and ends it when the fault is over."""

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager

import redis

from iacq.domain.workspace import DEFAULT_POOL
from iacq.errors import IacqError
from tests import processes
from tests.acceptance import fleet
from tests.acceptance.fleet import name_of
from tests.chaos.pod import Pod
from tests.chaos.scene import Scene, Skipped
from tests.chaos.schedule import Fault, Kind
from tests.waiting import wait_until

LEFT = 2**20
"""Bytes that are free on a disk that is full."""

Act = Generator[None, None, None]
FAILURES = (Skipped, IacqError, redis.RedisError, OSError, AssertionError)


@contextlib.contextmanager
def act(scene: Scene, fault: Fault) -> Iterator[None]:
    """Do one fault. Raises one of FAILURES if it cannot be done."""
    with contextlib.contextmanager(ACTS[fault.kind])(scene, fault):
        yield


def _kill_one(prefix: str) -> Callable[[Scene, Fault], Act]:
    def kill(scene: Scene, fault: Fault) -> Act:
        pod = scene.pod(fault.pick)
        pid = _process(scene, pod, prefix, fault.pick)
        target, slot = f"{name_of(pid)} of {pod.name} ({pid})", _slot_of(pid)
        with _journalled(scene, fault, target, pod, slot):
            fleet.kill(pid)
        yield

    return kill


def _pause_one(prefix: str) -> Callable[[Scene, Fault], Act]:
    def pause(scene: Scene, fault: Fault) -> Act:
        pod = scene.pod(fault.pick)
        pid = _process(scene, pod, prefix, fault.pick)
        target, slot = f"{name_of(pid)} of {pod.name} ({pid})", _slot_of(pid)
        with scene.alone(pod.name), _journalled(scene, fault, target, pod, slot), scene.paused(pid):
            yield

    return pause


def _kill_agent(scene: Scene, fault: Fault) -> Act:
    pod = scene.pod(fault.pick)
    with _journalled(scene, fault, f"agent of {pod.name} ({pod.agent})", pod):
        fleet.kill(pod.agent)
    yield


def _pause_agent(scene: Scene, fault: Fault) -> Act:
    pod = scene.pod(fault.pick)
    target = f"agent of {pod.name} ({pod.agent})"
    with scene.alone(pod.name), _journalled(scene, fault, target, pod), scene.paused(pod.agent):
        yield


def _kill_pod(scene: Scene, fault: Fault) -> Act:
    pod = scene.pod(fault.pick)
    with _journalled(scene, fault, pod.name, pod):
        fleet.send(signal.SIGSTOP, first := pod.family())  # else one of them would act on the death of another
        fleet.kill(*first, *pod.family())
    yield


def _pause_pod(scene: Scene, fault: Fault) -> Act:
    pod = scene.pod(fault.pick)
    with scene.alone(pod.name), _journalled(scene, fault, pod.name, pod), scene.paused(*pod.family()):
        yield


def _delete_pod(scene: Scene, fault: Fault) -> Act:
    scene.require_database()
    pod = scene.pod(fault.pick)
    with _journalled(scene, fault, pod.name, pod):
        scene.plant.client.delete_pod(pod.name, force=True)
    yield


def _kill_program(kind: str) -> Callable[[Scene, Fault], Act]:
    def kill(scene: Scene, fault: Fault) -> Act:
        name = scene.program(kind, fault.pick)
        met = {run for pod in scene.plant.pods() for run in scene.met(pod)} if kind == "host" else set()
        with scene.alone(name), _entry(scene, fault, name, met):
            scene.plant.kill(name)
            try:
                yield
            finally:
                scene.plant.launch(name)

    return kill


def _pause_program(kind: str) -> Callable[[Scene, Fault], Act]:
    def pause(scene: Scene, fault: Fault) -> Act:
        name = scene.program(kind, fault.pick)
        with scene.alone(name), _entry(scene, fault, name), scene.paused(scene.plant.programs[name].pid):
            yield

    return pause


def _kill_broker(scene: Scene, fault: Fault) -> Act:
    with scene.alone("broker"), _entry(scene, fault, "broker"):
        broker = scene.plant.broker
        fleet.kill(broker.pid or 0)
        try:
            yield
        finally:
            broker.stop()
            broker.start()


def _pause_broker(scene: Scene, fault: Fault) -> Act:
    with scene.alone("broker"), _entry(scene, fault, "broker"):
        pid = scene.plant.broker.pid or 0
        fleet.send(signal.SIGSTOP, [pid])
        try:
            yield
        finally:
            fleet.send(signal.SIGCONT, [pid])


def _database(how: Callable[[Scene], Callable[[], AbstractContextManager[None]]]) -> Callable[[Scene, Fault], Act]:
    def away(scene: Scene, fault: Fault) -> Act:
        living = {run for pod in scene.plant.pods() for run in pod.running()}
        note = f"terraform of {len(living)} runs lives"
        with scene.alone("database"), _entry(scene, fault, "database", note=note), how(scene)():
            yield

    return away


def _outage(scene: Scene, fault: Fault) -> Act:
    with contextlib.suppress(AssertionError):
        wait_until(lambda: any(pod.applying() for pod in scene.plant.pods()), 20)
    yield from _database(lambda scene: scene.victim.stopped)(scene, fault)


def _flush(scene: Scene, fault: Fault) -> Act:
    with _entry(scene, fault, "broker"), contextlib.closing(scene.broker()) as client:
        client.flushall()
    yield


def _resend(scene: Scene, fault: Fault) -> Act:
    sent = scene.resender.resend(fault.pick)
    scene.journal.end(scene.journal.begin(fault.kind, f"{sent} messages"))
    yield


def _fill(scene: Scene, fault: Fault) -> Act:
    root, ballast = scene.plant.settings.work_root, scene.ballast
    if not scene.plant.has_disk:
        raise Skipped("there is no disk to fill: this user may not mount one")
    with scene.alone("disk"), _entry(scene, fault, str(root)):
        try:
            with open(ballast, "wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(root).free - LEFT))
            yield
        finally:
            os.unlink(ballast)


def _freeze(scene: Scene, fault: Fault) -> Act:
    scene.require_database()
    pool = (DEFAULT_POOL, "other")[fault.pick % 2]
    with scene.alone(f"pool {pool}"), _entry(scene, fault, pool):
        try:
            scene.plant.client.freeze(pool, reason="chaos")
            yield
        finally:
            scene.lift(pool)


ACTS: dict[Kind, Callable[[Scene, Fault], Act]] = {
    Kind.KILL_SLOT: _kill_one("iacq-slot-"),
    Kind.KILL_KEEPER: _kill_one("iacq-keeper"),
    Kind.KILL_HOUSEKEEPING: _kill_one("iacq-housekeepi"),
    Kind.KILL_AGENT: _kill_agent,
    Kind.KILL_POD: _kill_pod,
    Kind.KILL_HOST: _kill_program("host"),
    Kind.KILL_CONTROL: _kill_program("control"),
    Kind.KILL_BEAT: _kill_program("beat"),
    Kind.KILL_BROKER: _kill_broker,
    Kind.KILL_DATABASE: _database(lambda scene: scene.victim.killed),
    Kind.PAUSE_SLOT: _pause_one("iacq-slot-"),
    Kind.PAUSE_KEEPER: _pause_one("iacq-keeper"),
    Kind.PAUSE_AGENT: _pause_agent,
    Kind.PAUSE_POD: _pause_pod,
    Kind.PAUSE_CONTROL: _pause_program("control"),
    Kind.PAUSE_BEAT: _pause_program("beat"),
    Kind.PAUSE_BROKER: _pause_broker,
    Kind.PAUSE_DATABASE: _database(lambda scene: scene.victim.stopped),
    Kind.OUTAGE: _outage,
    Kind.FLUSH: _flush,
    Kind.RESEND: _resend,
    Kind.FILL: _fill,
    Kind.FREEZE: _freeze,
    Kind.DELETE_POD: _delete_pod,
}


@contextlib.contextmanager
def _entry(scene: Scene, fault: Fault, target: str, runs: set[int] = frozenset(), note: str = "") -> Iterator[None]:
    entry = scene.journal.begin(fault.kind, target, runs, note)
    try:
        yield
    finally:
        scene.journal.end(entry)


@contextlib.contextmanager
def _journalled(scene: Scene, fault: Fault, target: str, pod: Pod, slot: int | None = None) -> Iterator[None]:
    """Write who was in the pod or slot when it began, and when it is over: one may have come meanwhile."""
    entry = scene.journal.begin(fault.kind, target, scene.met(pod, slot))
    try:
        yield
    finally:
        scene.journal.end(entry, scene.met(pod, slot))


def _process(scene: Scene, pod: Pod, prefix: str, pick: int) -> int:
    """Choose a process of a pod: a slot in which terraform applies, if there is one."""
    named = pod.named(prefix)
    applying = pod.applying()
    return scene.choose(prefix, [pid for pid in named if _slot_of(pid) in applying] or named, pick)


def _slot_of(pid: int) -> int | None:
    """Tell which slot a process is, by its name; None: it does not say."""
    found = processes.look(pid)
    number = name_of(pid).removeprefix("iacq-slot-") if found else ""
    return int(number) if number.isdecimal() else None
