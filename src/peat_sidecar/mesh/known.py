"""The peers that are known here, and where they can be dialled: one table, however each became known.

Addresses are kept apart by how they were learnt, so that a new word of one kind does not push out another's:
named first, then announced, then those that a peer has connected from. Both the table and what is learnt of
one peer are bounded; those that nobody named go first.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from peat_sidecar.ids import EndpointId, PeerAddress

Source = Literal["named", "allowed", "mdns", "dns", "record", "inbound"]

MAX_PEERS = 10_000
MAX_ADDRESSES = 8
"""Of one source."""
MAX_DNS_ADDRESSES = 64
"""A name tells where many peers are, and not who of them where."""
_ORDER: tuple[Source, ...] = ("named", "allowed", "mdns", "record", "dns", "inbound")
_FOR_GOOD = frozenset({"named", "allowed"})


@dataclass(slots=True)
class KnownPeer:
    """One row."""

    endpoint_id: EndpointId
    found: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Addresses by source; a source without any has told of the peer itself."""
    last_error: str = ""
    """Why the last dial failed."""
    refuses: bool = False
    """The last dial failed for another reason than that it is not there."""
    heard_at: float = 0.0
    """When it was last learnt of, or here."""

    @property
    def source(self) -> Source:
        """The weightiest."""
        return next((source for source in _ORDER if source in self.found), "inbound")

    @property
    def addresses(self) -> tuple[str, ...]:
        """Each once."""
        found = [address for source in _ORDER for address in self.found.get(source, ())]
        return tuple(dict.fromkeys(found))

    @property
    def address(self) -> PeerAddress:
        return PeerAddress(self.endpoint_id, self.addresses)

    @property
    def is_named(self) -> bool:
        """By people: it is not forgotten."""
        return bool(_FOR_GOOD & self.found.keys())

    @property
    def is_close(self) -> bool:
        """Somebody has named it, or found it nearby, or it came by itself: not only a record tells of it."""
        return bool(self.found.keys() - {"record"})


class KnownPeers:
    """The table."""

    def __init__(self) -> None:
        self._rows: dict[EndpointId, KnownPeer] = {}

    def __iter__(self) -> Iterator[KnownPeer]:
        return iter(tuple(self._rows.values()))

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, peer: EndpointId) -> bool:
        return peer in self._rows

    @property
    def is_full(self) -> bool:
        """Whether there is no room for one that nobody named."""
        return len(self._rows) >= MAX_PEERS

    def get(self, peer: EndpointId) -> KnownPeer | None:
        return self._rows.get(peer)

    def name(self, peer: PeerAddress, source: Source) -> KnownPeer:
        """By people: these addresses, where there are some, take the place of those named before."""
        row = self._row(peer.endpoint_id)
        row.found[source] = tuple(peer.addresses) or row.found.get(source, ())
        return row

    def learn(self, peer: PeerAddress, source: Source, now: float) -> bool:
        """By other means: the newest addresses first. Whether one of them is new."""
        if peer.endpoint_id not in self._rows and self.is_full:
            return False
        row = self._row(peer.endpoint_id)
        if source != "dns" or not row.found:  # a name says nothing of that peer: it may be long gone
            row.heard_at = now
        new = not set(peer.addresses) <= set(row.addresses)
        kept = dict.fromkeys((*peer.addresses, *row.found.get(source, ())))
        row.found[source] = tuple(kept)[: MAX_DNS_ADDRESSES if source == "dns" else MAX_ADDRESSES]
        return new

    def drop(self, peer: EndpointId) -> None:
        self._rows.pop(peer, None)

    def put_back(self, peer: EndpointId, found: dict[str, tuple[str, ...]] | None) -> None:
        """As it was before a mistake; None: it was not known."""
        if found is None:
            self.drop(peer)
        else:
            self._row(peer).found = found

    def forgettable(self) -> Iterator[EndpointId]:
        """Those that nobody named, the oldest first."""
        return (row.endpoint_id for row in self if not row.is_named)

    def _row(self, peer: EndpointId) -> KnownPeer:
        return self._rows.setdefault(peer, KnownPeer(peer))
