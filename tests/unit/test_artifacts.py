"""The contract of `ports.ArtifactStore`. Another implementation joins by one more parameter of `store`."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from iacq.adapters.artifacts_files import FileArtifacts
from iacq.errors import NotFound
from iacq.ports import ArtifactStore
from iacq.store.blobs import PART, DatabaseArtifacts
from iacq.store.session import Database
from iacq.testing.storage import MemoryArtifacts

Request = pytest.FixtureRequest
MAKERS: dict[str, Callable[[Request], ArtifactStore]] = {
    "fake": lambda _request: MemoryArtifacts(),
    "files": lambda request: FileArtifacts(request.getfixturevalue("tmp_path") / "artifacts"),
    "sqlite": lambda request: DatabaseArtifacts(Database(request.getfixturevalue("sqlite_url"))),
    "postgresql": lambda request: DatabaseArtifacts(Database(request.getfixturevalue("postgres_url"))),
}


@pytest.fixture(params=MAKERS)
def store(request: Request) -> ArtifactStore:
    return MAKERS[request.param](request)


class TestArtifactStore:
    @pytest.mark.parametrize("data", [b"", b"\0\xff", os.urandom(9 * 2**20 + 1)], ids=["empty", "binary", "large"])
    def test_returns_what_was_put(self, store: ArtifactStore, data: bytes) -> None:
        store.put("runs/42/plan", data)
        assert store.get("runs/42/plan") == data

    def test_keys_are_apart(self, store: ArtifactStore) -> None:
        store.put("runs/4/plan", b"4")
        store.put("runs/42/plan", b"42")
        store.put("runs/42/plan.json", b"json")
        assert store.get("runs/4/plan") == b"4"
        assert store.get("runs/42/plan") == b"42"

    def test_put_again_replaces(self, store: ArtifactStore) -> None:
        store.put("runs/42/plan", b"a long first one")
        store.put("runs/42/plan", b"second")
        assert store.get("runs/42/plan") == b"second"

    def test_several_are_stored_and_replaced_at_once(self, store: ArtifactStore) -> None:
        store.put("runs/42/plan", bytes(2 * PART + 1))
        sealed = {"runs/42/plan": b"short", "runs/42/diff": b"", "runs/7/plan": os.urandom(9 * PART)}
        store.put_all(sealed)
        assert {key: store.get(key) for key in sealed} == sealed

    @pytest.mark.parametrize("key", ["runs/42/plan", "runs/42", "runs", "runs/42/plan/deeper"])
    def test_what_is_not_there_is_not_found(self, store: ArtifactStore, key: str) -> None:
        with pytest.raises(NotFound, match=key):
            store.get(key)
        store.put("runs/42/other", b"x")
        with pytest.raises(NotFound, match=key):
            store.get(key)

    def test_delete_forgets_and_may_be_repeated(self, store: ArtifactStore) -> None:
        store.put("runs/42/plan", b"x")
        store.put("runs/42/state", b"y")
        store.delete("runs/42/plan")
        store.delete("runs/42/plan")
        store.delete("never/there")
        with pytest.raises(NotFound):
            store.get("runs/42/plan")
        assert store.get("runs/42/state") == b"y"
        store.put("runs/42/plan", b"again")
        assert store.get("runs/42/plan") == b"again"

    def test_what_lies_below_a_directory_is_listed(self, store: ArtifactStore) -> None:
        keys = [
            "runs/4/plan-1",
            "runs/42/Plan-1",
            "runs/42/lock-2",
            "runs/42/plan-1",
            "runs/42-1/plan",
            "runs/420/plan",
        ]
        for key in keys:
            store.put(key, os.urandom(3))
        assert store.keys("runs/42") == keys[1:4]
        store.delete("runs/42/lock-2")
        assert store.keys("runs/42") == [keys[1], keys[3]]
        assert store.keys("runs/43") == []

    def test_a_reader_sees_whole_values_only(self, store: ArtifactStore) -> None:
        values = {bytes([number]) * 50_000 for number in range(20)}
        store.put("k", bytes(50_000))

        def write() -> None:
            for value in values:
                store.put("k", value)

        writers = [threading.Thread(target=write) for _ in range(2)]
        for writer in writers:
            writer.start()
        seen = set()
        while any(writer.is_alive() for writer in writers):
            seen.add(store.get("k"))
        for writer in writers:
            writer.join()
        assert seen <= values | {bytes(50_000)}
