"""Where symbolic links of a tree lead, decided from their texts alone."""

from __future__ import annotations

from collections.abc import Mapping

_MOST_LINKS = 40
"""Linux follows no more in one path (ELOOP)."""


def leads_outside(name: str, links: Mapping[str, str]) -> bool:
    """Tell whether following `name` leaves the tree: is absolute, climbs above the root, or goes in a circle.

    links: every symbolic link of the tree, name → target, names relative to its root. Links on the way are
    followed too: `a/b/../..` stays inside by its text alone, and leaves when `a/b` is a link to `..`.
    """
    left = name.split("/")[::-1]
    here: list[str] = []
    followed = 0
    while left:
        part = left.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not here:
                return True
            here.pop()
            continue
        here.append(part)
        target = links.get("/".join(here))
        if target is not None:
            followed += 1
            if target.startswith("/") or followed > _MOST_LINKS:
                return True
            here.pop()
            left.extend(target.split("/")[::-1])
    return False
