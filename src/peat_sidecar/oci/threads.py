"""Work that blocks on the disk, done in a thread and stopped when its task is cancelled."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """Ends the work of a cancelled task; nobody sees it."""


async def stoppable(work: Callable[[Callable[[], None]], T]) -> T:
    """Runs `work(check)` in a thread; it calls `check` between its steps, which raises once it is to stop.

    A cancelled task waits until the thread has stopped, so that nobody closes a file under it.
    """
    stop = threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Stopped

    running = asyncio.ensure_future(asyncio.to_thread(work, check))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # looked at, so that it is not reported as forgotten
        raise
