"""What is said of a peer to those who ask."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh.known import KnownPeer, Source
from peat_sidecar.net import Connection


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """A peer as it is now."""

    endpoint_id: EndpointId
    addresses: tuple[str, ...]
    """Where it is dialled; none for one that is only allowed to connect."""
    connected: bool
    rtt_seconds: float | None = None
    """Round trip of a connection to it."""
    sent_bytes: int = 0
    received_bytes: int = 0
    """UDP payload of the connections that are open now."""
    last_error: str = ""
    """Why the last dial failed; empty when it did not."""
    source: Source = "named"
    """How it became known."""
    member: bool = False
    """Whether it has proven the formation's key."""
    banned: bool = False
    next_dial_seconds: float | None = None
    """How long it is until it is dialled again; None when that is not due."""

    @classmethod
    def of(
        cls,
        row: KnownPeer,
        connections: Iterable[Connection],
        *,
        member: bool,
        banned: bool,
        next_dial_seconds: float | None,
    ) -> Self:
        """`connections` are those that are open to it."""
        stats = [each.stats() for each in connections]
        return cls(
            row.endpoint_id,
            row.addresses,
            connected=bool(stats),
            rtt_seconds=min(
                (each.rtt_seconds for each in stats if each.rtt_seconds is not None), default=None
            ),
            sent_bytes=sum(each.sent_bytes for each in stats),
            received_bytes=sum(each.received_bytes for each in stats),
            last_error=row.last_error,
            source=row.source,
            member=member,
            banned=banned,
            next_dial_seconds=next_dial_seconds,
        )
