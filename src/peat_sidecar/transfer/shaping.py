"""Limits at work: which hold now, and what really goes.

A getter asks its intake before it asks a peer for a part, and a provider its outlet before it writes a piece.
What really goes over a connection (headers, repetitions, acknowledgements, records) is read from its counters
a few times a second and charged as well, so that limits hold at the interface.
"""

import asyncio
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime

from peat_sidecar.classes import TransferClass
from peat_sidecar.net import Connection
from peat_sidecar.rate import Limits, Rates
from peat_sidecar.transfer.intake import LEAST_PART_BYTES, PART_SECONDS, Intake
from peat_sidecar.transfer.outlet import TRICKLE_BYTES_PER_SECOND, Outlet
from peat_sidecar.transfer.progress import Progress
from peat_sidecar.transfer.traffic import LOOK_SECONDS, Traffic

_WINDOW_LOOK_SECONDS = 0.5
_SETTLING_SECONDS = 2.5
"""After a change what had been let through before it may still go."""


class Shaper(Traffic):
    """All traffic, under the limits that hold now."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`clock` counts seconds, `now` is what time windows are told by."""
        super().__init__(clock, now)
        self.rates = Limits.parse({}).at(now())
        """Those that hold now."""
        self.limits = Limits.parse({})
        self._now = now
        self._timer: asyncio.TimerHandle | None = None
        self._settled_at = 0.0
        self._charged_at = 0.0
        if limits is not None:
            self.change(limits)

    def change(self, limits: Limits) -> None:
        """From now on these."""
        self.limits = limits
        self.budgets.change(limits.budgets, [connection for connection, _ in self.links])
        self.up.gate.share = self.down.gate.share = limits.share
        self.apply()

    def apply(self) -> None:
        """Looks at the time of day, and at what has gone."""
        before, self.rates = self.rates, self.limits.at(self._now())
        if self.rates != before:
            if self.answers or self.down.under_way:
                self._settled_at = self.clock() + _SETTLING_SECONDS
            self._set(self.rates)
        if not self.rates.are_none:
            self._charge()
        self.budgets.look((connection, tuple(link.passages)) for connection, link in self.links)
        self.up.pump()
        self.down.pump()
        self._look_again()

    @property
    def fills_links(self) -> bool:
        """Whether answers are under way, and no limit keeps them to a trickle."""
        rates = (rate for rate in (self.rates.up, self.rates.total) if rate is not None)
        return self.answers > 0 and min(rates, default=math.inf) >= TRICKLE_BYTES_PER_SECOND

    def intake(self, progress: Progress) -> Intake:
        """For a transfer of that class."""
        return Intake(self, progress)

    def outlet(self, connection: Connection) -> Outlet:
        """For an answer."""
        return Outlet(self, connection)

    def close(self) -> None:
        """Looks at nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        self.up.close()
        self.down.close()

    def _set(self, rates: Rates) -> None:
        now = self.clock()
        self.up.ask_again()
        self.down.ask_again()
        self.total.bucket.change(rates.total, now)
        for lane, rate in ((self.up, rates.up), (self.down, rates.down)):
            lane.gate.limit(rate, now)
            for peer in {*lane.gate.limited_peers, *rates.peers}:
                lane.gate.limit_peer(peer, rates.peers.get(peer), now)  # type: ignore[call-overload]
        for each in TransferClass:
            self.down.gate.limit_class(each, rates.classes.get(each), now)
        for passage in tuple(self.down.under_way):
            rate = self.down.gate.tightest(passage.flow)
            if rate is not None and passage.outstanding > 2 * max(LEAST_PART_BYTES, rate * PART_SECONDS):
                passage.over.set()

    def _charge(self) -> None:
        now = self.clock()
        is_settled = now >= self._settled_at
        seconds, self._charged_at = min(now - self._charged_at, 1.0) / max(1, len(self.links)), now
        for connection, link in self.links:
            if is_settled:
                link.charge(connection, self.up, self.down, seconds)
            else:
                link.begin(connection)

    def _look_again(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        counts = not self.rates.are_none or self.limits.budgets.ask_for_paths
        if self.limits.have_windows or counts:
            seconds = LOOK_SECONDS if counts else _WINDOW_LOOK_SECONDS
            self._timer = asyncio.get_running_loop().call_later(seconds, self.apply)
