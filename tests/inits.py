"""`terraform init` as a phase runs it, through a slot's own directories and the machine's mirror, and nothing else."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from iacq.adapters.terraform.workshop import SlotWorkshop
from iacq.domain import terraform_commands
from iacq.ports import RunTree


@dataclass(frozen=True, kw_only=True)
class Initialized:
    tree: RunTree
    ways: tuple[str, ...]  # from where, in the order of the tries
    returncode: int
    output: str


def initialize(workshop: SlotWorkshop, name: str, packed: bytes) -> Initialized:
    """Unpack a source and initialize it."""
    tree = workshop.unpack_source(name, name, packed)
    terraform = Path(workshop.terraform(None)["path"])
    way, ways = workshop.init(tree, terraform, readonly_lock=False), []
    while True:
        ways.append(way.name)
        ended = subprocess.run(
            ["nice", terraform, *terraform_commands.init()],
            cwd=tree.path,
            env=workshop.environment(tree, {}, own_backend=False),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        if ended.returncode == 0:
            workshop.settle_init(tree)
        again = workshop.init_after(tree, way, [ended.stdout]) if ended.returncode else None
        if again is None:
            return Initialized(tree=tree, ways=tuple(ways), returncode=ended.returncode, output=ended.stdout)
        way = again
