"""The versions of terraform that workspaces can name: `DIRECTORY/VERSION/terraform` or `DIRECTORY/VERSION/tofu`."""

from __future__ import annotations

import os
from pathlib import Path

from iacq.adapters.terraform import binary
from iacq.domain import terraform_version
from iacq.errors import InvalidInput, Unavailable
from iacq.settings import Settings

NOT_THERE = "terraform_version"
"""Code of the error of a run whose version is not there."""


def listed(settings: Settings) -> dict[str, Path]:
    """Return version → program, oldest first; nothing if the setting names no directory that is here."""
    directory = settings.terraform_versions
    if directory is None or not directory.is_dir():
        return {}
    found = {entry.name: _program(entry) for entry in directory.iterdir() if terraform_version.is_exact(entry.name)}
    programs = {version: program for version, program in found.items() if program is not None}
    return dict(sorted(programs.items(), key=lambda entry: terraform_version.order(entry[0])))


def find(settings: Settings, version: str | None) -> Path:
    """Return the program of a version; None: the default one. Raises Unavailable that lists those that are there."""
    if version is None:
        return binary.find(settings)
    programs = listed(settings)
    if version not in programs:
        raise Unavailable(_missing(settings, version, programs), hint=_hint(settings, version), code=NOT_THERE)
    program = programs[version]
    said = binary.version(program)
    if said != version:
        raise Unavailable(
            f"{program} says that it is {said}, its directory says {version}",
            hint="put each program into the directory of its own version",
            code=NOT_THERE,
        )
    return program


class InstalledVersions:
    """Implements `ports.TerraformVersions`."""

    def __init__(self, settings: Settings) -> None:
        """settings: whose directory is looked at each time."""
        self._settings = settings

    def check(self, version: str) -> None:
        """Raise InvalidInput if the directory can be seen from here and lacks the version."""
        directory = self._settings.terraform_versions
        if directory is None or not directory.is_dir():
            return  # pods have it, this place need not
        programs = listed(self._settings)
        if version not in programs:
            raise InvalidInput(
                _missing(self._settings, version, programs),
                field="--terraform-version",
                hint=_hint(self._settings, version),
            )


def _program(directory: Path) -> Path | None:
    programs = (directory / name for name in binary.PROGRAMS)
    return next((path for path in programs if path.is_file() and os.access(path, os.X_OK)), None)


def _missing(settings: Settings, version: str, programs: dict[str, Path]) -> str:
    if settings.terraform_versions is None:
        return f"terraform {version} is wanted, and IACQ_TERRAFORM_VERSIONS is not set here"
    return f"there is no terraform {version} in {settings.terraform_versions}: {', '.join(programs) or 'it has none'}"


def _hint(settings: Settings, version: str) -> str:
    directory = settings.terraform_versions or "DIRECTORY"
    return f"install it as {directory}/{version}/terraform (or tofu), or let the workspace name another version"
