"""How far a transfer is: counters that the worker raises, from any thread, and that faces read."""

from dataclasses import dataclass, field

from peat_sidecar.classes import TransferClass
from peat_sidecar.ids import EndpointId
from peat_sidecar.packages import Descriptor
from peat_sidecar.transfer.events import EventKind, TransferEvents
from peat_sidecar.transfer.source_progress import SourceProgress, SourceState

_OWING = frozenset({SourceState.WORKING, SourceState.SILENT, SourceState.GONE})


@dataclass(slots=True)
class Progress:
    """One transfer's counters. Bytes are those of blobs, but for `wire_bytes`."""

    transfer_class: TransferClass = TransferClass.HIGH
    """Of a fetch: what goes first. It may change on the way."""
    approve_above: int | None = None
    """How many bytes a fetch may lack without having been approved; None: any number."""
    total_bytes: int = 0
    """0 while it is not known."""
    done_bytes: int = 0
    """Bytes that are where they belong, those that were there before included."""
    skipped_bytes: int = 0
    """Of `done_bytes` those that were there before; they say nothing about speed."""
    total_blobs: int = 0
    done_blobs: int = 0
    wire_bytes: int = 0
    """Bytes that came from a peer on its streams, tree pairs and sizes included."""
    waiting_for: str = ""
    """Why nothing moves at the moment; empty while it does."""
    foreign: list[Descriptor] = field(default_factory=list)
    """Layers that are named and left out, because their licence keeps them elsewhere."""
    sources: dict[EndpointId, SourceProgress] = field(default_factory=dict)
    """What each peer that was asked does for it."""
    events: TransferEvents = field(default_factory=TransferEvents)

    def skip(self, size: int, blobs: int = 0) -> None:
        """Counts what was there before."""
        self.done_bytes += size
        self.skipped_bytes += size
        self.done_blobs += blobs

    @property
    def is_held_back(self) -> bool:
        """Peers are there and nothing is asked of them, since a limit holds or others go first: none is
        silent then.
        """
        states = {each.state for each in self.sources.copy().values()}
        return SourceState.IDLE in states and states.isdisjoint(_OWING)

    def source(self, peer: EndpointId) -> SourceProgress:
        """A peer's counters; one that is new has joined."""
        if peer not in self.sources:
            self.events.add(EventKind.JOINED, peer)
        return self._known(peer)

    def heard(self, peer: EndpointId, size: int) -> None:
        """Bytes have come from a peer, whatever they are worth."""
        self.wire_bytes += size
        self.waiting_for = ""
        if self.source(peer).heard():
            self.events.add(EventKind.RESUME, peer)

    def lost(self, peer: EndpointId, why: str) -> None:
        """A peer fell silent or broke off; it is tried again."""
        self.source(peer).failed(SourceState.GONE, why)
        self.events.add(EventKind.STALL, peer, why)

    def left(self, peer: EndpointId, why: str, *, lacks: bool = False) -> None:
        """A peer is not asked any more for now: it cannot be reached, or `lacks` the rest."""
        self._known(peer).failed(SourceState.LACKING if lacks else SourceState.GONE, why)
        self.events.add(EventKind.LEFT, peer, why)

    def banned(self, peer: EndpointId, why: str) -> None:
        """A peer sent wrong bytes and is not asked again."""
        self.source(peer).failed(SourceState.BANNED, why)
        self.events.add(EventKind.BAN, peer, why)

    def held_back(self) -> None:
        """A limit or another class holds it back."""
        self.waiting_for = "its turn: others go first, or a limit holds"
        self.events.add(EventKind.LIMIT, None, "others go first, or a limit holds")

    def _known(self, peer: EndpointId) -> SourceProgress:
        return self.sources.setdefault(peer, SourceProgress())
