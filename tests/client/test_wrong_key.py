"""Workers with a key that is not the database's: they end, and say why, instead of doing nothing for ever."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from iacq.client import Client
from iacq.settings import Settings

CHECKOUT = Path(__file__).parent.parent.parent
OTHER = base64.b64encode(b"x" * 32).decode()


@pytest.mark.parametrize(
    "program",
    [
        ("celery", "-A", "workers.control", "worker", "-Q", "iacq.control", "--pool", "threads"),
        ("workers.control",),
        ("workers.agent", "--pod-name", "wrong", "--slots", "1"),
    ],
    ids=["celery", "control", "agent"],
)
def test_a_worker_with_a_wrong_key_ends(program: tuple[str, ...], settings: Settings, client: Client) -> None:
    client.enqueue("it", "plan")
    ended = subprocess.run(
        [sys.executable, "-m", *program],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "IACQ_DATABASE_URL": str(settings.database_url),
            "IACQ_BROKER_URL": settings.celery_broker_url,
            "IACQ_ENCRYPTION_KEYS": OTHER,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert "Error: the encryption keys are not those of this database" in ended.stderr
    assert "Traceback" not in ended.stderr
