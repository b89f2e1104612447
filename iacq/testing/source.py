"""A configuration that needs no files."""

from __future__ import annotations

from iacq.domain.configuration import Configuration
from iacq.domain.source import SourceLocation
from iacq.errors import InvalidInput
from iacq.ports import PackedSource, SourceFacts

PACKED = b"a packed configuration"


class FakeSource:
    """Implements `ports.Source`: the same configuration, whatever the location."""

    def __init__(self, facts: SourceFacts, *, packed: bytes = PACKED) -> None:
        """facts: what `look` says."""
        self.facts = facts
        self.packed = packed

    def look(self, location: SourceLocation) -> SourceFacts:
        """Say what the root module says. Raises InvalidInput for an empty location."""
        if not location.at:
            raise InvalidInput("there is no configuration", field="--path")
        return self.facts

    def pack(self, location: SourceLocation, *, limit: int) -> PackedSource:
        """Return the configuration. Raises InvalidInput if it is larger than `limit`."""
        facts = self.look(location)
        if len(self.packed) > limit:
            raise InvalidInput(f"{location.at} packs to more than {limit} bytes", field="--path")
        return PackedSource(data=self.packed, facts=facts)


def without_backend() -> SourceFacts:
    """Describe a configuration whose state iacq keeps, and that has none yet."""
    return SourceFacts(configuration=Configuration(backend=None, cloud=False), state=None)
