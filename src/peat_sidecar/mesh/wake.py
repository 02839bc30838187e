"""What a level-triggered loop sleeps on: set from any thread whenever something it looks at may have changed.

Changes that come while the loop is at work are not lost and not counted: it looks once more, at everything.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

Sleep = Callable[[float], Awaitable[None]]
_REST_SECONDS = 0.2
_LONGEST_REST_SECONDS = 2.0


def rest_seconds(took: float) -> float:
    """Between two looks at everything, after one that took so long: many changes come at once, and looks at
    thousands of packages leave four fifths of a processor to the work itself.
    """
    return min(_LONGEST_REST_SECONDS, max(_REST_SECONDS, 4 * took))


class Wake:
    """One loop's; made where that loop's event loop runs."""

    def __init__(self, sleep: Sleep = asyncio.sleep) -> None:
        self._loop = asyncio.get_running_loop()
        self._sleep = sleep
        self._event = asyncio.Event()
        self.is_waiting = False
        """Its loop has looked at everything, and nothing has changed since."""

    def set(self) -> None:
        """From any thread, and after the event loop has ended."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float | None = None) -> None:
        """Until something has changed, or that time is over."""
        self.is_waiting = not self._event.is_set()
        if seconds is None:
            await self._event.wait()
        elif self.is_waiting:
            await _first(self._event.wait(), self._sleep(max(0.0, seconds)))
        self.is_waiting = False
        self._event.clear()


async def _first(*waits: Awaitable[object]) -> None:
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
