"""What the importer reads from and the exporter writes to, whatever it is: registry, layout or archive."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

from peat_sidecar.packages import Descriptor

ReadBlob = Callable[[int, int], bytes]
"""`read(offset, length)`: that many bytes of a blob from there; it blocks, so targets call it in a thread."""


class Source(Protocol):
    """Where a package is read from."""

    @property
    def name(self) -> str:
        """What people call it, for messages: a reference, or a path."""
        ...

    async def resolve(self) -> Descriptor:
        """The root of the package that the source was made for; `NotFound` when there is none."""
        ...

    async def read_document(self, descriptor: Descriptor) -> bytes:
        """A manifest or index, checked against size and digest.

        `NotFound` when the source does not have it (a sparse index names manifests that are not there).
        """
        ...

    def blob(self, descriptor: Descriptor, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob from an offset to its end: exactly `descriptor.size - offset` of them.

        They are not checked against the digest: who reads them hashes them anyway. A source that can lose its
        connection takes it up again where it was.
        """
        ...

    def local_file(self, descriptor: Descriptor) -> int | None:
        """A descriptor of the file that is exactly this blob, for the caller to close; None without one."""
        ...

    async def referrers(self, descriptor: Descriptor, artifact_type: str | None = None) -> list[Descriptor]:
        """Manifests whose `subject` is this one (signatures, SBOMs), of one artifact type or of all."""
        ...

    async def close(self) -> None:
        """Gives up connections and files."""
        ...


class Target(Protocol):
    """Where a package is written to: blobs first, then manifests from the leaves up, the name last."""

    @property
    def name(self) -> str:
        """What people call it, for messages: a reference, or a path."""
        ...

    async def has_blob(self, descriptor: Descriptor) -> bool:
        """Whether the target holds the blob, or the manifest, already."""
        ...

    async def push_blob(
        self, descriptor: Descriptor, read: ReadBlob, *, mount_from: Sequence[str] = ()
    ) -> None:
        """Writes a blob; a registry may take it from another of its repositories instead of reading it."""
        ...

    async def push_manifest(self, descriptor: Descriptor, raw: bytes, tag: str | None = None) -> None:
        """Writes a manifest or index whose blobs and children are there."""
        ...

    async def finish(self, root: Descriptor, name: str | None = None) -> None:
        """Makes what was written visible as a whole, under a tag where one is given."""
        ...

    async def close(self) -> None:
        """Gives up connections and files; a file that was not finished is taken away."""
        ...
