"""Bounds silence: each step must move a byte within the stall time, however long the whole takes.

A step that stalls, or that another task interrupts, is cancelled. With Iroh's streams that is safe in one way
only: a cancelled read or write takes its bytes with it, so the direction is given up afterwards. Cancelling
frees the Rust future at once and with it the stream's lock, so that a stop or reset, which would block while
the step is pending, goes through within a millisecond.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
PROGRESS_BYTES = 2000
"""More than keep-alives and probes cost in a stall time, less than any link worth using carries in it."""
RENEWALS = 12
_LOOK_AT = 0.9
"""Of the stall time: just before it would be over."""


class Stalled(Exception):
    """The step moved nothing within the stall time."""


class Interrupted(Exception):
    """Another task ended the step."""


class _Renewal:
    """Puts the end of a wait off while bytes move."""

    def __init__(self, timeout: asyncio.Timeout, stall_seconds: float, moved: Callable[[], int]) -> None:
        self._timeout = timeout
        self._stall_seconds = stall_seconds
        self._moved = moved
        self._before = moved()
        self._left = RENEWALS
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(stall_seconds * _LOOK_AT, self._look)

    def end(self) -> None:
        self._timer.cancel()

    def _look(self) -> None:
        moved, self._left = self._moved(), self._left - 1
        if moved - self._before < PROGRESS_BYTES or self._left < 0 or self._timeout.expired():
            return
        self._before = moved
        self._timeout.reschedule(self._loop.time() + self._stall_seconds)
        self._timer = self._loop.call_later(self._stall_seconds * _LOOK_AT, self._look)


class Watchdog:
    """Watches one direction of one stream; one step at a time."""

    def __init__(self, stall_seconds: float | None) -> None:
        self.stall_seconds = stall_seconds
        self._pending: asyncio.Timeout | None = None
        self._interrupted = False
        self._idle: asyncio.Event | None = None

    async def watch(self, step: Coroutine[Any, Any, T], moved: Callable[[], int] | None = None) -> T:
        """The step's result; `Stalled` or `Interrupted` when it is cut off.

        A step that moves many bytes before it ends is given `moved`, a counter of bytes: each stall time in
        which that rises renews the wait, up to a limit, since other steps may be what it counts.
        """
        if self._pending is not None:
            step.close()
            raise RuntimeError("two tasks use one direction of a stream at the same time")
        try:
            async with asyncio.timeout(self.stall_seconds) as self._pending:
                if moved is None or self.stall_seconds is None:
                    return await step
                renewal = _Renewal(self._pending, self.stall_seconds, moved)
                try:
                    return await step
                finally:
                    renewal.end()
        except TimeoutError:
            if self._interrupted:
                raise Interrupted from None
            raise Stalled from None
        finally:
            self._pending = None
            self._interrupted = False
            if self._idle is not None:
                self._idle.set()

    async def interrupt(self) -> None:
        """Ends a pending step and returns when it has let go of the stream."""
        if self._pending is None:
            return
        self._interrupted = True
        if self._idle is None or self._idle.is_set():
            self._idle = asyncio.Event()
        if not self._pending.expired():
            self._pending.reschedule(0)
        await self._idle.wait()
