"""Blocking work in a thread, for tasks that may be cancelled: the thread cannot be, so it is waited for.

Without that, a writer would be closed under a thread that writes, and what a thread opens would be lost.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of the work; a cancel takes effect when the thread is done."""
    return await opened(lambda: work(*args, **kwargs), lambda _: None)


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """The result of work that is not broken off; a cancel takes effect when it is done."""
    working = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await _end(working)
        if not working.cancelled():
            working.exception()
        raise


async def opened(
    open_it: Callable[[], T], close: Callable[[T], object], stop: Callable[[], object] = lambda: None
) -> T:
    """What the work opens. When it is cancelled meanwhile, `stop` is called at once, and what was opened all
    the same is closed.
    """
    working = asyncio.ensure_future(asyncio.to_thread(open_it))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        stop()
        await _end(working)
        if working.exception() is None:
            await _end(asyncio.ensure_future(asyncio.to_thread(close, working.result())))
        raise


async def _end(working: "asyncio.Future[T]") -> None:
    """Waits for the thread, however often the task is cancelled."""
    while not working.done():
        try:
            await asyncio.wait({working})
        except asyncio.CancelledError:
            continue
