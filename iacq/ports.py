"""What iacq needs from the world, as it needs it. `bootstrap` names who provides it; `testing` has fakes."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from iacq.domain.configuration import Configuration
from iacq.domain.source import SourceLocation
from iacq.messages import Doorbell, WarmupBell


class Clock(Protocol):
    """Time of this machine. Leases use the database's clock instead."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, for people."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back, for intervals within one process."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...

    def boottime(self) -> float:
        """CLOCK_BOOTTIME in seconds: the same for all processes of this machine, runs on during suspend."""
        ...


class Dispatcher(Protocol):
    """Rings bells. Every call is bounded to a few seconds and may fail: the outbox rings again.

    Raises Unavailable when the broker does not answer.
    """

    def ring(self, doorbell: Doorbell) -> None:
        """Tell a slot to look at a run."""
        ...

    def ring_warmup(self, bell: WarmupBell) -> None:
        """Tell a slot to prepare a run."""
        ...

    def ring_control(self, task: str) -> None:
        """Tell a control worker to do one of its jobs now."""
        ...

    def ring_agent(self, pod_name: str, task: str, **arguments: int | str) -> None:
        """Tell a pod's housekeeping node."""
        ...

    def ring_slot(self, queue: str, task: str) -> None:
        """Ask a slot to answer."""
        ...

    def pods_with_queues(self) -> set[str]:
        """Return the pods that have queues, dead ones among them."""
        ...

    def forget_pod(self, pod_name: str) -> bool:
        """Remove the queues of a pod with what waits there; False: not now, since something would come back."""
        ...

    def warm(self) -> None:
        """Connect now, so that a later ring costs one round trip."""
        ...

    def close(self) -> None:
        """Close what is open; the next ring connects anew."""
        ...


class ArtifactStore(Protocol):
    """Keeps sealed bytes under a name. What is stored is encrypted already."""

    def put(self, key: str, sealed: bytes) -> None:
        """Store durably (fsync or commit) before returning. Putting the same key again replaces it."""
        ...

    def put_all(self, sealed: Mapping[str, bytes]) -> None:
        """Store several: none counts before all are durable, which costs little more than one of them."""
        ...

    def get(self, key: str) -> bytes:
        """Return what was put. Raises NotFound."""
        ...

    def delete(self, key: str) -> None:
        """Forget it; no error if it is not there."""
        ...

    def keys(self, directory: str) -> list[str]:
        """Return every key that begins with `directory` and a slash, in order."""
        ...


class Sealer(Protocol):
    """Encrypts what is stored at rest; authenticated, and bound to what it belongs to."""

    def seal(self, plain: bytes, *, bound_to: str) -> bytes:
        """Encrypt under the first key."""
        ...

    def open(self, sealed: bytes, *, bound_to: str) -> bytes:
        """Decrypt under whichever key sealed it. Raises PhaseFailed(code=unreadable) if anything differs."""
        ...

    def reseal_needed(self, sealed: bytes) -> bool:
        """Tell whether something else than the first key sealed it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Job:
    """One program that a keeper starts: a terraform command of one claim of a run."""

    directory: Path  # of this job alone: launch.json, result.json, out, err are written here
    run_id: int
    fence: int  # of the claim
    phase: str  # plan or apply
    argv: tuple[str, ...]  # absolute path of the program first
    cwd: Path  # canonical path; also set as PWD
    environment: Mapping[str, str]  # complete: nothing is inherited
    not_after: float  # CLOCK_BOOTTIME in seconds when the lease ends; the keeper refuses to start later


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A job whose program, and all that descended from it, is gone."""

    returncode: int  # negative: killed by that signal
    signals: tuple[str, ...]  # what the keeper sent: SIGINT, SIGKILL
    ended_at: int  # ms since the epoch
    wall_ms: int  # exec to end


KEEPER_GONE = "keeper_gone"
"""Code of the error that means: not started, and never will be, since there is no keeper any more."""


KEEPER_BUSY = "busy"
"""Code of the error that means: not started, since an earlier program of this slot has not ended yet."""


class Keeper(Protocol):
    """Starts programs that outlive the slot's process."""

    @property
    def gone(self) -> bool:
        """Tell whether it died: it starts nothing any more, and the slot's process needs a successor with a new one."""
        ...

    def start(self, job: Job) -> bool:
        """Start it, or return False: not started, and it never will be (its word is on disk).

        Raises Unavailable, with the code KEEPER_GONE if it means the same.
        """
        ...

    def wait(self, directory: Path, timeout: float) -> Ended | None:
        """Wait until the job ended, at most `timeout` seconds.

        Raises EndUnknown if neither a keeper nor a process is left and there is no result.
        """
        ...

    def interrupt(self, directory: Path) -> None:
        """Send SIGINT to the program, at most once in its life."""
        ...

    def kill(self, directory: Path) -> None:
        """SIGKILL the session and all descendants."""
        ...

    def word(self, directory: Path, *, run_id: int, fence: int) -> bool:
        """Give the word that this job was not started and never will be; False if it was (or may have been)."""
        ...


class EndUnknown(Exception):  # noqa: N818 - it says what happened
    """The program is gone with its keeper and left no result."""


@dataclass(frozen=True, kw_only=True)
class SourceFacts:
    """What a source says about its state."""

    configuration: Configuration
    state: bytes | None  # a terraform.tfstate with content beside the configuration, which is never packed


@dataclass(frozen=True, kw_only=True)
class PackedSource:
    """A source as it is kept with a run."""

    data: bytes = field(repr=False)  # tar.gz of the whole source, without what stays where it is
    facts: SourceFacts


class Source(Protocol):
    """Where a workspace's configuration comes from, if this machine has it: a directory or an archive."""

    def look(self, location: SourceLocation) -> SourceFacts:
        """Read the root module. Raises InvalidInput if it cannot be read or is none."""
        ...

    def pack(self, location: SourceLocation, *, limit: int) -> PackedSource:
        """Return the source, at most `limit` bytes of it. Raises InvalidInput that names the field and the fix."""
        ...


@dataclass(frozen=True, kw_only=True)
class GitCommands:
    """What fetches a repository, to be run one after the other."""

    steps: tuple[tuple[str, tuple[str, ...]], ...]  # part of the job's name, and the program with its arguments
    directory: Path  # where they run
    environment: Mapping[str, str] = field(repr=False)  # complete; holds the token


@dataclass(frozen=True, kw_only=True)
class FetchedSource:
    """What was fetched."""

    packed: PackedSource
    commit: str  # full id


class Git(Protocol):
    """Fetches a ref of a repository into a directory, by commands that somebody else runs."""

    def prepare(self, directory: Path, location: SourceLocation, workspace: Mapping[str, str]) -> GitCommands:
        """Say what to run. directory: private and empty; workspace: its environment.

        Raises InvalidInput for a source that is not fetched here, Unavailable if there is no git.
        """
        ...

    def take(self, directory: Path, location: SourceLocation, *, limit: int) -> FetchedSource:
        """Read what the commands left, and remove it. Raises InvalidInput as `Source.pack` does."""
        ...


class TerraformVersions(Protocol):
    """The versions of terraform that a workspace can name."""

    def check(self, version: str) -> None:
        """Raise InvalidInput that lists them if they can be seen from here and this one is not among them."""
        ...


@dataclass(frozen=True, kw_only=True)
class RunTree:
    """The directory of one claim of a run."""

    home: Path  # all that belongs to it; removed as a whole
    source: Path  # inside home: the whole source, as it was packed
    tree: Path  # in it, or the same: the root module, with .terraform, plan.out, terraform.tfstate
    path: Path  # canonical: `tree` by a link to `source` that is the same wherever the run is applied; terraform's cwd
    scratch: Path  # inside home: variable files, TMPDIR


@dataclass(frozen=True, kw_only=True)
class Init:
    """One way to run `terraform init`."""

    program: Path  # terraform
    name: str  # part of the command's name
    label: str  # for the log: where providers come from


class Workshop(Protocol):
    """Directories of runs in one slot, and what terraform needs in them."""

    def fetch_directory(self, name: str) -> Path:
        """Make an empty, private directory for what is fetched before the directory `name` has a source."""
        ...

    def unpack_source(self, name: str, link: str, packed: bytes, *, subdir: str | None = None) -> RunTree:
        """Make the directory `name` of a source, reached by the canonical `link`. Raises PhaseFailed.

        subdir: of the root module; None: the root.
        """
        ...

    def unpack_snapshot(
        self, name: str, link: str, packed: bytes, *, subdir: str | None = None, lead: bool = True
    ) -> RunTree:
        """The same from a snapshot. Raises PhaseFailed.

        lead: let the canonical path lead here; False: only once the directory is taken.
        """
        ...

    def take(self, name: str, link: str) -> RunTree | None:
        """Let the canonical path lead to a directory that was prepared here; None if it is gone."""
        ...

    def kept(self, name: str, link: str) -> RunTree | None:
        """Return a directory that was kept and that its canonical link still leads to."""
        ...

    def snapshot(self, tree: RunTree) -> bytes:
        """Pack the directory as the plan left it. Raises PhaseFailed."""
        ...

    def names(self) -> list[str]:
        """Return the names of all directories of runs in this slot."""
        ...

    def remove(self, name: str) -> None:
        """Remove a directory and its link; no error if it is gone."""
        ...

    def size(self, name: str) -> int:
        """Return how many bytes a directory takes on the disk; 0 if it is gone."""
        ...

    def terraform(self, version: str | None) -> Mapping[str, Any]:
        """Return path, version, sha256 and stat of terraform. Raises Unavailable if there is none.

        version: the exact one that the workspace named; None: the default of this machine.
        """
        ...

    def environment(self, tree: RunTree, workspace: Mapping[str, str], *, own_backend: bool) -> dict[str, str]:
        """Return the complete environment of a command. Raises InvalidInput for a variable that is reserved.

        own_backend: the configuration keeps its state itself.
        """
        ...

    def init(self, tree: RunTree, program: Path, *, readonly_lock: bool) -> Init:
        """Say how to initialize. program: terraform; readonly_lock: the lock file must stay as it is."""
        ...

    def init_after(self, tree: RunTree, failed: Init, errors: Sequence[str]) -> Init | None:
        """Say how to try again after a failed init; None: not at all."""
        ...

    def using_providers(self) -> AbstractContextManager[None]:
        """Keep what init finds from being removed, from the first `init` to `settle_init`."""
        ...

    def settle_init(self, tree: RunTree) -> None:
        """After a successful init: keep what it downloaded, once per machine."""
        ...

    def link_providers(self, tree: RunTree, program: Path, wanted: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
        """Link providers as init does, without init; returns what this machine lacks, for people: then none is linked.

        wanted: what `providers` returned where the plan was made; program: terraform.
        """
        ...

    def providers(self, tree: RunTree) -> Sequence[Mapping[str, Any]]:
        """Return address, version, stat and h1 of each provider that init linked."""
        ...


@dataclass(frozen=True, kw_only=True)
class PodSpec:
    """A pod that iacq wants."""

    name: str  # unique for ever, a DNS label; also the name under which its agent registers
    pool: str
    slots: int
    generation: int  # of the template
    template: Mapping[str, Any] | None  # what the pool says about its pods, in the words of this runtime


class PodPhase(enum.StrEnum):
    """What becomes of a pod in its runtime. One that is gone is not listed any more."""

    STARTING = "starting"
    RUNNING = "running"  # its agent was started; whether it works is another matter
    STOPPING = "stopping"
    FAILED = "failed"  # nothing of it is alive, and nothing will be: it will not be started again


@dataclass(frozen=True, kw_only=True)
class PresentPod:
    """A pod that exists."""

    name: str
    uid: str  # of this very one: a later one of the same name has another
    phase: PodPhase
    reason: str | None = None  # why it does not run, for people
    started_at: int | None = None  # ms: when its agent was started last; None: not yet
    in_use: bool | None = None  # how it is marked for others who move pods; None: nobody does here


class PodRuntime(Protocol):
    """Runs pods: on this machine, or in a cluster. All calls raise Unavailable while it does not answer.

    It is asked only about pods that it was asked for itself.
    """

    @property
    def identity(self) -> str:
        """Which runtime this is, at most 100 characters: the same for ever, and for no other."""
        ...

    def create(self, spec: PodSpec) -> None:
        """Have the pod made, durably; nothing happens if there is one of that name.

        Raises InvalidInput for a template that it cannot follow, Conflict if it is not allowed to make the pod.
        """
        ...

    def delete(self, name: str, *, uid: str | None = None) -> None:
        """Have the pod end and removed: it is told to stop, and killed with all that it started after its grace.

        Then its disk goes too. uid: only if it is this very one. Nothing happens if there is none, or it is going.
        """
        ...

    def mark(self, name: str, *, uid: str, in_use: bool) -> None:
        """Write whether runs need the pod, where those look who would move it. Nothing happens if there is none.

        Raises Unavailable; Conflict if it is not allowed.
        """
        ...

    def present(self, expected: Collection[str] = ()) -> list[PresentPod]:
        """Return the pods that exist, those that are being stopped and that have failed included.

        expected: pods of which the caller knows. One of these that is not listed is proven gone: nothing of it is
        alive. That another one is not listed proves nothing.
        """
        ...
