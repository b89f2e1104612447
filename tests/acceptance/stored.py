"""All bytes that a system keeps."""

import subprocess
from pathlib import Path

from iacq.store.schema import metadata
from tests.acceptance.system import System


def everything_stored(system: System) -> bytes:
    """Return the bytes of the database and of all that is kept beside it, but for the directories of runs."""
    url = system.settings.sqlalchemy_url
    if url.startswith("sqlite"):
        # By another process: one that closes a file of SQLite loses its own locks on it.
        files = Path(url.removeprefix("sqlite:///")).parent.glob("iacq.db*")
        stored = subprocess.run(["cat", *files], check=True, capture_output=True).stdout
    else:
        with system.database.transaction(reading=True) as tx:
            rows = [row for table in metadata.sorted_tables for row in tx.execute(table.select())]
        stored = b"\n".join(
            bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
            for row in rows
            for value in row
        )
    assert b"iacq_workspaces" in stored or b"default" in stored
    kept = [system.home / "artifacts", system.home / "log", system.home / "b"]
    return b"".join([stored, *(file.read_bytes() for root in kept for file in root.rglob("*") if file.is_file())])
