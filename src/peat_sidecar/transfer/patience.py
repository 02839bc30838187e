"""How long a getter puts up with a peer that is slow, gone or failing; all that is gained renews it.

A wait for one that cannot be reached ends as soon as it is back. Where it then brings nothing after all, the
next such wait does not end as soon: something may answer at its address that cannot be dialled.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from peat_sidecar.errors import PeerUnavailable
from peat_sidecar.transfer.sharing import end

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 60.0
"""Dials with 9.8 KB each; that a peer is back shows sooner."""
GIVE_UP_SECONDS = 300.0
"""Without a byte gained; a peer that is rebooted is back by then."""
FRUITLESS_TRIES = 6
"""Answers in a row that brought nothing, from a peer that can be reached."""


class Patience:
    """One transfer's. Time is the event loop's."""

    def __init__(
        self,
        *,
        give_up_seconds: float = GIVE_UP_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._give_up_seconds = give_up_seconds
        self._sleep = sleep
        self._clock = clock or asyncio.get_running_loop().time
        self._since: float | None = None
        self._failed = 0
        self._fruitless = 0
        self._woken = 0
        """Waits in a row that have ended early."""

    def gained(self) -> None:
        """Bytes have come."""
        self._since, self._failed, self._fruitless, self._woken = None, 0, 0, 0

    async def bear(
        self,
        error: PeerUnavailable,
        *,
        reached: bool,
        returned: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """Waits before the next try, longer each time and never quite alike; raises the error at the end.
        `returned` waits until a peer that was not reached may be back.
        """
        now = self._clock()
        self._since = now if self._since is None else self._since
        self._failed += 1
        self._fruitless += reached
        if now - self._since >= self._give_up_seconds or self._fruitless >= FRUITLESS_TRIES:
            raise error
        seconds = _longest(self._failed) * random.uniform(0.5, 1.0)
        if reached or returned is None:
            await self._sleep(seconds)
        else:
            await self._until(returned, seconds)

    async def _until(self, returned: Callable[[], Coroutine[Any, Any, None]], seconds: float) -> None:
        if self._woken:
            soonest = min(seconds, _longest(self._woken))
            await self._sleep(soonest)
            seconds -= soonest
        sleeping, returning = asyncio.ensure_future(self._sleep(seconds)), asyncio.create_task(returned())
        try:
            await asyncio.wait((sleeping, returning), return_when=asyncio.FIRST_COMPLETED)
            self._woken += returning.done()
        finally:
            await end([sleeping, returning])


def _longest(times: int) -> float:
    return min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(times - 1, 10))
