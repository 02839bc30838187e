"""What is done with records now and then: clocks are looked at again, nodes not heard of are forgotten."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from peat_sidecar.errors import PeatError
from peat_sidecar.ids import EndpointId
from peat_sidecar.records import Records

REVIEW_SECONDS = 60.0
_DAY_SECONDS = 86_400.0

_log = structlog.get_logger(__name__)


class Upkeep:
    """`run` drives it on the event loop."""

    def __init__(
        self,
        records: Records,
        sessions: Callable[[], frozenset[EndpointId]],
        *,
        forget_days: float,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`sessions`: who is connected, and so heard of."""
        self._records = records
        self._sessions = sessions
        self._forget_seconds = forget_days * _DAY_SECONDS
        self._sleep = sleep
        self._now = now
        self._clock = clock
        self._began = clock()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                await asyncio.to_thread(self._work, self._sessions())
            except PeatError as error:
                _log.warning("records cannot be looked after", error=str(error))
            await self._sleep(REVIEW_SECONDS)

    def _work(self, connected: frozenset[EndpointId]) -> None:
        for peer in connected:
            self._records.heard(peer)
        self._records.review()
        if self._clock() - self._began < _DAY_SECONDS:
            return  # it may have been off for long, or its clock wrong: first others are heard
        if forgotten := self._records.forget_unheard(self._now() - self._forget_seconds):
            _log.info("records of nodes that were not heard of are dropped", records=forgotten)
