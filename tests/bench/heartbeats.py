"""`python -m tests.bench.heartbeats URL PODS EVERY`: say for these pods, every so many seconds, that they are there."""

import sys
import threading
import time

from iacq.store import pods
from iacq.store.session import Database
from tests.bench import fleets

_THREADS = 4


def main() -> None:
    url, number, every = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    database = Database(url, pool_size=_THREADS)
    for share in range(_THREADS):
        names = [fleets.pod_name(index) for index in range(share, number, _THREADS)]
        threading.Thread(target=_beat, args=(database, names, every), daemon=True).start()
    sys.stdin.read()  # until whoever started this closes it


def _beat(database: Database, names: list[str], every: float) -> None:
    """As the pods would: spread over time, each in transactions of its own."""
    began = time.monotonic()
    for count in range(sys.maxsize):
        due = began + count * every / len(names)
        threading.Event().wait(max(0.0, due - time.monotonic()))
        name = names[count % len(names)]
        if database.read(pods.is_registered, name, fleets.BOOT):
            database.run(pods.beat, name, fleets.BOOT)


if __name__ == "__main__":
    main()
