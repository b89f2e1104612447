"""Flower on a running system, asked over HTTP as a browser does: what it shows, to whom, and what it must not show."""

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from iacq.domain.run import Status
from iacq.messages import CONTROL_QUEUE
from tests.acceptance.configurations import COUNTED, write
from tests.acceptance.system import POD, System
from tests.ports import free_address
from tests.waiting import wait_until

PERSON = "alice:flower-word-of-alice"
SECRETS = {
    "variable": "planted-in-a-variable",
    "broker": "planted-in-the-broker-url",
    "foreign": "planted-in-a-foreign-message",
}
FAILS = """
variable "password" { type = string }
resource "terraform_data" "it" {
  lifecycle {
    precondition {
      condition     = var.password == ""
      error_message = "not ${nonsensitive(var.password)}"
    }
  }
}
"""


class Site:
    """A browser for Flower, logged in or not."""

    def __init__(self, address: str, *, person: str = PERSON) -> None:
        self._address = address
        self._person = person

    def ask(self, path: str, *, stranger: bool = False, method: str = "GET") -> tuple[int, str]:
        request = urllib.request.Request(f"http://{self._address}{path}", method=method)
        if not stranger:
            request.add_header("Authorization", f"Basic {base64.b64encode(self._person.encode()).decode()}")
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def get(self, path: str) -> str:
        status, text = self.ask(path)
        assert status == 200, f"{path}: {status} {text}"
        return text

    def tasks(self, search: str = "") -> list[dict[str, Any]]:
        """Return the rows of the page of tasks."""
        asked = {"draw": 1, "start": 0, "length": 100, "search[value]": search, "order[0][column]": 0}
        found = json.loads(self.get("/tasks/datatable?" + urllib.parse.urlencode(asked)))
        return list(found["data"])

    def nodes(self) -> set[str]:
        return {worker["hostname"] for worker in json.loads(self.get("/workers?json=1"))["data"]}

    def task_of(self, shown: str) -> dict[str, Any] | None:
        """Return the ended task that is shown as this."""
        found = [task for task in self.tasks() if task["kwargs"] == shown]
        return found[0] if found and found[0]["state"] in ("SUCCESS", "FAILURE") else None


@pytest.fixture
def address() -> str:
    return free_address()


@pytest.fixture
def watched(make_system: Callable[..., System], tmp_path: Path, address: str) -> System:
    """A system whose broker URL holds a secret, with Flower on it."""
    people = tmp_path / "people"
    people.write_text(f"bob:another-word\n{PERSON}\n")
    broker = tmp_path / "system" / "b" / "run" / "broker.sock"
    system = make_system(
        BROKER_URL=f"redis+socket://default:{SECRETS['broker']}@{broker}",
        FLOWER_ADDRESS=address,
        FLOWER_BASIC_AUTH=f"@{people}",
    )
    system.start("flower", "-P", "-m", "workers.flower")
    return system


def test_flower_shows_runs_and_failures_and_no_secret(watched: System, address: str, tmp_path: Path) -> None:
    """docs/failures.md 38."""
    site = Site(address)
    wait_until(lambda: _answers(site), 30, "Flower answers")
    wait_until(lambda: {f"slot{n}@{POD}" for n in (1, 2, 3)} <= site.nodes(), 20, "Flower has heard the slots")
    watched.workspace("good", write(tmp_path / "good", COUNTED))
    watched.workspace("bad", write(tmp_path / "bad", FAILS), secret_variables={"password": SECRETS["variable"]})
    good = watched.apply("good")
    bad = watched.wait(watched.plan("bad", "plan"))
    assert (good.status, bad.status) == (Status.APPLIED, Status.FAILED)
    _send_what_must_not_be_shown(watched)

    for phase in ("plan", "apply"):
        task = wait_until(lambda: site.task_of(f"run {good.id} {phase} good"), 20, "Flower shows the phase")  # noqa: B023
        assert task
        assert (task["name"], task["state"]) == (f"iacq.{phase}", "SUCCESS")
        assert task["worker"] == f"slot{good.slot_id}@{POD}"
    failed = wait_until(lambda: site.task_of(f"run {bad.id} plan bad"), 20, "Flower shows the failure")
    assert failed
    assert failed["state"] == "FAILURE"
    page = site.get(f"/task/{failed['uuid']}")
    assert f"run {bad.id} failed (terraform): see `iacq show {bad.id}`" in page
    assert "FAILURE" in page
    well = {task["name"] for task in site.tasks() if task["state"] not in ("FAILURE", "PENDING")}
    assert well <= {"iacq.plan", "iacq.apply", "iacq.enqueue", "iacq.signal_run", None}, "beat's jobs hide the runs"
    # Flower searches ids, too, and "bad" may be part of one.
    assert [shown for task in site.tasks("bad") if (shown := task["kwargs"]) != "(hidden)"] == [
        f"run {bad.id} plan bad"
    ]

    broker = site.get("/broker")
    assert all(queue in broker for queue in (f"{POD}.1", f"{POD}.2", f"{POD}.3", f"{POD}.agent", CONTROL_QUEUE))
    _search_every_page(site)
    _strangers_see_nothing(site)
    _nobody_acts(watched, site)


def _answers(site: Site) -> bool:
    try:
        return site.ask("/healthcheck", stranger=True) == (200, "OK")
    except OSError:
        return False


def _send_what_must_not_be_shown(system: System) -> None:
    """Be a service that says more of its messages than it should: in their headers, and in events of its own."""
    app = Celery("foreign", broker=system.settings.celery_broker_url, set_as_current=False)
    app.conf.task_send_sent_event = True
    secret = {"workspace": "good", "variables": {"password": SECRETS["foreign"]}}
    for name, shown in (("iacq.enqueue", None), ("iacq.signal_run", f"run 1 plan {SECRETS['foreign']} ")):
        app.send_task(name, kwargs=secret, kwargsrepr=shown, queue=CONTROL_QUEUE, ignore_result=True)
    # Two that a worker knows: the arguments are wrong, and the exception would say how.
    app.send_task("iacq.dispatch", kwargs=secret, queue=CONTROL_QUEUE, ignore_result=True)
    app.send_task("iacq.plan", kwargs={SECRETS["foreign"]: 1}, queue=f"{POD}.2", ignore_result=True)
    app.close()


def _search_every_page(site: Site) -> None:
    wait_until(lambda: any(task["kwargs"] == "(hidden)" for task in site.tasks()), 20, "Flower has the foreign task")
    found = site.tasks()
    paths = ["/", "/workers?json=1", "/tasks", "/broker", "/metrics", "/api/tasks", "/api/workers?refresh=1"]
    paths += [f"/task/{task['uuid']}" for task in found] + [f"/worker/{node}" for node in site.nodes()]
    paths += [f"/api/task/info/{task['uuid']}" for task in found]
    pages = {path: site.get(path) for path in paths} | {"datatable": json.dumps(found)}
    for name, secret in SECRETS.items():
        assert [path for path, text in pages.items() if secret in text] == [], name
        assert site.tasks(secret) == [], f"a search finds what is hidden: {name}"
    assert not any(PERSON.partition(":")[2] in text for text in pages.values())


def _strangers_see_nothing(site: Site) -> None:
    for path in (
        "/",
        "/workers",
        "/tasks",
        f"/worker/slot1@{POD}",
        "/broker",
        "/metrics",
        "/api/tasks",
        "/api/workers",
    ):
        assert site.ask(path, stranger=True)[0] == 401, path
    assert Site(site._address, person="alice:wrong").ask("/tasks")[0] == 401


def _nobody_acts(system: System, site: Site) -> None:
    """Whoever is logged in may look, and no more."""
    node = f"slot1@{POD}"
    for action in (f"worker/shutdown/{node}", f"worker/pool/grow/{node}", "task/send-task/iacq.dispatch"):
        assert site.ask(f"/api/{action}", method="POST")[0] == 403, action
    assert "worker-shutdown" not in site.get(f"/worker/{node}")
    assert system.programs["flower"].poll() is None
