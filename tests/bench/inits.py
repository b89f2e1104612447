"""How long fifty inits take that run at once: into an empty mirror of iacq's, out of it, and by hand without it."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from iacq.adapters.sources import source_tree
from iacq.adapters.terraform.workshop import SlotWorkshop
from iacq.domain.provider_lock import LOCK_FILE
from iacq.settings import Settings
from tests.bench import providers
from tests.bench.figure import Figure
from tests.bench.system import Space
from tests.inits import initialize

_TIMES = 50


def measure(space: Space) -> Iterator[Figure]:
    packed = providers.null(space.directory / "packed")
    settings = Settings(
        home=space.directory / "home", terraform=str(providers.terraform()), provider_source=packed, max_source=2**20
    )
    environ = {"PATH": os.environ["PATH"], "HOME": str(space.directory)}
    workshops = [SlotWorkshop(settings, "pod", slot, environ) for slot in range(1, _TIMES + 1)]
    source = space.directory / "source"
    source.mkdir()
    for name, text in providers.NULL_FILES.items():
        (source / name).write_text(text)

    def through_iacq(name: str, archive: bytes) -> float:
        def one(number: int) -> None:
            done = initialize(workshops[number], f"{name}-{number}", archive)
            if done.returncode != 0:
                raise RuntimeError(done.output)
            if number == 0:
                (source / LOCK_FILE).write_bytes((done.tree.tree / LOCK_FILE).read_bytes())

        return _seconds(one)

    first = through_iacq("first", source_tree.pack(source, limit=settings.max_source).data)
    again = through_iacq("again", source_tree.pack(source, limit=settings.max_source).data)
    rc = space.directory / "by-hand.rc"
    rc.write_text(f'provider_installation {{\n  filesystem_mirror {{ path = "{packed}" }}\n}}\n')

    def by_hand(number: int) -> None:
        directory = space.directory / f"hand-{number}"
        directory.mkdir()
        for file in source.iterdir():
            (directory / file.name).write_bytes(file.read_bytes())
        subprocess.run(
            ["nice", providers.terraform(), "init", "-input=false"],
            cwd=directory,
            env={**environ, "TF_CLI_CONFIG_FILE": str(rc), "CHECKPOINT_DISABLE": "1"},
            stdout=subprocess.DEVNULL,
            check=True,
        )

    yield Figure(name="inits_50_empty_mirror", value=first, unit="s", goal=None)
    yield Figure(name="inits_50_from_mirror", value=again, unit="s", goal=None)
    yield Figure(name="inits_50_by_hand", value=_seconds(by_hand), unit="s", goal=None)


def _seconds(one: Callable[[int], None]) -> float:
    """Run it for each number at once, and return the time until all are done."""
    with ThreadPoolExecutor(_TIMES) as pool:
        began = time.monotonic()
        list(pool.map(one, range(_TIMES)))
        return time.monotonic() - began
