"""The pods that are wanted on this machine, as files: what the runtime writes and the host of `iacq up` makes real.

HOME/pods/identity          who this runtime is, made once
HOME/pods/NAME.json         the pod is wanted; the last file that goes: without it nothing of the pod is alive
HOME/pods/NAME.delete       it is not wanted any more
HOME/pods/NAME.status       what the host says of it
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iacq.adapters import private_directory
from iacq.errors import Unavailable
from iacq.keeper.files import sync_directory
from iacq.ports import PodPhase, PodSpec

_SPEC, _DELETE, _STATUS = ".json", ".delete", ".status"
_STOPPING = "stopping"


@dataclass(frozen=True, kw_only=True)
class WantedPod:
    """A pod that somebody asked for."""

    spec: PodSpec
    uid: str


@dataclass(frozen=True, kw_only=True)
class PodState:
    """What the host says of a pod."""

    phase: PodPhase = PodPhase.STARTING
    reason: str | None = None
    started_at: int | None = None  # ms: when its agent was started last


class PodFiles:
    """The files of one HOME. Several processes use them at once: each file is written whole. Raises Unavailable."""

    def __init__(self, home: Path) -> None:
        self._directory = home / "pods"

    def identity(self) -> str:
        """Return what was written here first."""
        with _translated():
            file = private_directory.ensure(self._directory) / "identity"
            if not file.exists():
                _create(file, f"local:{secrets.token_hex(16)}")
            return file.read_text()

    def add(self, spec: PodSpec) -> None:
        """Write that a pod is wanted; nothing happens if it is already."""
        with _translated():
            private_directory.ensure(self._directory)
            content = {**dataclasses.asdict(spec), "uid": secrets.token_hex(8)}
            _create(self._directory / f"{spec.name}{_SPEC}", json.dumps(content))

    def wanted(self) -> dict[str, WantedPod]:
        """Return all pods that are wanted, or were and are not gone yet, by name."""
        with _translated():
            if not self._directory.is_dir():
                return {}
            names = sorted(entry.name for entry in os.scandir(self._directory) if entry.name.endswith(_SPEC))
            found = (self._read(name.removesuffix(_SPEC), _SPEC) for name in names)
            return {pod.spec.name: pod for pod in map(_to_wanted, found) if pod is not None}

    def mark_for_deletion(self, name: str) -> None:
        """Write that a pod is not wanted any more."""
        with _translated():
            _create(self._directory / f"{name}{_DELETE}", "")

    def is_to_go(self, name: str) -> bool:
        """Tell whether it is not wanted any more."""
        return (self._directory / f"{name}{_DELETE}").exists()

    def state(self, name: str) -> PodState:
        """Return what the host said last."""
        with _translated():
            said = self._read(name, _STATUS)
        if said is None:
            return PodState()
        return PodState(phase=PodPhase(said["phase"]), reason=said["reason"], started_at=said["started_at"])

    def say(self, name: str, state: PodState) -> None:
        """Write what has become of a pod."""
        with _translated():
            _replace(self._directory / f"{name}{_STATUS}", json.dumps(dataclasses.asdict(state)))

    def remove(self, name: str) -> None:
        """Forget a pod of which nothing is alive any more, durably."""
        with _translated():
            for suffix in (_SPEC, _STATUS, _DELETE):
                (self._directory / f"{name}{suffix}").unlink(missing_ok=True)
            sync_directory(self._directory)

    def set_stopping(self, stopping: bool) -> None:
        """Write whether the host is being stopped: the pods stay wanted, and nobody is to ask for others instead."""
        with _translated():
            file = private_directory.ensure(self._directory) / _STOPPING
            if stopping:
                file.touch()
            else:
                file.unlink(missing_ok=True)

    def is_stopping(self) -> bool:
        """Tell whether the host is being stopped."""
        return (self._directory / _STOPPING).exists()

    def sweep(self) -> None:
        """Remove what was left of removed pods by a host that was killed."""
        with _translated():
            wanted = self.wanted()
            for suffix in (_STATUS, _DELETE):
                for file in self._directory.glob(f"*{suffix}"):
                    if file.name.removesuffix(suffix) not in wanted:
                        file.unlink(missing_ok=True)

    def _read(self, name: str, suffix: str) -> dict[str, Any] | None:
        try:
            said = json.loads((self._directory / f"{name}{suffix}").read_bytes())
        except FileNotFoundError:
            return None
        return said if isinstance(said, dict) else None


def _to_wanted(said: dict[str, Any] | None) -> WantedPod | None:
    if said is None:
        return None
    uid = said.pop("uid")
    return WantedPod(spec=PodSpec(**said), uid=uid)


def _create(file: Path, text: str) -> None:
    """Write a whole file durably, unless there is one."""
    aside = _write_aside(file, text)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(aside, file)
    finally:
        aside.unlink()
    sync_directory(file.parent)


def _replace(file: Path, text: str) -> None:
    _write_aside(file, text).replace(file)


def _write_aside(file: Path, text: str) -> Path:
    aside = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(descriptor)
    return aside


@contextlib.contextmanager
def _translated() -> Any:
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Unavailable(
            f"the files of the pods cannot be used: {error}",
            field="IACQ_HOME",
            hint="look at the directory `pods` in IACQ_HOME: free space, and who owns it",
            code="pod_files",
        ) from error
