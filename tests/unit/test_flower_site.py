"""Who may see Flower, and what of a message anybody may see. The pages themselves: tests/acceptance/test_flower.py."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from iacq import messages
from iacq.adapters import flower_site, listening
from iacq.adapters.messaging.quiet_request import QuietRequest, QuietTask
from iacq.domain.run import Phase
from iacq.errors import InvalidInput, Unavailable
from iacq.messages import Doorbell
from iacq.settings import load


def options(tmp_path: Path, **given: str) -> dict[str, Any]:
    settings = load({f"IACQ_FLOWER_{name.upper()}": value for name, value in given.items()}, tmp_path)
    return flower_site.options(settings)


@pytest.mark.parametrize("address", ["127.0.0.1:5555", "localhost:1", "[::1]:5555", "127.1.2.3:80"])
def test_on_this_machine_nobody_is_asked_for_a_password(address: str, tmp_path: Path) -> None:
    assert options(tmp_path, address=address)["basic_auth"] == []


@pytest.mark.parametrize("address", ["0.0.0.0:5555", "[::]:5555", "10.0.0.1:80", "iacq.example.com:80"])
def test_elsewhere_flower_is_refused_without_people(address: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="to whoever can reach it") as caught:
        options(tmp_path, address=address)
    assert caught.value.field == "IACQ_FLOWER_ADDRESS"
    assert options(tmp_path, address=address, basic_auth="alice:word")["basic_auth"] == ["alice:word"]


def test_people_are_read_from_the_setting_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "people").write_text("alice:a,b:c\n\n bob:word \n")
    assert options(tmp_path, basic_auth="alice:word, bob:other")["basic_auth"] == ["alice:word", "bob:other"]
    assert options(tmp_path, basic_auth=f"@{tmp_path}/people")["basic_auth"] == ["alice:a,b:c", "bob:word"]


@pytest.mark.parametrize("people", ["", "secretword", "alice:", ":secretword", "alice:word\nsecretword"])
def test_people_that_cannot_be_read_are_refused_and_not_repeated(people: str, tmp_path: Path) -> None:
    (tmp_path / "people").write_text(people)
    for given in (f"@{tmp_path}/people", f"@{tmp_path}/none"):
        with pytest.raises(InvalidInput) as caught:
            options(tmp_path, basic_auth=given)
        assert "secretword" not in f"{caught.value.message}{caught.value.hint}"


def test_it_is_read_only(tmp_path: Path) -> None:
    assert options(tmp_path)["read_only"] is True


def test_an_address_in_use_is_said_with_its_setting() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unavailable, match=f"{endpoint}: Address already in use$") as caught:
            listening.require_free(endpoint, field="IACQ_FLOWER_ADDRESS")
    assert caught.value.field == "IACQ_FLOWER_ADDRESS"
    listening.require_free(endpoint, field="IACQ_FLOWER_ADDRESS")


def test_a_bells_words_are_shown_and_nothing_else() -> None:
    bell = Doorbell(run_id=42, phase=Phase.APPLY, attempt=1, queue="pod.1", workspace="net_work-1")
    assert messages.presentable(bell.shown) == "run 42 apply net_work-1"
    assert messages.presentable("") == ""
    assert messages.presentable(None) == ""
    for forged in ("{'password': 'x'}", "run 42 apply net x", "run 42 apply net\n", "run x apply net", {"a": 1}):
        assert messages.presentable(forged) == "(hidden)"


@pytest.mark.parametrize(
    ("node", "queue"),
    [
        ("slot12@pod-a", "pod-a.12"),
        ("agent@pod-a", "pod-a.agent"),
        ("control@host", "iacq.control"),
        ("x", "iacq.control"),
    ],
)
def test_each_node_has_its_queue(node: str, queue: str) -> None:
    assert messages.queue_of_node(node) == queue


class Eventer:
    """Keeps what would be sent."""

    enabled = True

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.sent.append((kind, fields))


def request_of(*, loud: bool) -> tuple[QuietRequest, Eventer]:
    request, eventer = QuietRequest.__new__(QuietRequest), Eventer()
    request.id, request.name = "1", "iacq.recover"
    request._task, request._eventer = SimpleNamespace(send_events=loud), eventer
    return request, eventer


def test_results_and_what_exceptions_say_stay_in_the_worker() -> None:
    request, eventer = request_of(loud=True)
    request.send_event("task-succeeded", result="{'secret': 1}", runtime=0.1)
    request.send_event("task-failed", exception="ValueError('secret')", traceback="… secret")
    request.send_event("task-failed", exception="PhaseFailed('run 1 failed (init)')", traceback="…")
    assert [fields.get("result", fields.get("exception")) for _, fields in eventer.sent] == [
        "",
        "ValueError: the log of its worker says more",
        "PhaseFailed('run 1 failed (init)')",
    ]
    assert "secret" not in str(eventer.sent)


def test_a_job_of_beats_is_told_of_only_when_it_fails() -> None:
    request, eventer = request_of(loud=False)
    request.send_event("task-started")
    request.send_event("task-succeeded", result=None, runtime=0.1)
    assert eventer.sent == []
    request.send_event("task-failed", exception="Unavailable('x')", traceback="")
    ((kind, fields),) = eventer.sent
    assert (kind, fields["uuid"], fields["name"]) == ("task-failed", "1", "iacq.recover")


def test_inspect_is_told_a_bells_words_and_never_arguments() -> None:
    from celery import Celery

    app = Celery(set_as_current=False, task_cls=QuietTask)

    def enqueue(**_: object) -> None:
        """Do nothing."""

    task = app.task(enqueue, name="iacq.enqueue")
    arguments = {"variables": {"password": "secret"}}
    message = SimpleNamespace(
        headers={"id": "1", "task": "iacq.enqueue", "argsrepr": "['secret']", "kwargsrepr": str(arguments)},
        body=b"",
        payload=([], arguments, {}),
        content_type="application/json",
        content_encoding="utf-8",
        delivery_info={},
        properties={},
    )
    request = QuietRequest(message, app=app, hostname="x", task=task)
    assert request.kwargs == arguments, "the task gets them"
    assert "secret" not in f"{request.info()}{request.info(safe=True)}{request.argsrepr}{request.kwargsrepr}"
