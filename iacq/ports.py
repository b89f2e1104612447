"""What iacq needs from the world, as it needs it. `bootstrap` names who provides it; `testing` has fakes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from iacq.messages import Doorbell


class Clock(Protocol):
    """Time of this machine. Leases use the database's clock instead."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch, for people."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back, for intervals within one process."""
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

    def ring_control(self, task: str) -> None:
        """Tell a control worker to do one of its jobs now."""
        ...

    def ring_agent(self, pod_name: str, task: str, **arguments: int | str) -> None:
        """Tell a pod's housekeeping node."""
        ...

    def ring_slot(self, queue: str, task: str) -> None:
        """Ask a slot to answer."""
        ...

    def warm(self) -> None:
        """Connect now, so that a later ring costs one round trip."""
        ...


class ArtifactStore(Protocol):
    """Keeps sealed bytes under a name. What is stored is encrypted already."""

    def put(self, key: str, sealed: bytes) -> None:
        """Store durably (fsync or commit) before returning. Putting the same key again replaces it."""
        ...

    def get(self, key: str) -> bytes:
        """Return what was put. Raises NotFound."""
        ...

    def delete(self, key: str) -> None:
        """Forget it; no error if it is not there."""
        ...


class Sealer(Protocol):
    """Encrypts what is stored at rest; authenticated, and bound to what it belongs to."""

    def seal(self, plain: bytes, *, bound_to: str) -> bytes:
        """Encrypt under the first key."""
        ...

    def open(self, sealed: bytes, *, bound_to: str) -> bytes:
        """Decrypt under whichever key sealed it. Raises PhaseFailed(code=unreadable) if anything differs."""
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


class Keeper(Protocol):
    """Starts programs that outlive the slot's process."""

    def start(self, job: Job) -> bool:
        """Start it, or return False: not started, and it never will be (its word is on disk)."""
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


class Source(Protocol):
    """Where a workspace's configuration comes from."""

    def pack(self, location: str, *, limit: int) -> bytes:
        """Return the configuration as a tar.gz. Raises InvalidInput that names the field and the fix."""
        ...


class LogSink(Protocol):
    """Takes the log of one phase, in order."""

    def write(self, text: str) -> None:
        """Append one or more whole lines (with ANSI colours; readers strip them)."""
        ...


class TerraformHome(Protocol):
    """What terraform needs on a pod: a binary, a CLI configuration, an environment, providers."""

    def binary(self) -> Path:
        """Absolute path of terraform or tofu. Raises Unavailable if there is none."""
        ...

    def environment(self, workspace: Mapping[str, str], *, cwd: Path, scratch: Path) -> dict[str, str]:
        """The complete environment of one command; `scratch` becomes TMPDIR."""
        ...

    def providers_of(self, tree: Path) -> Iterator[tuple[str, str, Path]]:
        """(address, version, package directory) of each provider that init linked into `tree`."""
        ...
