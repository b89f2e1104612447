"""A pod that is asked to stop before it has begun."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.waiting import wait_until

CHECKOUT = Path(__file__).parent.parent.parent


def test_an_agent_that_waits_for_its_database_hears_a_request_to_stop(tmp_path: Path, clean_environment: None) -> None:
    """As the first process of a container it hears only what it has a handler for."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        agent = subprocess.Popen(
            [sys.executable, "-m", "workers.agent", "--pod-name", "early", "--slots", "1"],
            cwd=CHECKOUT,
            env={
                **os.environ,
                "IACQ_HOME": str(tmp_path),
                "IACQ_DATABASE_URL": f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/iacq?connect_timeout=600",
                "IACQ_DATABASE_TIMEOUT": "600s",
                "IACQ_BROKER_URL": "redis://127.0.0.1:1/0",
            },
        )
        try:
            connection, _ = silent.accept()
            with connection:
                wait_until(lambda: connection.recv(1), what="the agent asks")
                assert catches(agent.pid, signal.SIGTERM)
                agent.terminate()
                assert agent.wait(60) == 0
        finally:
            agent.kill()
            agent.wait(60)


def catches(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process has a handler for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt")), 16)
    return bool(caught >> (number - 1) & 1)
