"""Large blobs, fetched in pieces of whole groups over a few streams, each group on disk as soon as it is
verified.

A piece is one request. Several streams take pieces in turn, so that the link is busy while an answer begins
or a blob is published; the next piece may be of the next blob.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from peat_sidecar.bao import Verified
from peat_sidecar.errors import IntegrityError, NotFound
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
    pieces_left: int


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
        self._pieces: deque[_Piece] = deque()
        self._coming: list[_Coming] = []

    async def fetch(self, wants: Iterable[Want]) -> None:
        """All of them, proven and published. `NotFound` when the peer lacks some of it; the rest has come
        then.
        """
        self._wants = iter(wants)
        try:
            await share(self._following, self._fetch_piece, STREAMS)
            for coming in self._coming:
                raise NotFound(
                    f"peer {self._connection.remote_id.short} holds blob {coming.want.hash} only in part:"
                    f" {coming.partial.present} of {coming.want.size} bytes are here; fetch it again later"
                )
        finally:
            for coming in self._coming:
                await in_thread(coming.partial.close)

    async def _following(self) -> _Piece | None:
        """The next piece; a blob is opened when its first piece is due, so that few are open at once."""
        if not self._pieces:
            want = next(self._wants, None)
            if want is None:
                return None
            self._pieces.extend(await self._open(want))
        return self._pieces.popleft()

    async def _open(self, want: Want) -> list[_Piece]:
        known = self._store.find(want.hash)
        partial = await opened(
            lambda: self._store.partial(
                want.hash, want.size, expected=want.digest, media_type=want.media_type
            ),
            PartialBlob.close,
        )
        coming = _Coming(want, partial, 0)
        self._coming.append(coming)
        self._progress.skip(partial.present - (known.present if known else 0))
        missing = ChunkRanges.all().clamp(want.size) - partial.have
        pieces = [_Piece(coming, ranges) for ranges in cut(missing)] or [_Piece(coming, missing)]
        coming.pieces_left = len(pieces)
        return pieces

    async def _fetch_piece(self, piece: _Piece) -> None:
        coming = piece.blob
        if piece.ranges:
            try:
                await self._fetch_ranges(coming, piece.ranges)
            except StreamReset as reset:
                if reset.code != ErrorCode.INTERNAL:
                    raise
                held = await whole_groups(self._connection, coming.want.hash, coming.want.size)
                if there := (held & piece.ranges) - coming.partial.have:
                    await self._fetch_ranges(coming, there)
        coming.pieces_left -= 1
        if not coming.pieces_left and coming.partial.complete:
            await self._publish(coming)

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


def _write(partial: PartialBlob, run: Verified) -> int:
    partial.write(run)
    return len(run.data)
