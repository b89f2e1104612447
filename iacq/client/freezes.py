"""Say when nothing runs in a pool."""

from __future__ import annotations

from collections.abc import Sequence

from iacq.client.base import Base
from iacq.domain import fields
from iacq.services import freeze_changes, freeze_views
from iacq.services.freeze_changes import DEFAULT_ZONE, NewWindow, Until
from iacq.services.freeze_views import Preview, Shown
from iacq.store.freezes import PoolFreezes


class FreezeCalls(Base):
    """Calls about freezes."""

    def freezes(self, pool: str | None = None) -> Sequence[Shown]:
        """Return what freezes a pool, or each of them, with what was changed last. Raises NotFound."""
        return freeze_views.listed(self._core, freeze_changes.names(self._core, [] if pool is None else [pool]))

    def preview_freezes(self, pool: str, *, days: int = 7) -> Preview:
        """Say when a pool will be frozen, from now on. Raises NotFound, InvalidInput."""
        return freeze_views.preview(self._core, pool, days=fields.whole(days, "--days"))

    def add_freeze_window(self, pool: str, window: NewWindow, *, by: str | None = None) -> PoolFreezes:
        """Add a window to a pool; in force at once. Raises InvalidInput, NotFound, Conflict."""
        return freeze_changes.add_window(self._core, pool, window, by=self._who(by))

    def remove_freeze_window(self, pool: str, name: str, *, by: str | None = None) -> PoolFreezes:
        """Remove a window from a pool. Raises NotFound."""
        return freeze_changes.remove_window(self._core, pool, name, by=self._who(by))

    def freeze(
        self, pool: str, *, reason: str, until: str | None = None, zone: str = DEFAULT_ZONE, by: str | None = None
    ) -> PoolFreezes:
        """Freeze a pool now, which ends a bypass. until: `2h`, or a date and time by the clocks of `zone`; None: until
        it is lifted. Raises InvalidInput, NotFound.
        """
        end = None if until is None else Until(text=fields.text(until, "until"), zone=zone)
        said = fields.text(reason, "reason")
        return freeze_changes.freeze_now(self._core, pool, until=end, reason=said, by=self._who(by))

    def lift_freeze(self, pool: str, *, reason: str, by: str | None = None) -> PoolFreezes:
        """End a freeze by hand. Raises InvalidInput, NotFound, and Conflict if there is none."""
        return freeze_changes.lift(self._core, pool, reason=fields.text(reason, "reason"), by=self._who(by))

    def bypass_freeze(
        self, pool: str, *, until: str, reason: str, zone: str = DEFAULT_ZONE, by: str | None = None
    ) -> PoolFreezes:
        """Lift whatever freezes a pool until then (see `freeze`); it is kept who did it. Raises as `freeze` does."""
        end = Until(text=fields.text(until, "until"), zone=zone)
        said = fields.text(reason, "reason")
        return freeze_changes.bypass(self._core, pool, until=end, reason=said, by=self._who(by))
