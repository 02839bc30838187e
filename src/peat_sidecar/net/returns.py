"""Waits for peers that are gone, and ends all waits for one as soon as it is back.

It is back when it connects, when anybody here has reached it, or when it answers a probe; after a change of
this machine's network it may be. Each peer that somebody waits for is probed by one task, however many wait,
and nobody else is. A probe has 51 bytes, so every four seconds they are 1 % of 10 kbit/s; a link that is
slower than that carries no handshake within the time of a dial.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from peat_sidecar.ids import EndpointId, PeerAddress

PROBE_SECONDS = 4.0

Answers = Callable[[PeerAddress, float], Awaitable[bool]]


@dataclass(slots=True, eq=False)
class _Lost:
    """A peer that is waited for."""

    peer: PeerAddress
    """Where it is probed."""
    back: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    probing: asyncio.Task[None] | None = None


class Returns:
    """Lives on one event loop."""

    def __init__(self, answers: Answers, *, jitter: Callable[[], float] = random.random) -> None:
        """`answers` says whether a peer does, after that many seconds at most; `jitter` gives 0 to 1."""
        self._answers = answers
        self._jitter = jitter
        self._lost: dict[EndpointId, _Lost] = {}

    @property
    def awaited(self) -> frozenset[EndpointId]:
        """Who is waited for."""
        return frozenset(self._lost)

    def heard(self, peer: EndpointId) -> None:
        """It is there."""
        if (lost := self._lost.get(peer)) is not None:
            lost.back.set()

    def moved(self, peer: PeerAddress) -> None:
        """It is said to be elsewhere; whoever waits for it has it probed there from now on."""
        if (lost := self._lost.get(peer.endpoint_id)) is not None:
            lost.peer = peer

    def network_changed(self) -> None:
        """Everybody may be there again."""
        for peer in self._lost:
            self.heard(peer)

    async def wait(self, peer: PeerAddress) -> None:
        """Until it may be back. That it answers does not mean that it can be dialled: wait in between."""
        lost = self._lost.setdefault(peer.endpoint_id, _Lost(peer))
        if lost.probing is None:
            lost.probing = asyncio.create_task(self._probe(lost), name="look for a lost peer")
        lost.waiting += 1
        try:
            await lost.back.wait()
        finally:
            lost.waiting -= 1
            if self._lost.get(peer.endpoint_id) is lost and (lost.back.is_set() or not lost.waiting):
                del self._lost[peer.endpoint_id]
                lost.probing.cancel()

    async def _probe(self, lost: _Lost) -> None:
        while not await self._answers(lost.peer, PROBE_SECONDS * (0.75 + self._jitter() / 4)):
            pass
        self.heard(lost.peer.endpoint_id)
