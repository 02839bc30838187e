"""What the store tells its callers: one blob, one package, the totals."""

from dataclasses import dataclass

from peat_sidecar.errors import NotFound
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.packages import Descriptor


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """A blob, complete or partial."""

    hash: BlobHash
    digest: Digest | None
    """Its sha256, proven here when it is complete; for a partial blob what it has to hash to, or None where
    nobody has said a sha256."""
    sha512: Digest | None
    """Where someone asked for it by that name."""
    size: int
    """Bytes of the whole; 0 while nobody knows."""
    media_type: str | None
    complete: bool
    present: int
    """Bytes of it that are here."""
    linked: bool
    """It shares a file with someone who may change it, so it is checked before each use."""

    @property
    def digests(self) -> tuple[Digest, ...]:
        """All that it is known by."""
        return tuple(each for each in (self.digest, self.sha512) if each is not None)

    @property
    def proven_digest(self) -> Digest:
        """The sha256 of a complete blob; NotFound for one whose bytes are not all here."""
        if not self.complete or self.digest is None:
            raise NotFound(
                f"blob {self.hash} is not complete, its sha256 is not known yet; fetch the rest first"
            )
        return self.digest


@dataclass(frozen=True, slots=True)
class StoredPackage:
    """A package whose blobs are in the store."""

    reference: str | None
    """The OCI reference that people gave it; None for one known by its root alone."""
    root: Descriptor
    """The manifest or index that the reference resolves to."""
    collection: BlobHash
    """The Iroh collection of its layout."""
    blobs: tuple[Digest, ...]
    """Every blob of it, root first, in the order of the collection, each once."""
    bytes: int
    """Their sizes added up."""

    @property
    def name(self) -> str:
        """Its reference; `@ROOT` of one without."""
        return self.reference or f"@{self.root.digest}"


@dataclass(frozen=True, slots=True)
class Usage:
    """Totals of the store."""

    blobs: int
    """Complete blobs."""
    bytes: int
    """Their sizes added up."""
    partial_blobs: int
    partial_bytes: int
    """What is here of them."""
    packages: int
    free_bytes: int
    """Room left on the disk."""
