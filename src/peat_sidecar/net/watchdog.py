"""Bounds silence: each step must move a byte within the stall time, however long the whole takes.

A step that stalls, or that another task interrupts, is cancelled. With Iroh's streams that is safe in one way
only: a cancelled read or write takes its bytes with it, so the direction is given up afterwards. Cancelling
frees the Rust future at once and with it the stream's lock, so that a stop or reset, which would block while
the step is pending, goes through within a millisecond.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stalled(Exception):
    """The step moved nothing within the stall time."""


class Interrupted(Exception):
    """Another task ended the step."""


class Watchdog:
    """Watches one direction of one stream; one step at a time."""

    def __init__(self, stall_seconds: float | None) -> None:
        self.stall_seconds = stall_seconds
        self._pending: asyncio.Timeout | None = None
        self._interrupted = False
        self._idle: asyncio.Event | None = None

    async def watch(self, step: Coroutine[Any, Any, T]) -> T:
        """The step's result; `Stalled` or `Interrupted` when it is cut off."""
        if self._pending is not None:
            step.close()
            raise RuntimeError("two tasks use one direction of a stream at the same time")
        try:
            async with asyncio.timeout(self.stall_seconds) as self._pending:
                return await step
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
