"""What the tests stand on, tested: databases are fresh, waiting ends, processes are found."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
import sqlalchemy

from tests import processes, servers
from tests.waiting import wait_until


def make_table(url: str) -> None:
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE things (id integer PRIMARY KEY)"))
    engine.dispose()


@pytest.fixture(scope="module")
def server() -> Iterator[servers.Postgres]:
    with servers.Postgres(make_table) as server:
        yield server


def things(url: str, statement: str) -> int:
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.begin() as connection:
            return connection.execute(sqlalchemy.text(statement)).rowcount
    finally:
        engine.dispose()


def test_each_database_is_fresh_and_migrated(server):
    with server.database() as one, server.database() as two:
        assert things(one, "INSERT INTO things VALUES (1), (2)") == 2
        assert things(two, "INSERT INTO things VALUES (1)") == 1


def test_a_database_is_dropped_whoever_is_connected(server):
    with server.database() as url:
        connection = psycopg2.connect(url.replace("+psycopg2", ""))
    with pytest.raises(psycopg2.OperationalError):
        connection.cursor().execute("SELECT 1")
    connection.close()


def test_a_wrong_password_is_refused(server):
    with server.database() as url, pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(url.replace("+psycopg2", "").replace(":", ":x", 2).replace(":x//", "://", 1))


def test_a_server_leaves_nothing(tmp_path):
    with servers.Postgres(lambda url: None) as server:
        directory = server._directory
        running = processes.working_in(directory)
    assert len(running) > 3
    assert not directory.exists()
    assert not [process for process in running if processes.is_alive(process.pid)]


def test_a_failing_migration_leaves_nothing():
    def fail(url: str) -> None:
        raise ValueError("no such table")

    server = servers.Postgres(fail)
    with pytest.raises(ValueError, match="no such table"), server:
        pass
    assert not server._directory.exists()
    assert not processes.working_in(server._directory)


def test_waiting_returns_what_it_waited_for():
    answers = iter([None, 0, "yes"])
    assert wait_until(lambda: next(answers)) == "yes"


def test_waiting_ends_and_says_for_what():
    with pytest.raises(AssertionError, match=r"waited 0\.2 s for: rain; the last answer was \[\]"):
        wait_until(list, timeout=0.05, what="rain")


def test_processes_are_found_by_family_and_by_directory(tmp_path):
    script = "sleep 600 & echo $!; wait"
    with subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, text=True) as shell:
        assert shell.stdout
        sleeper = int(shell.stdout.readline())
        assert sleeper in {process.pid for process in processes.descendants(os.getpid())}
        assert sleeper in {process.pid for process in processes.working_in(Path.cwd())}
        assert sleeper in {process.pid for process in processes.descendants(shell.pid)}
        os.kill(sleeper, signal.SIGKILL)
    assert not processes.is_alive(sleeper)
    assert processes.look(sleeper) is None


def test_each_test_has_a_home_of_its_own(home, tmp_path):
    assert os.environ["IACQ_HOME"] == str(home)
    assert Path.home() == tmp_path / "user"
    assert Path.cwd() == tmp_path
    assert not [name for name in os.environ if name.startswith("IACQ_") and name != "IACQ_HOME"]


def test_the_broker_is_empty(broker_url):
    import redis

    with redis.Redis(unix_socket_path=broker_url.removeprefix("redis+socket://")) as client:
        assert client.dbsize() == 0
        client.set("a", "b")


test_the_broker_is_empty_again = test_the_broker_is_empty


def test_the_database_has_the_schema(database_url):
    from iacq.store import migrate

    assert migrate.is_current(database_url)
