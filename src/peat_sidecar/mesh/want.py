"""What callers see of a want, and of what getting one would take."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from peat_sidecar.classes import TransferClass
from peat_sidecar.ids import BlobHash, Digest, EndpointId
from peat_sidecar.mesh.fetching import Fetch
from peat_sidecar.mesh.offers import Offer
from peat_sidecar.state import Origin, WantRow
from peat_sidecar.transfer import Transfer


@dataclass(frozen=True, slots=True)
class Want:
    """A wish for a package, as it is now."""

    id: str
    name: str
    """A reference, a digest, or a collection's hash."""
    transfer_class: TransferClass
    origin: Origin
    state: Literal["waiting", "fetching", "done", "failed"]
    why: str
    """What it waits for, or why it failed; empty while nothing is wrong."""
    transfer_id: str
    """Of the transfer that brings it now; empty for none."""
    created_at: float
    """Unix seconds."""
    providers: int
    """Nodes that hold some of it."""
    total_bytes: int
    """0 while nobody says."""
    done_bytes: int
    arch: str
    export_to: str
    reference: str = ""
    """What it is a package of, as far as that is known."""
    deadline: float = 0.0
    """Unix seconds at which it fails unless it is here; 0: never."""


@dataclass(frozen=True, slots=True)
class ProviderInfo:
    """A node that holds some of a package."""

    endpoint_id: EndpointId
    agent_id: str
    state: Literal["complete", "partial"]
    connected: bool


@dataclass(frozen=True, slots=True)
class Quote:
    """What it would take to get a package."""

    name: str
    root: Digest | None
    """None while no document that decides names it."""
    collection: BlobHash | None
    total_bytes: int
    missing_bytes: int
    """Blobs that other packages share are only known once the collection is here."""
    providers: tuple[ProviderInfo, ...]
    rate: float
    """Bytes a second that the last fetch had from each that is connected, together; from one, where none is;
    0 while none were observed."""
    limit: float | None
    """What limits leave of it; None where there are none."""
    free_bytes: int
    """Room on the disk."""

    @property
    def fits(self) -> bool:
        """Whether the disk has room for what is missing."""
        return self.missing_bytes <= self.free_bytes

    @property
    def eta_seconds(self) -> float:
        """At the rate that limits leave; 0 while it cannot be told."""
        rate = self.rate if self.limit is None else min(self.rate or self.limit, self.limit)
        return self.missing_bytes / rate if rate > 0 else 0.0


@dataclass(slots=True)
class Entry:
    """A want inside the table."""

    row: WantRow
    offer: Offer | None = None
    """What its name means, as the records have it."""
    claims: Mapping[EndpointId, Offer] = field(default_factory=dict)
    """Who holds some of it."""
    keys: frozenset[str] | None = None
    """What a change has to be about to be of interest; None: it was not looked up yet."""
    transfer: Transfer | None = None
    fetch: Fetch | None = None
    why: str = ""
    failed: bool = False
    """All holders gave wrong bytes; something new in the records is waited for."""
    not_before: float = 0.0
    waits: int = 0
    """Times in a row that it had to wait for something of this node, such as room."""
    is_partial: bool = False
    """Some of it has come, and others may know."""
    due: float | None = None
    """When its deadline is over, by the clock that is never set; None: not counted yet."""
    gone: bool = False
    """It was cancelled."""
    is_stopped: bool = False
    """Its transfer is being ended, for another want."""
    done_bytes: int = 0
    """That had come when its last transfer ended."""
    missing_bytes: int = 0
    """At the last look, where that matters."""
    readers: int = 0
    """Clients that read it while it comes."""

    @property
    def transfer_class(self) -> TransferClass:
        """What clients wait for goes before what people only wish for."""
        wanted = self.row.transfer_class
        return min(wanted, TransferClass.HIGH, key=lambda each: each.rank) if self.readers else wanted

    @property
    def moved(self) -> tuple[str, int]:
        """Changes whenever something comes for it."""
        return (self.transfer.id, self.transfer.progress.wire_bytes) if self.transfer else ("", 0)

    @property
    def is_open(self) -> bool:
        """Whether something has to be done for it."""
        return not self.row.done and not self.row.expired and not self.gone

    @property
    def state(self) -> Literal["waiting", "fetching", "done", "failed"]:
        """As callers see it."""
        if self.row.done:
            return "done"
        if self.row.expired:
            return "failed"
        return "fetching" if self.transfer else "failed" if self.failed else "waiting"

    @property
    def reason(self) -> str:
        """What it waits for, or why it failed; empty while nothing is wrong."""
        if self.row.done or self.row.expired:
            return self.row.last_error
        return self.transfer.progress.waiting_for if self.transfer is not None else self.why

    def view(self) -> Want:
        """For callers."""
        row, offer, transfer = self.row, self.offer, self.transfer
        total = offer.bytes if offer is not None else 0
        done = total if row.done else self.done_bytes
        if transfer is not None:
            total = transfer.progress.total_bytes or total
            done = transfer.progress.done_bytes
        return Want(
            row.id,
            row.name,
            row.transfer_class,
            row.origin,
            self.state,
            self.reason,
            transfer.id if transfer is not None else "",
            row.created_at,
            len(self.claims),
            total,
            done,
            row.arch,
            row.export_to,
            row.reference or (offer.reference if offer is not None else ""),
            row.deadline,
        )


def new_id() -> str:
    """16 hexadecimal digits."""
    return secrets.token_hex(8)


def of_readers(row: WantRow) -> WantRow:
    """What is left of a want that only clients still have."""
    return replace(row, origin="client", deadline=0.0, export_to="")
