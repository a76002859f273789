"""A reactivex scheduler in virtual time."""

from __future__ import annotations

from datetime import datetime, timedelta

from reactivex.internal.constants import UTC_ZERO
from reactivex.scheduler.eventloop import AsyncIOScheduler

__all__ = ["VirtualScheduler"]


class VirtualScheduler(AsyncIOScheduler):
    """Schedules on a virtual loop, and reads its clock.

    reactivex's own asyncio schedulers read the wall clock, on purpose; in
    virtual time ``ops.delay`` would then never emit.
    """

    _ahead = 0.0

    @property
    def now(self) -> datetime:
        """The virtual time, counted from the start of 1970."""
        return UTC_ZERO + timedelta(seconds=self._loop.time() + self._ahead)

    def step(self, seconds: float) -> None:
        """Set the wall clock forward, or back, as time servers and people do.

        Timers that run are not touched: they go by the loop's clock, which never steps.
        """
        self._ahead += seconds
