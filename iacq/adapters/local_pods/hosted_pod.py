"""One pod on this machine: its agent is started, and started again under the same name until the pod is to go.

That the name stays is what lets a new agent adopt what the keepers of the last one still run.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass

from iacq.adapters.local_pods import processes
from iacq.adapters.local_pods.files import PodFiles, PodState
from iacq.adapters.programs import child_process
from iacq.adapters.programs.stopping import Stopping
from iacq.adapters.programs.supervised_program import Program, Restarts, SupervisedProgram
from iacq.adapters.terraform import workshop
from iacq.errors import Unavailable
from iacq.ports import PodPhase
from iacq.settings import Settings

_KILL_AGAIN = 0.05
"""Seconds between two looks at whether something of a pod is still alive."""
_SHOWN = 3
"""Lines of an agent's log that say why it ended."""
FAILED_LOG = "failed-pod.log"
"""Where the log of the last pod that failed is kept, in the directory of logs."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What all pods of a host have in common."""

    settings: Settings
    files: PodFiles
    restarts: Restarts
    tell: Callable[[str], None]  # gets a line for each thing that happens


class HostedPod:
    """See the module. Used by one thread, which must outlive the agent."""

    def __init__(self, program: Program, around: Surroundings) -> None:
        """program: the agent; its name is the pod's. It is started by the first turn."""
        self.gone = False
        self.child = SupervisedProgram(program, around.restarts)
        self.child.restart_at = time.monotonic()
        self._name = program.name
        self._around = around
        self._files = around.files
        self._root = workshop.slots_directory(around.settings, program.name)
        self._stopping: Stopping | None = None
        self._clear = 0  # looks in a row at which nothing of it was alive
        self._state = PodState()

    @property
    def due(self) -> float:
        """When a turn has something to do even if nothing happens, monotonic seconds; infinite: never."""
        if self._stopping is not None:
            return self._stopping.due if self._stopping.living else time.monotonic() + _KILL_AGAIN
        return math.inf if self.child.restart_at is None else self.child.restart_at

    def turn(self) -> None:
        """Do what is to be done now. Raises OSError, Unavailable: to be tried again."""
        if self._stopping is None and self._files.is_to_go(self._name):
            self.child.restart_at = None
            self._stopping = Stopping([self.child], self._around.tell)
        if self._stopping is not None:
            self._stopping.turn()
            if not self._stopping.living:
                self._remove()
            return
        how = self.child.reap()
        if how is not None:
            self._lost(f"ended with {how}")
        if self.child.restart_at is not None and self.child.restart_at <= time.monotonic():
            self._launch()

    def stop(self, hurries: int = 0) -> None:
        """Tell the agent to stop, and see that it does; the pod stays wanted, for the next host.

        hurries: how often somebody was in a hurry since the first call.
        """
        self.child.restart_at = None
        if self._stopping is None:
            self._stopping = Stopping([self.child], self._around.tell)
        self._stopping.turn(hurries)

    def _launch(self) -> None:
        try:
            self.child.launch(time.monotonic())
        except Unavailable as error:
            self._lost(error.message)
            return
        self._around.tell(f"{self._name}: started, process {self.child.pid}")
        self._say(PodState(phase=PodPhase.RUNNING, started_at=time.time_ns() // 1_000_000))

    def _lost(self, what: str) -> None:
        """Plan the next start. It is given up only if nothing of it is alive: an apply may outlive many agents."""
        restarts, child = self._around.restarts, self.child
        delay = child.plan_restart(time.monotonic())
        if delay is None and processes.is_alive(self._root):
            delay = restarts.longest
            child.restart_at = time.monotonic() + delay
        then = "too often: given up" if delay is None else f"starts again in {delay:g} s"
        log = child.program.log
        said = child_process.last_lines(log, _SHOWN) or "(nothing)"
        self._around.tell(f"{self._name}: {what}; {then}. The end of {log}:\n{said}")
        phase = PodPhase.FAILED if delay is None else PodPhase.STARTING
        if delay is None and log.exists():
            shutil.copy2(log, log.with_name(FAILED_LOG))
        self._say(PodState(phase=phase, reason=f"{what}: {said}", started_at=self._state.started_at))

    def _remove(self) -> None:
        """Kill what is left, then remove its disk; when that is done nobody lists it any more."""
        self._clear = self._clear + 1 if processes.end(self._root) else 0
        if self._clear < 2:  # what was about to begin shows at the second look
            return
        workshop.remove_slots(self._around.settings, self._name)
        log = self.child.program.log
        for path in (log, log.with_name(f"{log.name}.1")):
            path.unlink(missing_ok=True)
        self._files.remove(self._name)
        self._around.tell(f"{self._name}: removed")
        self.gone = True

    def _say(self, state: PodState) -> None:
        self._state = state
        self._files.say(self._name, state)
