"""Who was heard on the local network, and where: a bounded table. No I/O."""

from peat_sidecar.ids import EndpointId, PeerAddress

SERVICES_LIMIT = 1024
SERVICES_PER_PEER = 4


class Neighbours:
    """Service -> peer. A service that says what it said before is told again: its node may be back."""

    def __init__(self) -> None:
        self._heard: dict[str, PeerAddress] = {}

    def __len__(self) -> int:
        """Peers."""
        return len({peer.endpoint_id for peer in self._heard.values()})

    def take(self, service: str, peer: PeerAddress) -> PeerAddress | None:
        """Takes in what a service says; its peer with the addresses of all its services, or None when there
        is no room. More services than one node has are somebody else's doing: the oldest goes.
        """
        self._heard.pop(service, None)
        own = self._of(peer.endpoint_id)
        if len(own) >= SERVICES_PER_PEER:
            del self._heard[own[0]]
        if len(self._heard) >= SERVICES_LIMIT:
            return None
        self._heard[service] = peer
        newest_first = [
            address
            for name in reversed(self._of(peer.endpoint_id))
            for address in self._heard[name].addresses
        ]
        return PeerAddress(peer.endpoint_id, tuple(dict.fromkeys(newest_first)))

    def drop(self, service: str) -> None:
        """A service that is gone."""
        self._heard.pop(service, None)

    def clear(self) -> None:
        self._heard.clear()

    def _of(self, endpoint_id: EndpointId) -> list[str]:
        return [name for name, peer in self._heard.items() if peer.endpoint_id == endpoint_id]
