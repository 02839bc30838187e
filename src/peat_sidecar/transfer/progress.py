"""How far a transfer is: counters that the worker raises, from any thread, and that faces read."""

from dataclasses import dataclass, field

from peat_sidecar.classes import TransferClass
from peat_sidecar.packages import Descriptor


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

    def skip(self, size: int, blobs: int = 0) -> None:
        """Counts what was there before."""
        self.done_bytes += size
        self.skipped_bytes += size
        self.done_blobs += blobs
