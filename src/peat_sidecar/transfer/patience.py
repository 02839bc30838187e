"""How long a getter puts up with a peer that is slow, gone or failing; all that is gained renews it."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from peat_sidecar.errors import PeerUnavailable

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 15.0
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

    def gained(self) -> None:
        """Bytes have come."""
        self._since, self._failed, self._fruitless = None, 0, 0

    async def bear(self, error: PeerUnavailable, *, reached: bool) -> None:
        """Waits before the next try, longer each time and never quite alike; raises the error at the end."""
        now = self._clock()
        self._since = now if self._since is None else self._since
        self._failed += 1
        self._fruitless += reached
        if now - self._since >= self._give_up_seconds or self._fruitless >= FRUITLESS_TRIES:
            raise error
        longest = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2 ** min(self._failed - 1, 10))
        await self._sleep(longest * random.uniform(0.5, 1.0))
