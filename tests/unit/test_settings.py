from pathlib import Path
from typing import Any

import pytest

from iacq import settings
from iacq.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("2h", 7200), ("7d", 604_800), ("500ms", 0.5), ("1.5m", 90), ("3", 3), (" 10 s ", 10), ("0", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert settings.duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1w", "1h30m", "1e3", "ten", "1 000", "1.s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="45s"):
        settings.duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64MiB", 64 * 2**20), ("1GiB", 2**30), ("2 kib", 2048), ("10B", 10), ("7", 7), ("1TiB", 2**40)],
)
def test_sizes(text: str, size: int) -> None:
    assert settings.size(text) == size


@pytest.mark.parametrize("text", ["", "64MB", "1.5GiB", "-1", "MiB", "1G"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="64MiB"):
        settings.size(text)


def test_words_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings.words("a, b,,c ") == ("a", "b", "c")
    assert settings.path("~/x") == tmp_path / "x"
    assert settings.path("x").is_absolute()


def test_nothing_set_is_everything_embedded(tmp_path: Path) -> None:
    found = settings.load({}, tmp_path)
    assert found.home.name == ".iacq"
    assert found.sqlalchemy_url == f"sqlite:///{found.home}/iacq.db"
    assert found.celery_broker_url == f"redis+socket://{found.home}/run/broker.sock"
    assert (found.lease, found.renew, found.plan_expires) == (45, 15, 604_800)
    assert found.work_root == found.home / "work"
    assert found.mirror == found.home / "providers"
    assert set(settings.sources({}, tmp_path).values()) == {"default"}


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text('IACQ_LEASE=10s\nIACQ_RENEW="3s"\nOTHER=1\nIACQ_ACTOR=\n')
    environment = {"IACQ_LEASE": "20s", "IACQ_MAX_SOURCE": "1MiB", "LEASE": "99s", "IACQ_HEARTBEAT": ""}
    found = settings.load(environment, tmp_path)
    assert (found.lease, found.renew, found.max_source, found.heartbeat) == (20, 3, 2**20, 5)
    assert found.actor is None
    sources = settings.sources(environment, tmp_path)
    assert sources["lease"] == sources["max_source"] == "environment"
    assert sources["renew"] == ".env"
    assert sources["heartbeat"] == sources["actor"] == "default"


def test_this_process_and_its_directory_are_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IACQ_LEASE", "7s")
    (tmp_path / ".env").write_text("IACQ_RENEW=2s\n")
    found = settings.load()
    assert (found.lease, found.renew) == (7, 2)


@pytest.mark.parametrize(
    ("variable", "value"), [("IACQ_LEASE", "soon"), ("IACQ_MAX_SOURCE", "much"), ("IACQ_DISK_FLOOR", "1 GB")]
)
def test_an_error_names_the_variable_and_the_value(tmp_path: Path, variable: str, value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        settings.load({variable: value}, tmp_path)
    assert caught.value.field == variable
    assert variable in caught.value.message
    assert repr(value) in caught.value.message
    (tmp_path / ".env").write_text(f"{variable}='{value}'\n")
    with pytest.raises(InvalidInput, match=variable):
        settings.load({}, tmp_path)


@pytest.mark.parametrize("url", ["nonsense", "mysql://u:hush@h/d", "postgresql:/u@h/d", "/var/iacq.db"])
def test_another_database_is_refused_without_its_password(tmp_path: Path, url: str) -> None:
    with pytest.raises(InvalidInput, match="expected postgresql://") as caught:
        settings.load({"IACQ_DATABASE_URL": url}, tmp_path)
    assert caught.value.field == "IACQ_DATABASE_URL"
    assert "hush" not in caught.value.message


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"IACQ_LEASE": "8s", "IACQ_RENEW": "60s"}, "IACQ_RENEW"),
        ({"IACQ_LEASE": "20s"}, "IACQ_RENEW"),
        ({"IACQ_HEARTBEAT": "60s"}, "IACQ_HEARTBEAT"),
        ({"IACQ_AGENT_OFFLINE": "1s"}, "IACQ_HEARTBEAT"),
    ],
)
def test_times_by_which_what_is_alive_counts_as_dead_are_refused(tmp_path: Path, given: Any, field: str) -> None:
    with pytest.raises(InvalidInput, match="taken for dead") as caught:
        settings.load(given, tmp_path)
    assert caught.value.field == field


def test_a_misspelt_setting_in_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("IACQ_DATABASE=postgresql://h/d\n")
    with pytest.raises(InvalidInput, match="no setting IACQ_DATABASE"):
        settings.load({}, tmp_path)
    (tmp_path / ".env").write_text("IACQ_NO_DOWNLOAD=1\nDATABASE=x\n")
    assert settings.load({}, tmp_path).database_url is None


def test_a_url_without_a_driver_means_the_one_that_is_brought(tmp_path: Path) -> None:
    for url in ("postgres://u:p@h/d", "postgresql://u:p@h/d", "postgresql+psycopg2://u:p@h/d"):
        assert settings.load({"IACQ_DATABASE_URL": url}, tmp_path).sqlalchemy_url == "postgresql+psycopg2://u:p@h/d"


def test_a_deep_home_has_a_short_socket_of_its_own(tmp_path: Path) -> None:
    deep = [settings.Settings(home=tmp_path / name / ("x" * 120)) for name in ("a", "b")]
    sockets = {found.broker_socket for found in deep}
    assert len(sockets) == 2
    assert all(len(str(socket)) < 100 for socket in sockets)
    assert deep[0].broker_socket == deep[0].broker_socket
