"""What every runtime of pods promises: the one in memory, real processes on this machine, and those of a cluster."""

import contextlib
import dataclasses
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, Self

import pytest

from iacq.adapters.kubernetes import pods
from iacq.adapters.kubernetes.api import KubernetesApi
from iacq.adapters.kubernetes.pods import KubernetesPodRuntime
from iacq.adapters.local_pods import processes as pod_processes
from iacq.adapters.local_pods.host import PodHost
from iacq.adapters.local_pods.runtime import LocalPodRuntime
from iacq.adapters.programs.supervised_program import Program, Restarts
from iacq.adapters.terraform import workshop
from iacq.errors import Conflict, InvalidInput, Unavailable
from iacq.keeper import files, lock, process
from iacq.ports import PodPhase, PodRuntime, PodSpec, PresentPod
from iacq.settings import Settings
from iacq.testing.pod_runtime import FakePodRuntime
from tests import processes
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.containers import Image
from tests.waiting import wait_until

FAST = Restarts(first=0.05, longest=0.1, attempts=3, settled=60)
WORKS = "exec sleep 600"
BREAKS = "echo there is no database; exit 3"


def spec(name: str = "pod-a", **changes: object) -> PodSpec:
    made = PodSpec(name=name, pool="default", slots=2, generation=1, template=None)
    return dataclasses.replace(made, **changes)


class Harness(Protocol):
    """A runtime, and the world around it that makes pods run, fail and go."""

    runtime: PodRuntime

    def runs(self, name: str) -> None: ...
    def fails(self, name: str) -> None: ...
    def ends(self, name: str) -> None: ...
    def away(self) -> None: ...


class InMemory:
    def __init__(self) -> None:
        self.fake = FakePodRuntime()
        self.runtime: PodRuntime = self.fake

    def runs(self, name: str) -> None:
        self.fake.change(name, phase=PodPhase.RUNNING, started_at=1)

    def fails(self, name: str) -> None:
        self.fake.change(name, phase=PodPhase.FAILED, reason="there is no database")

    def ends(self, name: str) -> None:
        self.fake.vanish(name)

    def away(self) -> None:
        self.fake.away = True


class OnThisMachine:
    """Agents are shell scripts."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home)
        self.runtime = LocalPodRuntime(self.settings)
        self.said: list[str] = []
        self.script = WORKS
        self.host = self.start()

    def start(self) -> PodHost:
        self.host = PodHost(self.settings, make_program=self._program, say=self.said.append, restarts=FAST)
        return self.host.__enter__()

    def _program(self, wanted: PodSpec) -> Program:
        return Program(
            name=wanted.name,
            argv=("/bin/sh", "-c", self.script),
            environment={"PATH": os.defpath},
            log=self.settings.home / "log" / f"{wanted.name}.log",
        )

    def runs(self, name: str) -> None:
        """Nothing is to be done: it does."""

    def fails(self, name: str) -> None:
        self.script = BREAKS
        self.runtime.delete(name)
        self.ends(name)
        self.runtime.create(spec(name))

    def ends(self, name: str) -> None:
        wait_until(lambda: find(self.runtime, name) is None, what="it is gone")

    def away(self) -> None:
        self.host.stop()

    def pid(self, name: str = "pod-a") -> int:
        """Return the agent that was started last."""
        begin = f"{name}: started, process "
        started = wait_until(lambda: [text for text in self.said if text.startswith(begin)], what="it is started")
        return int(started[-1].removeprefix(begin))

    @property
    def slot(self) -> Path:
        return workshop.slot_directory(self.settings, "pod-a", 1)


class InCluster:
    """Containers run shell scripts: the program that a manifest names is one of these here."""

    def __init__(self, directory: Path) -> None:
        self._programs = directory / "bin"
        self._programs.mkdir(parents=True)
        self.write(WORKS)
        image = Image(environment={"PATH": f"{self._programs}{os.pathsep}{os.defpath}"})
        self.cluster = Cluster(directory / "node", {"agent": image})
        self.cluster.secrets["iacq"] = dict.fromkeys(pods.SECRETS, "secret")
        kubeconfig = self.cluster.write_kubeconfig(directory / "kubeconfig")
        settings = Settings(home=directory, kubeconfig=kubeconfig, pod_image="agent", stop_grace=1)
        self._kubernetes = KubernetesPodRuntime(settings, KubernetesApi(settings, patience=0.5))
        self.runtime: PodRuntime = self._kubernetes
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.cluster)
        self._stack.callback(self._kubernetes.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def write(self, script: str) -> None:
        program = self._programs / "python"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def runs(self, name: str) -> None:
        """Nothing is to be done: it does."""

    def fails(self, name: str) -> None:
        self.write(BREAKS)
        self.runtime.delete(name)
        self.ends(name)
        self.runtime.create(spec(name))

    def ends(self, name: str) -> None:
        wait_until(lambda: find(self.runtime, name) is None, what="it is gone")

    def away(self) -> None:
        self._stack.enter_context(self.cluster.api.away())


@pytest.fixture
def in_cluster(tmp_path: Path) -> Iterator[InCluster]:
    with InCluster(tmp_path / "cluster") as made:
        yield made


@pytest.fixture
def local(home: Path) -> Iterator[OnThisMachine]:
    made = OnThisMachine(home)
    yield made
    made.host.stop()


@pytest.fixture(params=["memory", "local", "in_cluster"])
def harness(request: pytest.FixtureRequest) -> Harness:
    made: Harness = InMemory() if request.param == "memory" else request.getfixturevalue(request.param)
    return made


def find(runtime: PodRuntime, name: str = "pod-a") -> PresentPod | None:
    return next((pod for pod in runtime.present() if pod.name == name), None)


def until(runtime: PodRuntime, phase: PodPhase, name: str = "pod-a") -> PresentPod:
    def there() -> PresentPod | None:
        found = find(runtime, name)
        return found if found and found.phase is phase else None

    return wait_until(there, what=f"{name} is {phase}")


def test_a_pod_is_made_once(harness: Harness) -> None:
    runtime = harness.runtime
    assert runtime.present() == []
    runtime.create(spec())
    harness.runs("pod-a")
    first = until(runtime, PodPhase.RUNNING)
    assert first.started_at
    runtime.create(spec())
    runtime.create(spec("pod-b"))
    assert [pod.name for pod in runtime.present()] == ["pod-a", "pod-b"]
    assert find(runtime).uid == first.uid
    assert find(runtime, "pod-b").uid != first.uid


def test_a_deleted_pod_is_listed_until_it_is_gone(harness: Harness) -> None:
    runtime = harness.runtime
    runtime.create(spec())
    harness.runs("pod-a")
    uid = until(runtime, PodPhase.RUNNING).uid
    runtime.delete("pod-a", uid="another")
    assert find(runtime).phase is PodPhase.RUNNING
    runtime.delete("pod-a", uid=uid)
    assert find(runtime) is None or find(runtime).phase is PodPhase.STOPPING
    runtime.delete("pod-a")
    harness.ends("pod-a")
    runtime.delete("pod-a")
    assert runtime.present() == []
    runtime.create(spec())
    assert find(runtime).uid != uid


def test_a_pod_that_never_works_fails_and_says_why(harness: Harness) -> None:
    runtime = harness.runtime
    runtime.create(spec())
    harness.fails("pod-a")
    assert "there is no database" in (until(runtime, PodPhase.FAILED).reason or "")
    runtime.delete("pod-a")
    harness.ends("pod-a")


def test_one_that_is_away_says_so(harness: Harness) -> None:
    runtime = harness.runtime
    runtime.create(spec())
    harness.away()
    for call in (runtime.present, lambda: runtime.create(spec("pod-b")), lambda: runtime.delete("pod-a")):
        with pytest.raises(Unavailable):
            call()


def test_a_home_is_a_runtime_of_its_own(tmp_path: Path) -> None:
    first = LocalPodRuntime(Settings(home=tmp_path / "a")).identity
    assert LocalPodRuntime(Settings(home=tmp_path / "a")).identity == first
    assert LocalPodRuntime(Settings(home=tmp_path / "b")).identity != first
    assert len(first) <= 100


def test_a_template_adds_to_the_environment_and_nothing_else(local: OnThisMachine) -> None:
    local.runtime.create(spec(template={"environment": {"A": "1"}}))
    for wrong in ({"image": "x"}, {"environment": {"A": 1}}, {"environment": ["A"]}):
        with pytest.raises(InvalidInput, match="template"):
            local.runtime.create(spec("pod-b", template=wrong))
    assert find(local.runtime, "pod-b") is None


def test_an_agent_that_dies_starts_again_under_its_name(local: OnThisMachine) -> None:
    local.runtime.create(spec())
    first = local.pid()
    os.kill(first, 9)
    wait_until(lambda: local.pid() != first, what="it starts again")
    assert until(local.runtime, PodPhase.RUNNING).name == "pod-a"


def test_stopping_the_host_stops_its_agents_and_the_next_one_starts_them(local: OnThisMachine) -> None:
    local.runtime.create(spec())
    first = local.pid()
    with pytest.raises(Conflict, match=f"process {os.getpid()}"):
        OnThisMachine(local.settings.home)
    asked: list[str] = []

    def ask_for_another() -> None:
        for question in (local.runtime.present, lambda: local.runtime.create(spec("pod-b"))):
            with pytest.raises(Unavailable):
                question()
            asked.append("refused")

    local.host.stop(ask_for_another)
    assert asked == ["refused", "refused"], "the pods that go come back: nobody makes others in their place"
    assert not processes.is_alive(first)
    local.start()
    wait_until(lambda: local.pid() != first, what="it starts again")
    assert until(local.runtime, PodPhase.RUNNING).name == "pod-a"
    assert find(local.runtime, "pod-b") is None


def test_a_second_request_while_the_host_stops_is_handed_on(local: OnThisMachine, tmp_path: Path) -> None:
    """Also if the first one came before anybody was in charge of stopping: nothing may outlive the host."""
    heard, ready = tmp_path / "heard", tmp_path / "ready"
    local.script = (
        f"trap 'echo TERM >> {heard}' TERM; touch {ready}; until [ \"$(wc -l < {heard})\" = 2 ]; do sleep 0.05; done"
    )
    heard.touch()
    local.runtime.create(spec())
    wait_until(ready.exists, what="the agent runs")

    def ask_again() -> None:
        wait_until(heard.read_text, what="it was asked once")
        os.kill(os.getpid(), signal.SIGINT)

    asking = threading.Thread(target=ask_again)
    asking.start()
    local.host.stop()
    asking.join()
    assert heard.read_text().split() == ["TERM", "TERM"]
    assert not processes.is_alive(local.pid())


@contextlib.contextmanager
def living_job(slot: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run what a keeper of this slot would have started, and whose keeper died; a child of it has left its session."""
    directory = files.job_directory(slot / "jobs", run_id=7, fence=1, step="apply")
    files.make_job_directory(directory)
    descriptor = lock.hold(directory)
    program = subprocess.Popen(
        ["/bin/sh", "-c", "setsid sleep 600 & sleep 600"], start_new_session=True, pass_fds=[descriptor]
    )
    os.close(descriptor)
    ours = process.read_present(os.getpid())
    gone = dataclasses.replace(ours, start_time=1)
    files.create_launch(
        directory, program=process.read_present(program.pid), keeper=gone, run_id=7, fence=1, phase="apply"
    )
    try:
        yield program
    finally:
        program.kill()
        program.wait()


def test_with_a_pod_goes_all_that_lives_of_it_and_its_disk(local: OnThisMachine) -> None:
    """docs/failures.md 28: also what was started by a keeper that is dead, and has left the session."""
    local.runtime.create(spec())
    until(local.runtime, PodPhase.RUNNING)
    links = local.settings.work_root / "runs"
    links.mkdir(parents=True)
    with living_job(local.slot) as program:
        (links / "7-1").symlink_to(local.slot / "7-1" / "tree")
        (links / "8-1").symlink_to(local.settings.work_root / "pods" / "pod-b" / "slot-1" / "8-1" / "tree")
        wait_until(lambda: len(lock.holders(local.slot / "jobs" / "7-1-apply")) > 2, what="all of it runs")
        local.runtime.delete("pod-a")
        wait_until(lambda: program.poll() is not None, what="it is killed")
        local.ends("pod-a")
    assert not (local.settings.work_root / "pods" / "pod-a").exists()
    assert [link.name for link in links.iterdir()] == ["8-1"]
    wait_until(lambda: not list((local.settings.home / "pods").iterdir()), what="its files are gone")
    assert not list((local.settings.home / "log").glob("pod-a*"))


def test_what_has_not_begun_in_a_deleted_pod_never_begins(tmp_path: Path) -> None:
    """Its keeper may be about to begin it, and obeys the word."""
    directory = files.job_directory(tmp_path / "slot-1" / "jobs", run_id=7, fence=1, step="apply")
    files.make_job_directory(directory)
    assert pod_processes.end(tmp_path)
    launch = files.read_launch(directory)
    assert launch is not None
    assert launch.never


def test_a_pod_is_not_given_up_while_something_of_it_lives(local: OnThisMachine) -> None:
    """An apply may outlive many agents; the next one adopts it."""
    local.script = BREAKS
    with living_job(local.slot):
        local.runtime.create(spec())
        started = "pod-a: started"
        wait_until(lambda: sum(text.startswith(started) for text in local.said) > FAST.attempts + 2)
        assert find(local.runtime).phase is not PodPhase.FAILED
        local.runtime.delete("pod-a")
        local.ends("pod-a")
