"""Names of pods that iacq asks for: the pool's, and letters that nobody had before."""

from __future__ import annotations

import re
import secrets

_LETTERS = "bcdfghjkmnpqrstvwxz23456789"
"""Neither vowels nor what looks like something else: no words come out."""
_LENGTH = 5
_LONGEST_POOL = 30
"""Of a pool's name in a pod's: that is part of an agent's name and of a label with at most 63 letters."""


def make_name(pool: str) -> str:
    """Return a new name such as `default-x7k2q`, a DNS label. The row of the pod decides whether it was taken."""
    prefix = re.sub(r"[^a-z0-9]+", "-", pool.lower())[:_LONGEST_POOL].strip("-") or "pod"
    return f"{prefix}-{''.join(secrets.choice(_LETTERS) for _ in range(_LENGTH))}"
