"""A program that uses a client, forks, and uses it in parent and children. Arguments: how many children, runs of each.

Settings come from the environment. Prints JSON: the parent's connections before and after, and those of the children.
"""

import json
import os
import sys
from pathlib import Path

import sqlalchemy as sa

from iacq.client import Client


def connections_of(client: Client) -> list[int]:
    """Name the pooled connections to the database by their other ends; SQLite has none."""
    database = client._core.database
    if database.is_sqlite:
        return [os.getpid()]
    question = sa.select(sa.func.pg_backend_pid())
    return sorted({database.read(lambda tx: tx.execute(question).scalar()) for _ in range(10)})


def open_files() -> list[str]:
    links = Path("/proc/self/fd").iterdir()
    return [os.readlink(link) for link in links if link.is_symlink()]


def main() -> None:
    children, runs = map(int, sys.argv[1:])
    client = Client.from_env()
    first = client.enqueue("it", "plan")
    before = connections_of(client)
    ends = []
    for number in range(children):
        read, write = os.pipe()
        if os.fork() == 0:
            assert not [name for name in open_files() if name.endswith((".db", ".db-wal", ".db-shm"))]
            for turn in range(runs):
                client.enqueue("it", "plan", idempotency_key=f"{number}-{turn}")
                assert client.get(first.id).id == first.id
            os.write(write, json.dumps(connections_of(client)).encode())
            sys.exit()  # with all that the end of a process finalizes
        os.close(write)
        ends.append(read)
        client.enqueue("it", "plan")
    for _ in range(children):
        assert os.wait()[1] == 0, "a child failed"
    theirs = [json.loads(os.read(end, 1000)) for end in ends]
    assert client.get(first.id).id == first.id
    print(json.dumps({"before": before, "after": connections_of(client), "children": theirs}))


if __name__ == "__main__":
    main()
