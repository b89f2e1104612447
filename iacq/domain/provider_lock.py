"""The dependency lock file of a configuration, and from where its providers are installed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from iacq.domain import hcl

LOCK_FILE = ".terraform.lock.hcl"


class Installation(StrEnum):
    """From where `terraform init` takes providers. The mirror is iacq's own, the source everything else."""

    MIRROR_ONLY = "mirror_only"  # asks no registry, copies nothing
    SOURCE_ONLY = "source_only"
    MIRROR_THEN_SOURCE = "mirror_then_source"


@dataclass(frozen=True, kw_only=True)
class Pin:
    """One provider package, exactly."""

    address: str  # HOST/NAMESPACE/TYPE
    version: str
    h1: str  # terraform's hash of the unpacked package, `h1:…`


@dataclass(frozen=True, kw_only=True)
class Locked:
    """One provider in a lock file."""

    address: str  # HOST/NAMESPACE/TYPE
    version: str
    hashes: tuple[str, ...]  # `h1:…` of unpacked packages, `zh:…` of archives, of any platform

    @property
    def judged(self) -> tuple[str, ...]:
        """The hashes of kinds that terraform knows: where it knows none, it takes any package."""
        return tuple(entry for entry in self.hashes if entry.startswith(("h1:", "zh:")))


def parse(text: str) -> tuple[Locked, ...]:
    """Read a lock file. What is broken is left out: terraform complains about it."""
    found = []
    for block in hcl.blocks(text, "provider"):
        values = hcl.attributes(block.body)
        version = hcl.string(values.get("version", ""))
        if block.labels and version:
            hashes = hcl.strings(values.get("hashes", ""))
            found.append(Locked(address=block.labels[0], version=version, hashes=hashes))
    return tuple(found)


def choose(locked: Iterable[Locked], mirrored: Callable[[Locked], str | None]) -> Installation:
    """Choose from where to install. `mirrored`: h1 of the mirror's package of that version; None: no such.

    A lock file that was written on another platform may know a version by its archive only. Terraform accepts
    the archive then, and refuses the mirror's unpacked package, even with the source behind it.
    """
    hashes = [(entry, mirrored(entry)) for entry in locked]
    if any(h1 is not None and h1 not in entry.hashes for entry, h1 in hashes):
        return Installation.SOURCE_ONLY
    if hashes and all(h1 is not None for _, h1 in hashes):
        return Installation.MIRROR_ONLY
    return Installation.MIRROR_THEN_SOURCE


def complete(text: str, known: Mapping[Locked, str]) -> str:
    """Add to entries of a lock file the h1 of a package that they accept, as terraform does after it installed it.

    known: entry of the same text → `h1:…`. Everything else stays as it is written.
    """
    for block in hcl.blocks(text, "provider"):
        for entry in parse(block.text):
            if entry in known:
                text = text.replace(block.text, _with_hash(block, entry, known[entry]), 1)
    return text


def _with_hash(block: hcl.Block, entry: Locked, h1: str) -> str:
    for statement in hcl.statements(block.body):
        if isinstance(statement, hcl.Attribute) and statement.name == "hashes":
            listed = "".join(f'    "{known}",\n' for known in sorted({*entry.hashes, h1}))
            return block.text.replace(statement.text, f"hashes = [\n{listed}  ]", 1)
    return block.text


def retry_after(installation: Installation, errors: Iterable[str]) -> Installation | None:
    """Return from where to try again after a failed init; None: not at all.

    errors: texts of its errors. A lock file need not list every provider: the mirror may lack one that the
    configuration has come to require since.
    """
    if installation is Installation.MIRROR_ONLY and any("provider" in error.lower() for error in errors):
        return Installation.MIRROR_THEN_SOURCE
    return None
