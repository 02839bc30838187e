"""Time that only a test moves on."""

import asyncio
import heapq
import itertools


class ManualTime:
    """A clock, and a sleep that ends when the clock has been moved past it."""

    def __init__(self, start_seconds: float = 1000.0) -> None:
        self.now = start_seconds
        self.slept: list[float] = []
        """Every sleep that was asked for, in seconds."""
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._numbers), done))
        await done

    def advance(self, seconds: float) -> None:
        """Wakes whoever has slept enough."""
        self.now += seconds
        while self._sleepers and self._sleepers[0][0] <= self.now:
            done = heapq.heappop(self._sleepers)[2]
            if not done.done():
                done.set_result(None)

    @property
    def sleeping(self) -> int:
        """How many wait."""
        return sum(not done.done() for _, _, done in self._sleepers)
