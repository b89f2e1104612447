"""The examples, against a real system."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from iacq.domain.run import Status
from tests.acceptance import configurations
from tests.acceptance.system import System

EXAMPLES = Path(__file__).parent.parent.parent / "examples"

_WITHOUT_IACQ = """
import runpy, sys
sys.modules["iacq"] = None  # importing it is an error
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def workspace(system: System, tmp_path: Path) -> str:
    system.workspace("network", configurations.write(tmp_path / "network", configurations.COUNTED))
    return "network"


def test_a_service_with_celery_only(system: System, workspace: str, tmp_path: Path) -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-P", "-W", "error", "-c", _WITHOUT_IACQ, str(EXAMPLES / "celery_only.py"), *arguments],
            env={"PATH": os.environ["PATH"], "BROKER_URL": system.settings.celery_broker_url},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    ended = run(workspace, "celery-only")
    assert (ended.returncode, ended.stderr) == (0, "")
    said = json.loads(ended.stdout)
    assert (said["status"], said["requested_by"]) == ("apply_pending", "celery:billing")
    assert system.client.get(said["id"]).plan_hash == said["plan_hash"]
    refused = run("nowhere", "celery-only")
    assert refused.returncode == 1
    assert refused.stderr.startswith("workspace: there is no workspace nowhere")


def test_a_web_service(system: System, workspace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastapi.testclient import TestClient

    for name, value in system.environment.items():
        if name.startswith("IACQ_"):
            monkeypatch.setenv(name, value)
    service = runpy.run_path(str(EXAMPLES / "http_service.py"))
    headers = {"Idempotency-Key": "web-1", "User": "alice"}
    with TestClient(service["app"]) as http:
        made = http.post(f"/workspaces/{workspace}/runs", json={"variables": {"size": 3}}, headers=headers)
        assert made.status_code == 202
        run = made.json()
        again = http.post(f"/workspaces/{workspace}/runs", json={"variables": {"size": 3}}, headers=headers)
        assert again.json()["id"] == run["id"]
        other = http.post(f"/workspaces/{workspace}/runs", json={"variables": {"size": 4}}, headers=headers)
        assert (other.status_code, other.json()["code"]) == (409, "conflict")
        with http.stream("GET", f"/runs/{run['id']}/logs") as log:
            assert "3 to add" in log.read().decode()
        plan = http.get(f"/runs/{run['id']}/plan").json()
        assert len(plan["resource_changes"]) == 3
        plan_hash = http.get(f"/runs/{run['id']}").json()["plan_hash"]
        wrong = http.post(f"/runs/{run['id']}/confirm", json={"plan_hash": "0" * 64}, headers=headers)
        assert wrong.status_code == 409
        confirmed = http.post(f"/runs/{run['id']}/confirm", json={"plan_hash": plan_hash}, headers=headers)
        assert (confirmed.status_code, confirmed.json()["confirmed_by"]) == (200, "alice")
        assert "Apply complete!" in http.get(f"/runs/{run['id']}/logs").text
        assert http.get("/runs/999999").status_code == 404
        assert http.get("/runs/999999/logs").status_code == 404
        assert http.post("/workspaces/a b/runs", json={}, headers=headers).status_code == 422
    assert system.wait(system.client.get(run["id"])).status is Status.APPLIED


def test_a_pipeline(system: System, workspace: str, tmp_path: Path) -> None:
    environment = {
        **system.environment,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CI_COMMIT_SHA": "abc123",
    }
    handed_on = tmp_path / "plan.env"

    def job(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [EXAMPLES / "ci_job.sh", *arguments],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=300,
            check=False,
        )

    assert job("check", workspace).returncode == 2
    planned = job("plan", workspace, handed_on)
    assert planned.returncode == 0, planned.stderr
    assert "1 to add" in planned.stdout
    first = handed_on.read_text()
    assert job("plan", workspace, handed_on).returncode == 0
    assert handed_on.read_text() == first, "a repeated job planned again"
    applied = job("apply", handed_on)
    assert applied.returncode == 0, applied.stderr
    assert "Apply complete!" in applied.stdout
    assert job("check", workspace).returncode == 0
    environment["CI_COMMIT_SHA"] = "def456"
    nothing = job("plan", workspace, handed_on)
    assert (nothing.returncode, handed_on.read_text()) == (0, "")
    assert job("apply", handed_on).returncode == 0
    assert job("check", "nowhere").returncode not in (0, 2)
    assert job("explode").returncode == 1
