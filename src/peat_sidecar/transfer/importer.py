"""The importer: brings files and packages from OCI sources into the store, every blob once and proven.

What is here already is not read again. Files are shared with their owner where that is asked for and can be,
else read in one pass; streams go on where an earlier import broke off, by this program or the one before.
"""

import asyncio
import contextlib
import os
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import structlog

from peat_sidecar.errors import IntegrityError, NotFound, PeatError
from peat_sidecar.ids import Digest
from peat_sidecar.oci import Source
from peat_sidecar.packages import Descriptor, Package, Platform, Walk
from peat_sidecar.store import BlobInfo, BlobWriter, Store, StoredPackage
from peat_sidecar.transfer.collections import list_package
from peat_sidecar.transfer.progress import Progress
from peat_sidecar.transfer.sharing import share
from peat_sidecar.transfer.threads import in_thread, opened
from peat_sidecar.transfer.wants import SMALL_BYTES

BLOBS_AT_ONCE = 4
_DOCUMENTS_AT_ONCE = 4
_BATCH_BLOBS = 128
_WRITE_BYTES = 1 << 20
_WRITE_SECONDS = 0.5
"""What came is in the file by then, so that a kill costs no more."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import brought."""

    package: StoredPackage
    referrers: tuple[StoredPackage, ...]
    """Packages that refer to it, where they were asked for."""
    foreign: tuple[Descriptor, ...]
    """Layers that were left out, because their licence keeps them elsewhere."""


class Importer:
    """One for the program."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._busy: weakref.WeakValueDictionary[Digest, asyncio.Lock] = weakref.WeakValueDictionary()
        """Held by the import that brings a blob; the others wait, and find it here then."""

    async def import_file(
        self, fd: int, progress: Progress, *, expected: Digest | None, media_type: str | None, link: bool
    ) -> BlobInfo:
        """One file as one blob, which stays until somebody deletes it. The descriptor stays the caller's, and
        open until this ends.
        """
        size = os.fstat(fd).st_size
        progress.total_bytes, progress.total_blobs = size, 1
        info = await self._take_file(fd, progress, expected, media_type, link=link, keep=True)
        progress.done_blobs += 1
        return info

    async def import_package(
        self,
        source: Source,
        progress: Progress,
        *,
        list_as: str | None = None,
        platforms: Sequence[Platform] = (),
        referrers: bool = False,
        referrers_in: str | None = None,
        link: bool = False,
        own: bool = True,
    ) -> Imported:
        """A package, with what refers to it where that is asked for; listed when all of it is here. With
        `referrers_in` they are listed in that repository, by digest, else without a reference. What is
        not brought for its `own` sake may go for room.

        `IntegrityError` names a blob whose bytes are wrong, and nothing of it is kept; `SourceError` and
        `Refused` as the source has them; `StoreFull` when there is no room. What came before an error stays
        for the next try.
        """
        root = await source.resolve()
        packages = [await _walk(source, root, platforms)]
        if referrers:
            for referrer in await source.referrers(root):
                with contextlib.suppress(NotFound):  # listed, and removed since
                    packages.append(await _walk(source, referrer, ()))
        blobs = {blob.digest: blob for package in packages for blob in package.blobs}
        progress.total_bytes += sum(blob.size for blob in blobs.values())
        progress.total_blobs += len(blobs)
        foreign = [each for package in packages for each in package.foreign]
        progress.foreign += foreign
        raw = {digest: blob.data for digest, blob in blobs.items() if blob.data is not None}
        raw |= {digest: each.raw for package in packages for digest, each in package.documents.items()}
        with self._store.hold(blobs):
            await self._take(source, list(blobs.values()), raw, progress, link=link)
            names = [list_as, *(_name_in(referrers_in, each.root.digest) for each in packages[1:])]
            stored = [
                await in_thread(list_package, self._store, package, name, own=own)
                for package, name in zip(packages, names, strict=True)
            ]
        return Imported(stored[0], tuple(stored[1:]), tuple(foreign))

    async def import_blob(self, source: Source, blob: Descriptor, progress: Progress) -> None:
        """One blob of a package; another import of it at the same time brings it for both."""
        progress.total_bytes, progress.total_blobs = blob.size, 1
        await self._take_blob(source, blob, progress, link=False)

    # ---- blobs

    async def _take(
        self,
        source: Source,
        blobs: Sequence[Descriptor],
        raw: dict[Digest, bytes],
        progress: Progress,
        *,
        link: bool,
    ) -> None:
        """Brings all blobs here: what is at hand (documents, and blobs that a descriptor carries), then small
        ones in batches, then the others.
        """
        lacking = await asyncio.to_thread(self._lacking, blobs, progress)
        await self._keep([(raw[blob.digest], blob) for blob in lacking if blob.digest in raw], progress)
        others = [blob for blob in lacking if blob.digest not in raw]
        batches = _batches(blob for blob in others if blob.size <= SMALL_BYTES)
        large = iter([blob for blob in others if blob.size > SMALL_BYTES])

        async def next_batch() -> list[Descriptor] | None:
            return next(batches, None)

        async def next_large() -> Descriptor | None:
            return next(large, None)

        async def take_batch(batch: list[Descriptor]) -> None:
            read: list[tuple[bytes, Descriptor]] = []
            try:
                for blob in batch:
                    data = await _read(source, blob)
                    read.append((data, blob))
            finally:  # what came before an error is not asked for again
                await self._keep(read, progress)

        async def take_large(blob: Descriptor) -> None:
            await self._take_blob(source, blob, progress, link=link)

        await share(next_batch, take_batch, BLOBS_AT_ONCE)
        await share(next_large, take_large, BLOBS_AT_ONCE)

    def _lacking(self, blobs: Iterable[Descriptor], progress: Progress) -> list[Descriptor]:
        lacking = []
        for blob in blobs:
            known = self._store.find(blob.digest)
            if known is not None and known.complete:
                _require_size(known, blob)
                progress.skip(blob.size, 1)
            else:
                lacking.append(blob)
        return lacking

    async def _keep(self, items: Sequence[tuple[bytes, Descriptor]], progress: Progress) -> None:
        if items:
            puts = [(data, blob.digest, blob.media_type) for data, blob in items]
            await in_thread(self._store.put_many, puts)
            progress.done_bytes += sum(len(data) for data, _ in items)
            progress.done_blobs += len(items)

    async def _take_blob(self, source: Source, blob: Descriptor, progress: Progress, *, link: bool) -> None:
        async with self._busy.setdefault(blob.digest, asyncio.Lock()):
            known = await asyncio.to_thread(self._store.find, blob.digest)
            if known is not None and known.complete:  # another import has brought it meanwhile
                _require_size(known, blob)
                progress.skip(blob.size, 1)
                return
            fd = await opened(lambda: source.local_file(blob), _close)
            if fd is None:
                await self._take_stream(source, blob, progress)
            else:
                try:
                    await self._take_file(fd, progress, blob.digest, blob.media_type, link=link, keep=False)
                finally:
                    os.close(fd)
            progress.done_blobs += 1

    async def _take_file(
        self,
        fd: int,
        progress: Progress,
        expected: Digest | None,
        media_type: str | None,
        *,
        link: bool,
        keep: bool,
    ) -> BlobInfo:
        """Runs in a thread, which is told to stop when this is cancelled."""
        loop = asyncio.get_running_loop()
        stop = threading.Event()
        counted = 0

        def report(done: int) -> None:
            nonlocal counted
            if stop.is_set():
                raise InterruptedError("the import was cancelled")
            loop.call_soon_threadsafe(_add, progress, done - counted)
            counted = done

        def work() -> BlobInfo:
            return self._store.import_file(
                fd, expected=expected, media_type=media_type, link=link, keep=keep, progress=report
            )

        return await opened(work, lambda _: None, stop.set)

    async def _take_stream(self, source: Source, blob: Descriptor, progress: Progress) -> None:
        """What came is kept when this breaks off, and the next import goes on after it. What was kept may
        have been damaged by a power loss; then all of it is read once more.
        """
        if not await self._take_rest(source, blob, progress):
            _log.warning("what was kept of a download was damaged; it begins again", blob=str(blob.digest))
            await self._take_rest(source, blob, progress)

    async def _take_rest(self, source: Source, blob: Descriptor, progress: Progress) -> bool:
        """Reads what is missing of a blob. Wrong bytes are an `IntegrityError`, but where some were kept from
        an earlier run it is False, and nothing is kept or counted any more.
        """
        writer = await opened(
            lambda: self._store.writer(
                blob.size, expected=blob.digest, media_type=blob.media_type, resume=True
            ),
            BlobWriter.suspend,
        )
        waiting: list[bytes] = []
        clock = asyncio.get_running_loop().time
        kept, came, written_at = writer.offset, 0, clock()
        progress.skip(kept)
        try:
            async with contextlib.aclosing(source.blob(blob, kept)) as pieces:
                async for piece in pieces:
                    waiting.append(piece)
                    came += len(piece)
                    progress.done_bytes += len(piece)
                    if sum(map(len, waiting)) >= _WRITE_BYTES or clock() - written_at >= _WRITE_SECONDS:
                        ready, waiting, written_at = waiting, [], clock()
                        await in_thread(_write, writer, ready)
            ready, waiting = waiting, []
            await in_thread(_write, writer, ready)
            await in_thread(writer.finish)
        except IntegrityError:
            if not kept:
                raise
            waiting = []
            await in_thread(writer.abort)
            progress.done_bytes -= kept + came
            progress.skipped_bytes -= kept
            return False
        finally:
            await in_thread(_suspend, writer, waiting)
        return True


async def _walk(source: Source, root: Descriptor, platforms: Sequence[Platform]) -> Package:
    """Reads the documents from the root on. One that the source lacks is left out, as in sparse indexes."""
    walk = Walk(root, platforms)
    while wanted := walk.wanted():
        found: dict[Digest, bytes | None] = {}
        left = iter(wanted)

        async def following(left: Iterator[Descriptor] = left) -> Descriptor | None:
            return next(left, None)

        async def read(each: Descriptor, found: dict[Digest, bytes | None] = found) -> None:
            try:
                found[each.digest] = await source.read_document(each)
            except NotFound:
                found[each.digest] = None

        await share(following, read, _DOCUMENTS_AT_ONCE)
        for each in wanted:
            raw = found[each.digest]
            if raw is None:
                walk.absent(each)
            else:
                walk.feed(each, raw)
    return walk.package()


async def _read(source: Source, blob: Descriptor) -> bytes:
    async with contextlib.aclosing(source.blob(blob)) as pieces:
        return b"".join([piece async for piece in pieces])


def _name_in(repository: str | None, digest: Digest) -> str | None:
    return f"{repository}@{digest}" if repository is not None else None


def _batches(blobs: Iterable[Descriptor]) -> Iterator[list[Descriptor]]:
    batch: list[Descriptor] = []
    for blob in blobs:
        batch.append(blob)
        if len(batch) == _BATCH_BLOBS:
            yield batch
            batch = []
    if batch:
        yield batch


def _require_size(known: BlobInfo, blob: Descriptor) -> None:
    if known.size != blob.size:
        raise IntegrityError(f"{blob.digest} has {known.size} bytes, and a manifest says {blob.size} of it")


def _write(writer: BlobWriter, pieces: Sequence[bytes]) -> None:
    for piece in pieces:
        writer.write(piece)
    writer.flush()


def _suspend(writer: BlobWriter, pieces: Sequence[bytes]) -> None:
    """Keeps what came, and what was not written yet."""
    with contextlib.suppress(PeatError):
        _write(writer, pieces)
    writer.suspend()


def _close(fd: int | None) -> None:
    if fd is not None:
        os.close(fd)


def _add(progress: Progress, count: int) -> None:
    progress.done_bytes += count
