"""Looks for members that hold what is wanted here and that there is no session with, and dials each as soon
as it is back: the dials that are made anyhow come once a minute in the end. Nobody else is looked for.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable

from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.mesh.redial import Backoff, Sleep
from peat_sidecar.net import Returns

SOUGHT = 64
"""At once."""


class Seeking:
    """One task for each of them, on one event loop."""

    def __init__(
        self,
        returns: Returns,
        dial: Callable[[EndpointId], Awaitable[object]],
        *,
        sleep: Sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._returns = returns
        self._dial = dial
        self._sleep = sleep
        self._jitter = jitter
        self._tasks: dict[EndpointId, asyncio.Task[None]] = {}
        self._wanted: dict[EndpointId, PeerAddress] = {}

    def seek(self, peers: Iterable[PeerAddress]) -> None:
        """These from now on, as far as they are not too many, and no others any more."""
        self._wanted = {peer.endpoint_id: peer for peer in peers if peer.addresses}
        for id in self._tasks.keys() - self._wanted.keys():
            self._tasks.pop(id).cancel()
        for id, peer in self._wanted.items():
            if id in self._tasks:
                self._returns.moved(peer)
            elif len(self._tasks) < SOUGHT:
                self._tasks[id] = asyncio.create_task(self._search(id), name="seek a member")

    def moved(self, peer: PeerAddress) -> None:
        """It is said to be elsewhere."""
        if peer.endpoint_id in self._wanted:
            self._wanted[peer.endpoint_id] = peer
        self._returns.moved(peer)

    async def close(self) -> None:
        """Ends all of them."""
        tasks = list(self._tasks.values())
        self.seek(())
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _search(self, id: EndpointId) -> None:
        """What answers there may not be it, or not let this node in: each dial puts off the next one."""
        backoff = Backoff(self._jitter)
        while True:
            await self._returns.wait(self._wanted[id])
            await self._dial(id)
            await self._sleep(backoff.next())
