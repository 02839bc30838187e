"""The peers that a fetch may ask. They may change while it runs: others appear, some are gone."""

import asyncio
from collections.abc import Iterable

from peat_sidecar.errors import PeatError, PeerUnavailable
from peat_sidecar.ids import EndpointId, PeerAddress


class Sources:
    """Lives on one event loop."""

    def __init__(self, peers: Iterable[PeerAddress] = (), *, spread: bool = False) -> None:
        self.spread = spread
        """Others may be fetching the same: blobs begin at this node's own place, so that each soon has what
        the others lack. Else they come in order, from the first byte on."""
        self.faults: dict[EndpointId, PeatError] = {}
        """What the last thing was that went wrong with a peer: it was silent, lacked something, or lied."""
        self._peers: dict[EndpointId, PeerAddress] = {}
        self._banned: set[EndpointId] = set()
        self._returned: set[EndpointId] = set()
        self._changed = asyncio.Event()
        for peer in peers:
            self.add(peer)

    @property
    def current(self) -> list[PeerAddress]:
        """The best first; without those that sent something wrong."""
        return [peer for id, peer in self._peers.items() if id not in self._banned]

    def __contains__(self, peer: EndpointId) -> bool:
        return peer in self._peers

    def add(self, peer: PeerAddress) -> None:
        """Another one, or one that is reached elsewhere now."""
        if self._peers.get(peer.endpoint_id) != peer:
            self._peers[peer.endpoint_id] = peer
            self.returned(peer.endpoint_id)

    def remove(self, peer: EndpointId) -> None:
        """It does not hold the content any more, or is not to be asked."""
        if self._peers.pop(peer, None) is not None:
            self._changed.set()

    def ban(self, peer: EndpointId, error: PeatError) -> None:
        """It sent something wrong: it is not asked again, also when it comes back."""
        self.faults[peer] = error
        self._banned.add(peer)

    def returned(self, peer: EndpointId) -> None:
        """One of them can be reached again: it is asked anew, whatever it failed in before."""
        if peer in self._peers:
            if isinstance(self.faults.get(peer), PeerUnavailable):
                del self.faults[peer]
            self._returned.add(peer)
            self._changed.set()

    def take_returned(self) -> set[EndpointId]:
        """Who is new, or has come back, since the last time that this was asked."""
        returned, self._returned = self._returned, set()
        return returned

    async def changed(self) -> None:
        """Waits until they are others than at the last time."""
        await self._changed.wait()
        self._changed.clear()
