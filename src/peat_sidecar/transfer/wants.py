"""What a getter wants of one peer: blobs, of which the store lacks some or all bytes."""

from dataclasses import dataclass

from peat_sidecar.ids import BlobHash, Digest

SMALL_BYTES = 64 << 10
"""Blobs up to this size come whole, many in one request, through memory."""


@dataclass(frozen=True, slots=True)
class Want:
    """A blob that is wanted, and all that is known of it."""

    hash: BlobHash
    size: int
    digest: Digest | None = None
    """What the whole has to hash to."""
    media_type: str | None = None

    @property
    def is_small(self) -> bool:
        """Whether it comes whole, through memory."""
        return self.size <= SMALL_BYTES
