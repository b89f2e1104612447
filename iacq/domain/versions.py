"""The numbers by which processes of neighbouring versions understand each other. They stand here and nowhere else.

While a system is upgraded, processes of two versions share a database and a broker. What one writes says which protocol
its reader must speak at least: each bell, and each run with all that is stored for it (inputs, plan, snapshot,
fingerprint). Each agent, each of its slots and each control worker says what it speaks. So an older process leaves
alone what it could not read, and a newer one finds it later.

Who changes a format adds one to PROTOCOL, and sets the number of what older processes cannot read any more to the new
PROTOCOL. Readers go on to read what was written one protocol before.
"""

from __future__ import annotations

PROTOCOL = 1
"""What this version speaks: it reads what needs this, or less."""

RUN_NEEDS = 1
"""The oldest protocol that reads what this version stores with a run."""

BELL_NEEDS = 1
"""The oldest protocol that understands the messages of this version."""


def too_old(protocol: int | None, demanded: int) -> str | None:
    """Say that a process cannot take part in a database that demands a newer one; None: it can.

    protocol: what it speaks; None: it did not say.
    """
    if (protocol or 0) >= demanded:
        return None
    return f"it speaks protocol {protocol or 0}, and the database demands {demanded}: it needs a newer iacq"
