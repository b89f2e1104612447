"""What the mirror knows of a package beside its files: its hash when it came, and which lock files accept it.

One JSON file for each package: {"h1": …, "files": [[name, device, …], …], "accepted": [[hash, …], …]}. Two processes
that write at once may lose an entry of `accepted`: that costs a download, and nothing else.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iacq.adapters.providers import packages

_MOST_ACCEPTED = 64
"""Lock files remembered for one package, newest last: whoever writes thousands must not slow every init."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """The record of one package. Its file need not exist yet."""

    package: Path
    file: Path

    def h1(self) -> str:
        """Return the hash of the package as it is now; read in full only if a file of it was touched.

        The first one is kept. Raises OSError.
        """
        stored = self._read()
        files = [[name, *stat] for name, stat in packages.files(self.package)]
        if stored is not None and stored["files"] == files:
            return str(stored["h1"])
        found = packages.h1(self.package)
        if stored is None:
            self._write({"h1": found, "files": files, "accepted": []})
        elif stored["h1"] == found:
            self._write({**stored, "files": files})
        return found

    def is_changed(self) -> bool:
        """Tell whether the package is not what it was when it came. Raises OSError."""
        now, stored = self.h1(), self._read()
        return stored is not None and stored["h1"] != now

    def accept(self, hashes: Collection[str]) -> None:
        """Note that terraform took this package where a lock file allowed these hashes only. Raises OSError."""
        stored = self._read()
        if stored is not None and sorted(hashes) not in stored["accepted"]:
            accepted = [*stored["accepted"], sorted(hashes)][-_MOST_ACCEPTED:]
            self._write({**stored, "accepted": accepted})

    def accepts(self, hashes: Collection[str]) -> bool:
        """Tell whether terraform would take this package where a lock file allows these hashes.

        One that allows at least what an accepting one did allows it too: any of its hashes is enough.
        """
        stored = self._read()
        return stored is not None and any(set(hashes) >= set(before) for before in stored["accepted"])

    def _read(self) -> dict[str, Any] | None:
        """Return what is stored; None: nothing, or something that was cut off by a crash."""
        try:
            stored = json.loads(self.file.read_text())
        except (OSError, ValueError):
            return None
        kinds = {"h1": str, "files": list, "accepted": list}
        sound = isinstance(stored, dict) and all(isinstance(stored.get(key), kind) for key, kind in kinds.items())
        return stored if sound else None

    def _write(self, stored: dict[str, Any]) -> None:
        """Replace the file at once: others may read it meanwhile."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=self.file.parent, prefix=".")
        with os.fdopen(handle, "w") as file:
            json.dump(stored, file)
        os.replace(temporary, self.file)
