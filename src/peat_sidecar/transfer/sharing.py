"""Several workers share out items: the first error ends all of them and is raised as itself."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from peat_sidecar.errors import PeerUnavailable

T = TypeVar("T")


async def share(
    following: Callable[[], Awaitable[T | None]], work: Callable[[T], Awaitable[None]], workers: int
) -> None:
    """Works on so many items at once; whoever is free asks for the following one, None being the end.

    Of several errors at once one that is not the peer's silence is raised, since that one is not tried again.
    A cancel comes before all of them.
    """
    asking = asyncio.Lock()

    async def take() -> None:
        while True:
            async with asking:
                item = await following()
            if item is None:
                return
            await work(item)

    tasks = [asyncio.create_task(take()) for _ in range(workers)]
    cancelled = await _all_ended(tasks)
    errors = [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]
    if cancelled:
        raise asyncio.CancelledError
    if errors:
        raise next((error for error in errors if not isinstance(error, PeerUnavailable)), errors[0])


async def until(over: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Does work, or gives it up when it is over for another reason."""
    working = asyncio.ensure_future(work)
    ending = asyncio.ensure_future(over.wait())
    try:
        await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        await end([working, ending])


async def end(tasks: Iterable["asyncio.Future[Any]"]) -> None:
    """Cancels them and waits until they have ended, however often this is cancelled meanwhile: what they use
    is put away after this.
    """
    ending = list(tasks)
    for task in ending:
        task.cancel()
    cancelled = False
    while pending := [task for task in ending if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError:
            cancelled = True
    for task in ending:
        if not task.cancelled():
            task.exception()
    if cancelled:
        raise asyncio.CancelledError


async def _all_ended(tasks: list[asyncio.Task[None]]) -> bool:
    """Waits for all, which end at the first error or cancel; whether this was cancelled meanwhile.

    A task group would drop a cancel that comes while it ends because of an error.
    """
    pending = set(tasks)
    cancelled = ending = False
    while pending:
        try:
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
        except asyncio.CancelledError:
            cancelled = True
        if pending and not ending:
            ending = True
            for task in pending:
                task.cancel()
    return cancelled
