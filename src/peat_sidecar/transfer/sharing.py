"""Several workers share out items: the first error ends all of them and is raised as itself."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from peat_sidecar.errors import PeerUnavailable

T = TypeVar("T")


async def share(
    following: Callable[[], Awaitable[T | None]], work: Callable[[T], Awaitable[None]], workers: int
) -> None:
    """Works on so many items at once; whoever is free asks for the following one, None being the end.

    Of several errors at once one that is not the peer's silence is raised, since that one is not tried again.
    """
    asking = asyncio.Lock()

    async def take() -> None:
        while True:
            async with asking:
                item = await following()
            if item is None:
                return
            await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(take())
    except BaseExceptionGroup as errors:
        raise _foremost(errors) from None


def _foremost(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    flat = [
        _foremost(error) if isinstance(error, BaseExceptionGroup) else error for error in errors.exceptions
    ]
    return next((error for error in flat if not isinstance(error, PeerUnavailable)), flat[0])
