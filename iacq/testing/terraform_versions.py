"""Versions of terraform without any program."""

from __future__ import annotations

from iacq.errors import InvalidInput


class FakeTerraformVersions:
    """Implements `ports.TerraformVersions` with a list."""

    def __init__(self, *versions: str) -> None:
        """versions: exact ones that are there."""
        self._versions = versions

    def check(self, version: str) -> None:
        """Refuse what is not in the list."""
        if version not in self._versions:
            raise InvalidInput(
                f"there is no terraform {version}: {', '.join(self._versions)}", field="--terraform-version"
            )
