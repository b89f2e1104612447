"""What the walk calls of the product, so that a mutant can call something else."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from iacq.services import cleaning, confirming
from iacq.services.recovering import LeaseWatch
from iacq.testing.keeper import ScriptedKeeper
from tests.walk.database import Replaced

NOTHING: Mapping[Any, Any] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Product:
    """The real one, unless something is replaced in it."""

    steps: Replaced = field(default_factory=lambda: NOTHING)  # transactions that are run instead of others
    confirm: Callable[..., Any] = confirming.confirm
    clean: Callable[..., int] = cleaning.remove_work_dirs
    watch: Callable[[], LeaseWatch] = LeaseWatch
    keeper: Callable[..., ScriptedKeeper] = ScriptedKeeper


REAL = Product()
