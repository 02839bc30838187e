"""Where content comes from that is not here: other nodes of the mesh, upstream registries.

The registry asks only for what it has not. Names are those of references in the store: a repository is
`registry.example/team/app`, whatever the client called it.
"""

from typing import Protocol

from peat_sidecar.errors import PeerUnavailable
from peat_sidecar.ids import Digest
from peat_sidecar.packages import Descriptor


class Arriving(Protocol):
    """The bytes of one blob while they come, for one client. It keeps its fetch going until it is closed."""

    async def read(self, offset: int, most_bytes: int) -> bytes:
        """Waits for the next ones; at least one. `PeerUnavailable` when none has come for too long,
        `IntegrityError` when they turn out to be others than the digest promised.
        """
        ...

    async def aclose(self) -> None:
        """Reads no more. What others want of the blob still comes."""
        ...


class Elsewhere(Protocol):
    """What nobody has is told from local knowledge alone, so quickly. What somebody has who cannot be reached
    ends after a while with `PeerUnavailable`, whose text says who was asked.
    """

    async def manifest(self, repository: str, name: str | Digest) -> Descriptor | None:
        """What a tag or digest stands for; the document is in the store when this returns. None where nobody
        has it.
        """
        ...

    async def blob(self, repository: str, digest: Digest) -> Descriptor | None:
        """A blob of the repository that somebody has; fetches nothing but documents."""
        ...

    async def open(self, repository: str, blob: Descriptor, offset: int) -> Arriving:
        """Has its package fetched, that blob first, beginning at the byte. Returns when that byte is here."""
        ...


class Nowhere:
    """There is nobody else."""

    async def manifest(self, repository: str, name: str | Digest) -> Descriptor | None:
        """None."""
        return None

    async def blob(self, repository: str, digest: Digest) -> Descriptor | None:
        """None."""
        return None

    async def open(self, repository: str, blob: Descriptor, offset: int) -> Arriving:
        """Nothing is found, so nothing can be opened."""
        raise PeerUnavailable(f"nobody has {blob.digest}")
