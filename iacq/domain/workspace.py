"""A workspace: one Terraform configuration with its variables and its state."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from iacq.domain.source import SourceKind, SourceLocation
from iacq.errors import InvalidInput

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,49}")
DEFAULT_POOL = "default"


def check_name(name: str, *, field: str = "workspace") -> str:
    """Return `name`, which will become part of paths and queue names.

    Raises InvalidInput: anything but letters, digits, `_` and `-`, at most 50, starting with a letter or digit.
    """
    if not NAME.fullmatch(name):
        shown = ascii(name if len(name) <= 60 else name[:57] + "...")
        raise InvalidInput(
            f"{field} {shown} is not a valid name",
            field=field,
            hint="use letters, digits, '_' and '-', at most 50 of them, starting with a letter or digit",
        )
    return name


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """One row of `workspaces`."""

    name: str
    pool: str
    auto_apply: bool
    path: str | None = None  # absolute directory that is packed when a run is enqueued
    archive: str | None = None  # or an absolute file that is read then: tar (gz, xz, bz2) or zip
    git: str | None = None  # or a url that is fetched at each plan; one of the three
    ref: str | None = None  # of git: branch, tag or full commit id; None: the default branch
    subdir: str | None = None  # of the root module in the source; None: its root
    variables: Mapping[str, Any] = field(default_factory=dict)  # text as typed, or a JSON value
    var_files: tuple[str, ...] = ()  # absolute paths, read when a run is enqueued
    environment: Mapping[str, str] = field(default_factory=dict)
    secret_names: tuple[str, ...] = ()  # variables whose values are stored encrypted only
    secret_environment: tuple[str, ...] = ()  # the same of the environment
    terraform_version: str | None = None  # exact, of IACQ_TERRAFORM_VERSIONS; None: the machine's default
    plan_expires: int | None = None  # ms until an unconfirmed plan is discarded; None: the setting
    locked_by: str | None = None
    locked_reason: str | None = None
    locked_at: int | None = None  # ms
    created_at: int = 0  # ms
    updated_at: int = 0  # ms

    @property
    def source(self) -> SourceLocation:
        """Where the configuration comes from. Raises InvalidInput unless exactly one place is given."""
        given = {kind: at for kind in SourceKind if (at := getattr(self, kind)) is not None}
        if len(given) != 1:
            raise InvalidInput(
                f"a workspace has one source, and {len(given)} are given",
                field="--path",
                hint="give one of --path DIR, --archive FILE and --git URL",
            )
        [(kind, at)] = given.items()
        return SourceLocation(kind=kind, at=at, ref=self.ref, subdir=self.subdir)
