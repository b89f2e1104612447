"""One HOME, and `iacq` as a person calls it there: nothing is shared with the tests' own processes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.waiting import wait_until

SLOW = """
resource "terraform_data" "slow" {
  provisioner "local-exec" { command = "echo began >> %s; while [ ! -e %s ]; do sleep 0.1; done" }
}
"""
"""Applies until a file appears, and says in another one that it began."""


class Machine:
    """One HOME, and `iacq` as it is called there."""

    def __init__(self, home: Path, python_path: Path | None = None) -> None:
        self.home = home
        self.directory = home.parent
        self.log = self.directory / "up.log"
        self.said = ""  # by the last `iacq up` that has ended
        self.environment = {**os.environ, "IACQ_HOME": str(home), "IACQ_DISK_FLOOR": "1MiB"}
        if python_path is not None:
            self.environment["PYTHONPATH"] = str(python_path)

    def iacq(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "iacq.cli", *words],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def json(self, *words: str) -> Any:
        done = self.iacq(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextlib.contextmanager
    def up(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """Run `iacq up`; at the end it is stopped with ^C."""
        log = self.log
        with log.open("a") as output:
            program = subprocess.Popen(
                [sys.executable, "-P", "-m", "iacq.cli", "up", *words],
                cwd=self.directory,
                env=self.environment,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
            )
        try:
            wait_until(lambda: "iacq is up" in log.read_text() or program.poll() is not None, 60, "iacq is up")
            assert program.poll() is None, log.read_text()
            yield program
        finally:
            if program.poll() is None:
                program.send_signal(signal.SIGINT)
            program.wait(60)
            self.said = log.read_text()
            log.write_text("")

    def status(self, run_id: int) -> str:
        found: str = self.json("show", str(run_id))["status"]
        return found
