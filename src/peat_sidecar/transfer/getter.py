"""The getter: brings blobs and packages from a peer into the store, across breaks of the stream, the
connection and the peer, and of this program when it is started again.

A try asks for what is missing, whatever was lost and why; what came is never asked for again. Large blobs
come from all peers at once that hold them, small ones and documents from one after the other. A blob that two
transfers want is fetched by the first and awaited by the second.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from peat_sidecar.errors import Misnamed, NotFound, Refused
from peat_sidecar.ids import BlobHash, Digest, PeerAddress
from peat_sidecar.net import Connection, Pool, StreamReset
from peat_sidecar.packages import DOCUMENT_LIMIT_BYTES, Descriptor, Package, Walk, check_collection
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.rate import format_size
from peat_sidecar.store import BlobInfo, Store, StoredPackage
from peat_sidecar.transfer.answers import Answer, ask
from peat_sidecar.transfer.blame import blaming, misnaming
from peat_sidecar.transfer.board import Board
from peat_sidecar.transfer.clearance import Clearance
from peat_sidecar.transfer.collections import stored_package
from peat_sidecar.transfer.crowd import Crowd
from peat_sidecar.transfer.holdings import holdings
from peat_sidecar.transfer.intake import LEAST_PART_BYTES, Intake
from peat_sidecar.transfer.package_listing import (
    PackageListing,
    fetch_listing,
    read_small,
    stored_listing,
)
from peat_sidecar.transfer.patience import Patience
from peat_sidecar.transfer.progress import Progress
from peat_sidecar.transfer.readings import Readings
from peat_sidecar.transfer.shaping import Shaper
from peat_sidecar.transfer.sharing import share
from peat_sidecar.transfer.small_blobs import SmallBlobs
from peat_sidecar.transfer.sources import Sources
from peat_sidecar.transfer.threads import in_thread
from peat_sidecar.transfer.tries import Tries
from peat_sidecar.transfer.wants import Want
from peat_sidecar.wire import ErrorCode, Get, RangesSeq

_COPY_BYTES = 1 << 20


class Getter:
    """One for the program. Errors name the peer; what came before an error stays in the store."""

    def __init__(
        self,
        store: Store,
        pool: Pool,
        *,
        patience: Callable[[], Patience] = Patience,
        shaper: Shaper | None = None,
        clearance: Clearance | None = None,
    ) -> None:
        self._store = store
        self._clearance = clearance
        self._shaper = shaper or Shaper()
        self.readings = Readings()
        """What is read while it comes; whoever reads says so there."""
        self._tries = Tries(pool, patience)
        self._sources: dict[BlobHash, Sources] = {}
        self._active: dict[BlobHash, tuple[asyncio.Event, Progress]] = {}
        """Blobs that a transfer is at work on; the event is set when it is not any more."""

    async def fetch_blob(
        self,
        blob_hash: BlobHash,
        peers: PeerAddress | Sources,
        progress: Progress,
        *,
        expected: Digest | None = None,
        media_type: str | None = None,
    ) -> BlobInfo:
        """One blob. `NotFound` when the peer lacks it, `IntegrityError` when its bytes are not what is
        expected.
        """
        if self._clearance is not None:
            self._clearance.fetching_alone(blob_hash)
        info = await asyncio.to_thread(self._store.find, blob_hash)
        size, is_proven = (info.size, True) if info is not None and info.complete else (0, False)
        sources = _sources(peers)
        intake = self._shaper.intake(progress)
        with _blaming(peers), contextlib.closing(intake):
            if not is_proven:
                size, is_proven = await self._tries.first(
                    sources, progress, lambda link: _size(link, blob_hash, intake)
                )
            want = Want(blob_hash, size, expected, media_type)
            missing = await asyncio.to_thread(self._missing_bytes, [want])
            _require_approved(missing, progress.approve_above)
            if is_proven:
                await asyncio.to_thread(self._store.require_room, missing)
            with self._store.hold([blob_hash]):
                await self._fetch([want], sources, intake)
        info = await asyncio.to_thread(self._store.find, blob_hash)
        if info is None or not info.complete:
            raise NotFound(f"blob {blob_hash} was removed while it was fetched; fetch it again")
        return info

    def providers_of(self, blob_hash: BlobHash) -> list[PeerAddress]:
        """Whom that blob is asked of now."""
        sources = self._sources.get(blob_hash)
        return sources.current if sources is not None else []

    def progress_of(self, blob_hash: BlobHash) -> Progress | None:
        """Of the transfer that is at work on that blob now."""
        _, progress = self._active.get(blob_hash, (None, None))
        return progress

    async def fetch_package(
        self,
        collection: BlobHash,
        peers: PeerAddress | Sources,
        progress: Progress,
        *,
        list_as: str | None = None,
        expected: Digest | None = None,
        limit_bytes: int | None = None,
        limit_blobs: int | None = None,
    ) -> StoredPackage:
        """A package by its collection. The descriptors are walked from the root; a collection with other
        names, entries or sizes than they name is refused, and so is one with more than the limits.
        """
        sources = _sources(peers)
        intake = self._shaper.intake(progress)
        with _blaming(peers), contextlib.closing(intake):
            async with self._held(collection, sources, intake) as listing:
                package = await self._fetch_package(
                    collection, listing, sources, intake, expected, limit_bytes, limit_blobs, list_as
                )
                stored = stored_package(package, collection, list_as)
                await in_thread(self._store.add_package, stored)
        return stored

    @contextlib.asynccontextmanager
    async def _held(
        self, collection: BlobHash, sources: Sources, intake: Intake
    ) -> AsyncIterator[PackageListing]:
        """What the collection names; none of it is deleted meanwhile."""
        listing = await self._listing(collection, sources, intake)
        with self._store.hold((collection, *listing.companions, *listing.hashes.values())):
            if await asyncio.to_thread(self._lacks_any, (collection, *listing.companions)):
                await self._fetch_listing(collection, sources, intake)  # it went before it was held
            yield listing

    def _lacks_any(self, blobs: Sequence[BlobHash]) -> bool:
        return any(self._store.find(each) is None for each in blobs)

    async def _listing(self, collection: BlobHash, sources: Sources, intake: Intake) -> PackageListing:
        known = await asyncio.to_thread(stored_listing, collection, self._store)
        return known or await self._fetch_listing(collection, sources, intake)

    async def _fetch_listing(self, collection: BlobHash, sources: Sources, intake: Intake) -> PackageListing:
        return await self._tries.first(
            sources, intake.progress, lambda link: fetch_listing(link, collection, self._store, intake)
        )

    async def _fetch_package(
        self,
        collection: BlobHash,
        listing: PackageListing,
        sources: Sources,
        intake: Intake,
        expected: Digest | None,
        limit_bytes: int | None,
        limit_blobs: int | None,
        list_as: str | None,
    ) -> Package:
        """All of its blobs; it is not listed yet."""
        progress = intake.progress
        package = await self._fetch_documents(collection, listing, sources, intake, expected)
        if self._clearance is not None:
            name = list_as or f"@{listing.root.digest}"
            self._clearance.fetching(name, (collection, *listing.hashes.values()))
        _require_within("bytes", package.total_bytes, limit_bytes)
        _require_within("blobs", len(package.blobs), limit_blobs)
        progress.foreign = list(package.foreign)
        wants = [_want(blob, listing) for blob in package.blobs]
        missing = await asyncio.to_thread(self._missing_bytes, wants)
        _require_approved(missing, progress.approve_above)
        await asyncio.to_thread(self._store.require_room, missing)
        await self._fetch(wants, sources, intake)
        return package

    async def fetch_documents(
        self, collection: BlobHash, peers: PeerAddress | Sources, progress: Progress, *, expected: Digest
    ) -> None:
        """Of a package what says of which blobs it is, and none of its layers: the collection and all
        manifests. They are in the store then, for `PackageListing` and the walk to read.
        """
        sources = _sources(peers)
        intake = self._shaper.intake(progress)
        with _blaming(peers), contextlib.closing(intake):
            async with self._held(collection, sources, intake) as listing:
                await self._fetch_documents(collection, listing, sources, intake, expected)

    async def _fetch_documents(
        self,
        collection: BlobHash,
        listing: PackageListing,
        sources: Sources,
        intake: Intake,
        expected: Digest | None,
    ) -> Package:
        if expected is not None and listing.root.digest != expected:
            raise Misnamed(
                f"collection {collection} is of {listing.root.digest}, where {expected} is expected"
            )
        package = await self._walk(listing, sources, intake)
        with misnaming(f"collection {collection} is not of its package"):
            check_collection(listing.names, package)
        return package

    async def _walk(self, listing: PackageListing, sources: Sources, intake: Intake) -> Package:
        """Reads the documents from the root on; those that the collection does not name are absent."""
        walk = Walk(listing.root)
        while wanted := walk.wanted():
            there = [each for each in wanted if each.digest in listing.hashes]
            await self._fetch([_want(each, listing) for each in there], sources, intake)
            for each in wanted:
                if each.digest not in listing.hashes:
                    walk.absent(each)
                    continue
                raw = await asyncio.to_thread(read_small, self._store, each.digest, DOCUMENT_LIMIT_BYTES)
                if raw is None:
                    raise NotFound(f"manifest {each.digest} was removed while it was fetched; fetch it again")
                walk.feed(each, raw)
        return walk.package()

    # ---- blobs

    async def _fetch(self, wants: Sequence[Want], sources: Sources, intake: Intake) -> None:
        """Brings all of them here. Blobs that another transfer is at work on are left to it at first."""
        progress = intake.progress
        progress.total_bytes, progress.total_blobs = sum(want.size for want in wants), len(wants)
        progress.done_bytes = progress.done_blobs = progress.skipped_bytes = 0
        tried: set[BlobHash] = set()
        while lacking := await asyncio.to_thread(self._lacking, wants, progress):
            free = [want for want in lacking if want.hash not in self._active]
            if not free:
                busy = lacking[0].hash
                progress.waiting_for = f"another transfer, which fetches blob {busy}"
                over, other = self._active[busy]
                if progress.transfer_class.rank < other.transfer_class.rank:
                    other.transfer_class = progress.transfer_class  # lest this one waits for what waits
                await over.wait()
                continue
            if again := tried & {want.hash for want in free}:
                raise NotFound(f"blob {min(again)} was removed while it was fetched; fetch it again")
            tried |= {want.hash for want in free}
            done = asyncio.Event()
            self._active |= {want.hash: (done, progress) for want in free}
            self._sources |= {want.hash: sources for want in free}
            try:
                await self._bring(free, sources, intake)
            finally:
                for want in free:
                    self._active.pop(want.hash, None)
                    self._sources.pop(want.hash, None)
                done.set()

    async def _bring(self, wants: Sequence[Want], sources: Sources, intake: Intake) -> None:
        """Small blobs first; at the same time as large ones where somebody waits for one of those."""
        is_read = any(want.hash in self.readings for want in wants if not want.is_small)
        steps = iter((self._bring_small, self._bring_large))

        async def following() -> Callable[..., Awaitable[None]] | None:
            return next(steps, None)

        await share(following, lambda step: step(wants, sources, intake), 2 if is_read else 1)

    async def _bring_small(self, wants: Sequence[Want], sources: Sources, intake: Intake) -> None:
        async def work(connection: Connection) -> None:
            lacking = [want for want in await asyncio.to_thread(self._lacking, wants) if want.is_small]
            few = SmallBlobs(self._store, connection, intake)
            await few.fetch(sorted(lacking, key=lambda want: want.hash not in self.readings))

        if any(want.is_small for want in wants):
            await self._tries.first(sources, intake.progress, work)

    async def _bring_large(self, wants: Sequence[Want], sources: Sources, intake: Intake) -> None:
        large = [want for want in await asyncio.to_thread(self._lacking, wants) if not want.is_small]
        if large:
            board = Board(
                self._store,
                large,
                intake.progress,
                spread=sources.spread,
                crowd=Crowd(self._tries.own),
                readings=self.readings,
            )
            try:
                await self._tries.all(sources, board, intake)
            finally:
                await board.close()

    def _missing_bytes(self, wants: Sequence[Want]) -> int:
        """Of all that a package names, before any of it is fetched. Blocks."""
        present = 0
        for want in wants:
            info = self._store.find(want.hash)
            present += info.present if info is not None else 0
        return sum(want.size for want in wants) - present

    def _lacking(self, wants: Sequence[Want], progress: Progress | None = None) -> list[Want]:
        """Those that are not complete here, each once; counts what is here. Blocks."""
        lacking: dict[BlobHash, Want] = {}
        present = complete = 0
        for want in wants:
            self._require_same(want)
            info = self._store.find(want.hash)
            present += min(info.present, want.size) if info is not None else 0
            if info is not None and info.complete and self._is_proven(info, want):
                complete += 1
            else:
                lacking.setdefault(want.hash, want)
        if progress is not None:
            progress.skipped_bytes += max(0, present - progress.done_bytes)
            progress.done_bytes, progress.done_blobs = present, complete
        return list(lacking.values())

    def _require_same(self, want: Want) -> None:
        """A digest that is proven here already must have the hash that is claimed for it."""
        known = self._store.find(want.digest) if want.digest is not None else None
        if known is not None and known.complete and known.hash != want.hash:
            raise Misnamed(f"{want.digest} is blob {known.hash}, and the peer says that it is {want.hash}")

    def _is_proven(self, info: BlobInfo, want: Want) -> bool:
        """Whether a complete blob is what the digest promises; a SHA-512 may have to be worked out first."""
        if info.size != want.size:
            raise Misnamed(f"blob {want.hash} has {info.size} bytes, and not {want.size} as was said")
        if want.digest is None or want.digest in (info.digest, info.sha512):
            return True
        if want.digest.algorithm != "sha512" or info.sha512 is not None:
            raise Misnamed(f"blob {want.hash} is {info.digest}, and not {want.digest} as was said")
        with (
            self._store.reader(want.hash) as reader,
            self._store.writer(info.size, expected=want.digest, media_type=want.media_type) as writer,
        ):
            for offset in range(0, info.size, _COPY_BYTES):
                writer.write(reader.read(offset, min(_COPY_BYTES, info.size - offset)))
            writer.finish()
        return True


def _sources(peers: PeerAddress | Sources) -> Sources:
    return peers if isinstance(peers, Sources) else Sources([peers])


def _blaming(peers: PeerAddress | Sources) -> contextlib.AbstractContextManager[None]:
    """One peer that was given is to blame for whatever is wrong with what it named; others may be there for
    what somebody else named.
    """
    return blaming(peers, named=True) if isinstance(peers, PeerAddress) else contextlib.nullcontext()


def _require_within(what: str, count: int, limit: int | None) -> None:
    if limit is not None and count > limit:
        raise Misnamed(f"the package has {count} {what}, where {limit} were announced")


def _require_approved(missing: int, above: int | None) -> None:
    if above is not None and missing > above:
        raise Refused(
            f"{format_size(missing)} are more than {format_size(above)}: if they are to be fetched,"
            " say so with --yes (in a call: approved)"
        )


async def _size(connection: Connection, blob_hash: BlobHash, intake: Intake) -> tuple[int, bool]:
    """The size of a blob, and whether it is proven by its last chunk: it is only claimed where the peer does
    not hold that.
    """
    last = ChunkRanges.LAST

    async def read(answer: Answer) -> int:
        size = await answer.size(blob_hash)
        async with contextlib.aclosing(answer.runs(blob_hash, size, last)) as runs:
            async for _ in runs:
                pass
        return size

    try:
        request = Get(blob_hash, RangesSeq.blob(last))
        return await ask(connection, request, intake, LEAST_PART_BYTES, read), True
    except StreamReset as reset:
        if reset.code != ErrorCode.INTERNAL:
            raise
    item = await holdings(connection, blob_hash)
    if not item.ranges or not item.size:
        raise NotFound(f"peer {connection.remote_id.short} does not hold blob {blob_hash}; ask another peer")
    return item.size, False


def _want(blob: Descriptor, listing: PackageListing) -> Want:
    return Want(listing.hashes[blob.digest], blob.size, blob.digest, blob.media_type)
