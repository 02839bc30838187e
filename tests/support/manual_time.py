"""Time that moves when a test says so."""

import asyncio
import heapq
import itertools


class ManualTime:
    """A clock, and sleeps that end when it is moved past them."""

    def __init__(self, start: float = 1000.0) -> None:
        self.now = start
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def __call__(self) -> float:
        return self.now

    clock = __call__

    async def sleep(self, seconds: float) -> None:
        future = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), future))
        await future

    @property
    def due(self) -> list[float]:
        """In how many seconds somebody wants to be woken."""
        return sorted(at - self.now for at, _, future in self._sleepers if not future.done())

    @property
    def sleeping(self) -> int:
        """How many wait."""
        return len(self.due)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        while self._sleepers and self._sleepers[0][0] <= self.now:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
