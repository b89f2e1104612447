"""The real system that is tormented: pods that it makes itself, two control workers, two beats, broker, database."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from iacq.domain.slot import PodStatus
from iacq.domain.workspace import DEFAULT_POOL, Workspace
from iacq.services.pools import PoolChange
from tests import processes
from tests.acceptance import configurations
from tests.acceptance.system import System
from tests.chaos import ledger
from tests.chaos.pod import Pod
from tests.waiting import wait_until

SETTINGS = {
    "POD_RUNTIME": "local",
    "LEASE": "5s",
    "RENEW": "1s",
    "LEASE_CONFIRM": "2s",
    "HEARTBEAT": "500ms",
    "AGENT_OFFLINE": "5s",
    "CLAIM_TIMEOUT": "6s",
    "WARMUP_RETRIES": "3",
    "WARMUP_TIMEOUT": "20s",
    "POD_START_TIMEOUT": "30s",
    "WORKDIR_KEEP": "1s",
    "STOP_GRACE": "10s",
    "DATABASE_TIMEOUT": "2s",
    "DISK_FLOOR": "16MiB",
    "STATE_KEEP": "10000",  # the judge looks at what each apply left
}
"""Short times, so that all of it happens within seconds; long enough for a busy machine not to be a fault."""

POOLS = {DEFAULT_POOL: PoolChange(min_pods=2, max_pods=3, slots_per_pod=2), "other": PoolChange(min_pods=1, max_pods=2)}
QUICK, SLOW = 6, 3
"""Workspaces, by how long their resources take."""
RESOURCES = 3
DISK = 256
"""MiB of the disk with the directories of runs."""

PROGRAMS: dict[str, tuple[str, ...]] = {
    "control-1": ("-P", "-m", "workers.control"),
    "control-2": ("-P", "-m", "workers.control"),
    "beat-1": ("-P", "-m", "workers.control", "beat"),
    "beat-2": ("-P", "-m", "workers.control", "beat"),
    "host": ("-P", "-m", "workers.pods"),
}


class Plant(System):
    """A context manager. Used by the thread that made it, but for the client: programs die with the thread."""

    def __init__(self, home: Path, database_url: str) -> None:
        super().__init__(home, database_url, slots=2, **SETTINGS)
        self.ledger = home / "ledger"
        self.ledger.touch()
        self.has_disk = False  # of its own, which may be filled

    def _begin(self) -> None:
        self._mount()
        self.broker.start()
        for name, change in POOLS.items():
            self.client.create_pool(name, change)
        for name in PROGRAMS:
            self.launch(name)
        self._make_workspaces()
        wait_until(self.is_whole, 120, "the pods are there")

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        if self.has_disk:
            wait_until(self._unmount, what="after ^C, terraform and its scripts leave their directory")

    def launch(self, name: str) -> None:
        """Start one of the programs, unless it runs."""
        if name not in self.programs:
            self.start(name, *PROGRAMS[name])

    def pods(self) -> list[Pod]:
        """Return the pods of this machine that have an agent now, by name."""
        host = self.programs.get("host")
        found = processes.descendants(host.pid) if host else []
        return sorted(
            (
                Pod(name=words[words.index("--pod-name") + 1], agent=process.pid, work_root=self.settings.work_root)
                for process in found
                if process.parent == host.pid and "--pod-name" in (words := process.command.split())
            ),
            key=lambda pod: pod.name,
        )

    def is_whole(self) -> bool:
        """Tell whether as many slots as the pools have at least may get work."""
        least = sum((change.min_pods or 0) for change in POOLS.values())
        online = [pod for pod in self.client.pods() if pod.status is PodStatus.ONLINE]
        return len(online) >= least and all(slot.usable for slot in self.client.slots())

    def stop_all(self) -> list[str]:
        """Stop everything as a person would; returns what is left of it."""
        with contextlib.suppress(KeyError):
            self.programs["host"].terminate()
            self.programs["host"].wait(60)
        for program in self.programs.values():
            program.terminate()
        for program in self.programs.values():
            program.wait(30)
        self.programs.clear()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: not list(self._remaining()), 10)
        return [str(process) for process in self._remaining()]

    def _remaining(self) -> Iterator[processes.Process]:
        return (process for process in processes.working_in(self.home) if process.pid != self.broker.pid)

    def _mount(self) -> None:
        root = self.settings.work_root
        root.mkdir(mode=0o700)
        options = f"size={DISK}m,mode=0700"
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "chaos", root], check=False, capture_output=True)
        self.has_disk = done.returncode == 0

    def _unmount(self) -> bool:
        return not subprocess.run(["umount", self.settings.work_root], check=False, capture_output=True).returncode

    def _make_workspaces(self) -> None:
        text = ledger.configuration(self.ledger, resources=RESOURCES)
        path = configurations.write(self.home / "source", text)
        for number in range(QUICK + SLOW):
            name = f"{'quick' if number < QUICK else 'slow'}{number}"
            pool = "other" if number % 3 == 2 else DEFAULT_POOL
            self.client.create_workspace(Workspace(name=name, pool=pool, path=str(path), auto_apply=False))
