"""The exporter: writes blobs and packages from the store to files, layouts, archives and registries.

Blobs go before the documents that name them, documents from the leaves up, and the name comes last, so that
nobody sees a package that is not whole. What a target holds already is not written again.
"""

import asyncio
from collections.abc import Sequence

from peat_sidecar.confined import Directory
from peat_sidecar.errors import NotFound, Refused, SourceError
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.oci import LayoutTarget, ReadBlob, Target
from peat_sidecar.packages import DOCUMENT_LIMIT_BYTES, Descriptor, Index, Package, assemble
from peat_sidecar.store import BlobInfo, BlobReader, Store, StoredPackage
from peat_sidecar.transfer.package_listing import read_small
from peat_sidecar.transfer.progress import Progress
from peat_sidecar.transfer.sharing import share
from peat_sidecar.transfer.threads import in_thread, opened

BLOBS_AT_ONCE = 3


class Exporter:
    """One for the program."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def export_blob(
        self,
        name: BlobHash | Digest,
        directory: Directory,
        file_name: str,
        progress: Progress,
        *,
        link: bool,
    ) -> BlobInfo:
        """A blob as a file, with its old content or all of the new one. `NotFound` when it is not here."""
        info = await asyncio.to_thread(self._store.find, name)
        if info is None or not info.complete:
            raise NotFound(f"blob {name} is not complete in the store; fetch or import it first")
        progress.total_bytes, progress.total_blobs = info.size, 1
        await in_thread(self._store.export_file, info.hash, directory.fileno(), file_name, link=link)
        progress.done_bytes, progress.done_blobs = info.size, 1
        return info

    async def export_package(
        self,
        package: StoredPackage,
        target: Target,
        progress: Progress,
        *,
        tag: str | None,
        link: bool = False,
        mount_from: Sequence[str] = (),
    ) -> None:
        """A package under a tag, or without one under its digest alone. The target stays the caller's.

        With `link` a layout gets the files of the store under further names where the disk can do that.
        """
        whole = await asyncio.to_thread(self._assemble, package)
        progress.total_bytes, progress.total_blobs = whole.total_bytes, len(whole.blobs)
        progress.foreign = list(whole.foreign)
        left = iter([blob for blob in whole.blobs if blob.digest not in whole.documents])

        async def following() -> Descriptor | None:
            return next(left, None)

        async def write(blob: Descriptor) -> None:
            await self._write(target, blob, progress, link=link, mount_from=mount_from)

        await share(following, write, BLOBS_AT_ONCE)
        await self._write_documents(target, whole, progress, tag)
        await target.finish(whole.root, tag)

    def _assemble(self, package: StoredPackage) -> Package:
        """The walk again, over those documents that belong to the package as it is here."""
        own = frozenset(package.blobs)
        return assemble(
            package.root,
            lambda digest: read_small(self._store, digest, DOCUMENT_LIMIT_BYTES) if digest in own else None,
        )

    async def _write_documents(
        self, target: Target, package: Package, progress: Progress, tag: str | None
    ) -> None:
        for blob in _children_first(package):
            name = tag if blob.digest == package.root.digest else None
            try:
                await target.push_manifest(blob, package.documents[blob.digest].raw, name)
            except (NotFound, Refused, SourceError) as error:
                if not package.missing or not blob.is_index:
                    raise
                raise type(error)(
                    f"{error}; {len(package.missing)} manifests that the package's index names are not here,"
                    " and most registries take no index without them: import all platforms, or export to a"
                    " layout"
                ) from None
            progress.done_bytes += blob.size
            progress.done_blobs += 1

    async def _write(
        self, target: Target, blob: Descriptor, progress: Progress, *, link: bool, mount_from: Sequence[str]
    ) -> None:
        if await target.has_blob(blob):
            progress.skip(blob.size, 1)
            return
        info = await asyncio.to_thread(self._store.find, blob.digest)
        if info is None or not info.complete:
            raise NotFound(f"{blob.digest} of the package is not in the store any more; fetch it again")
        if link and isinstance(target, LayoutTarget):
            await in_thread(self._link, target, blob, info.hash)
            progress.done_bytes += blob.size
        else:
            blob_hash = info.hash
            reader = await opened(lambda: self._store.reader(blob_hash, hand_out=True), BlobReader.close)
            counted = _Counted(reader, progress)
            try:
                await target.push_blob(blob, counted.read, mount_from=mount_from)
            finally:
                reader.close()
            counted.count(blob.size)
        progress.done_blobs += 1

    def _link(self, target: LayoutTarget, blob: Descriptor, blob_hash: BlobHash) -> None:
        directory, name = target.place(blob)
        self._store.export_file(blob_hash, directory, name, link=True)


def _children_first(package: Package) -> list[Descriptor]:
    """The documents, each after all that it names: registries refuse an index before its manifests."""
    ordered: dict[Digest, Descriptor] = {}

    def visit(digest: Digest) -> None:
        document = package.documents.get(digest)
        if document is None or digest in ordered:
            return
        if isinstance(document, Index):
            for each in document.manifests:
                visit(each.digest)
        ordered[digest] = document.descriptor

    visit(package.root.digest)
    return list(ordered.values())


class _Counted:
    """Counts what a target reads of a blob, once, however often it begins again."""

    def __init__(self, reader: BlobReader, progress: Progress) -> None:
        self._reader = reader
        self._progress = progress
        self._loop = asyncio.get_running_loop()
        self._reached = 0

    @property
    def read(self) -> ReadBlob:
        """What targets read through; from any thread."""

        def read(offset: int, length: int) -> bytes:
            data = self._reader.read(offset, length)
            self._loop.call_soon_threadsafe(self.count, offset + len(data))
            return data

        return read

    def count(self, reached: int) -> None:
        """The target has so much of the blob; on the loop."""
        self._progress.done_bytes += max(0, reached - self._reached)
        self._reached = max(self._reached, reached)
