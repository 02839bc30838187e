"""Large blobs, fetched in pieces of whole groups over a few streams, each group on disk as soon as it is
verified.

A piece is one request. Several streams take pieces in turn, so that the link is busy while an answer begins
or a blob is published; the next piece may be of the next blob.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from peat_sidecar.bao import Verified
from peat_sidecar.errors import IntegrityError, NotFound, Refused
from peat_sidecar.net import Connection, StreamReset
from peat_sidecar.ranges import CHUNK_SIZE, ChunkRanges
from peat_sidecar.store import PartialBlob, Store
from peat_sidecar.transfer.answers import Asking, Pace
from peat_sidecar.transfer.holdings import whole_groups
from peat_sidecar.transfer.progress import Progress
from peat_sidecar.transfer.sharing import share
from peat_sidecar.transfer.threads import in_thread, opened
from peat_sidecar.transfer.wants import Want
from peat_sidecar.wire import ErrorCode, Get, RangesSeq

PIECE_CHUNKS = (32 << 20) // CHUNK_SIZE
STREAMS = 2
"""Measured on loopback, 500 MB: one 347 MB/s, two 372, four 355."""


@dataclass(slots=True)
class _Coming:
    """A blob that is being fetched."""

    want: Want
    partial: PartialBlob
    rest: ChunkRanges
    """What no stream has taken yet. Kept as a set: pieces of a claimed size could be more than fit memory."""
    under_way: int = 0
    held: ChunkRanges | None = None
    """What the peer says that it holds, once it was asked."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """What one request asks for; nothing, where all that is left to do is to publish."""

    blob: _Coming
    ranges: ChunkRanges


class LargeBlobs:
    """Over one connection. Tries nothing twice: what came before an error is kept, the rest is asked for
    again.
    """

    def __init__(self, store: Store, connection: Connection, progress: Progress) -> None:
        self._store = store
        self._connection = connection
        self._progress = progress
        self._pace = Pace()
        self._wants: Iterator[Want] = iter(())
        self._next: _Coming | None = None
        """The blob that the next piece is of."""
        self._coming: list[_Coming] = []
        self._lacking = ""

    async def fetch(self, wants: Iterable[Want]) -> None:
        """All of them, proven and published. `NotFound` when the peer lacks some of it; the rest has come
        then.
        """
        self._wants = iter(wants)
        try:
            await share(self._following, self._fetch_piece, STREAMS)
            if self._lacking:
                raise NotFound(self._lacking)
        finally:
            await in_thread(_close_all, [coming.partial for coming in self._coming])

    async def _following(self) -> _Piece | None:
        """The next piece; a blob is opened when its first piece is due, so that few are open at once."""
        while self._next is None:
            want = next(self._wants, None)
            if want is None:
                return None
            self._next = await self._open(want)
        coming = self._next
        ranges = next(cut(coming.rest), coming.rest)
        coming.under_way += 1
        self._leave(coming, coming.rest - ranges)
        return _Piece(coming, ranges)

    def _leave(self, coming: _Coming, rest: ChunkRanges) -> None:
        coming.rest = rest
        if not rest and self._next is coming:
            self._next = None

    async def _open(self, want: Want) -> _Coming | None:
        """None for a blob that has come another way meanwhile, as by an import."""
        known = self._store.find(want.hash)
        try:
            partial = await opened(
                lambda: self._store.partial(
                    want.hash, want.size, expected=want.digest, media_type=want.media_type
                ),
                PartialBlob.close,
            )
        except Refused:
            known = self._store.find(want.hash)
            if known is not None and known.complete:
                return None
            raise
        coming = _Coming(want, partial, ChunkRanges.all().clamp(want.size) - partial.have)
        self._coming.append(coming)
        self._progress.skip(partial.present - (known.present if known else 0))
        return coming

    async def _fetch_piece(self, piece: _Piece) -> None:
        coming = piece.blob
        if piece.ranges:
            try:
                await self._fetch_ranges(coming, piece.ranges)
            except StreamReset as reset:
                if reset.code != ErrorCode.INTERNAL:
                    raise
                if coming.held is None:  # asked once: a peer could claim something else each time
                    coming.held = await whole_groups(self._connection, coming.want.hash, coming.want.size)
                    self._leave(coming, coming.rest & coming.held)
                if there := (coming.held & piece.ranges) - coming.partial.have:
                    await self._fetch_ranges(coming, there)
        coming.under_way -= 1
        if coming.under_way or coming.rest:
            return
        if coming.partial.complete:
            await self._publish(coming)
        else:
            await self._put_away(coming)

    async def _put_away(self, coming: _Coming) -> None:
        self._lacking = self._lacking or (
            f"peer {self._connection.remote_id.short} holds blob {coming.want.hash} only in part:"
            f" {coming.partial.present} of {coming.want.size} bytes are here; fetch it again later"
        )
        await in_thread(coming.partial.close)
        self._coming.remove(coming)

    async def _fetch_ranges(self, coming: _Coming, ranges: ChunkRanges) -> None:
        """One request. A run is written while the next one comes."""
        want = coming.want
        writing: asyncio.Future[int] | None = None
        try:
            async with Asking(
                self._connection, Get(want.hash, RangesSeq.blob(ranges)), self._progress, self._pace
            ) as answer:
                await answer.size(want.hash, expected=want.size)
                async with contextlib.aclosing(answer.runs(want.hash, want.size, ranges)) as runs:
                    async for run in runs:
                        if writing is not None:
                            self._count(await writing)
                        writing = asyncio.ensure_future(in_thread(_write, coming.partial, run))
        finally:
            if writing is not None:
                self._count(await writing)

    def _count(self, written: int) -> None:
        """Not in one expression with the wait: what others count meanwhile would be lost."""
        self._progress.done_bytes += written

    async def _publish(self, coming: _Coming) -> None:
        try:
            await in_thread(coming.partial.finish)
        except IntegrityError as error:
            raise IntegrityError(
                f"peer {self._connection.remote_id.short} named blob {coming.want.hash} for another: {error}"
            ) from None
        finally:
            await in_thread(coming.partial.close)
            self._coming.remove(coming)
        self._progress.done_blobs += 1


def cut(missing: ChunkRanges) -> Iterator[ChunkRanges]:
    """A set of whole groups in pieces of at most `PIECE_CHUNKS`, aligned to that."""
    while missing:
        start = missing.boundaries[0] // PIECE_CHUNKS * PIECE_CHUNKS
        piece = ChunkRanges.of(start, start + PIECE_CHUNKS)
        yield missing & piece
        missing = missing - piece


def _close_all(partials: Iterable[PartialBlob]) -> None:
    for partial in partials:
        partial.close()


def _write(partial: PartialBlob, run: Verified) -> int:
    partial.write(run)
    return len(run.data)
