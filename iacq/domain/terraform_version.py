"""Versions of terraform and OpenTofu: which iacq can work with, and how a workspace names one."""

from __future__ import annotations

import re

from iacq.errors import InvalidInput

MINIMUM = "1.0.0"
"""Older ones lack what a run needs: `plan -json` and `apply -json` with all their events."""

_EXACT = re.compile(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})(?:-[0-9A-Za-z][0-9A-Za-z.-]{0,30})?")


def check(text: str, *, field: str = "--terraform-version") -> str:
    """Return an exact, supported version, which becomes part of a path. Raises InvalidInput."""
    if not _EXACT.fullmatch(text):
        shown = ascii(text if len(text) <= 40 else text[:37] + "...")
        raise InvalidInput(
            f"{shown} is not an exact version of terraform",
            field=field,
            hint="write one such as 1.5.7; a constraint (~> 1.5) belongs into required_version of the configuration",
        )
    if not is_supported(text):
        raise InvalidInput(f"terraform {text} is too old", field=field, hint=f"iacq needs {MINIMUM} or newer")
    return text


def is_exact(text: str) -> bool:
    """Tell whether this names one version."""
    return _EXACT.fullmatch(text) is not None


def is_supported(version: str) -> bool:
    """Tell whether a program that says this version can be used; one that cannot be read is tried."""
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    return found is None or order(found[0]) >= order(MINIMUM)


def order(version: str) -> tuple[tuple[int, ...], bool, str]:
    """Return what exact versions are sorted by; a pre-release comes before its release."""
    numbers, _, label = version.partition("-")
    return tuple(int(number) for number in numbers.split(".")), not label, label
