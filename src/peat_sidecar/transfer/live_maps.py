"""What one peer holds of the blobs that are being fetched, as it tells while it gets more itself.

A peer that lacks something of a blob is observed from then on, on one stream for each blob. What it claims is
only where it may be asked: content proves itself, and a claim that turns out false ends that peer's work.
"""

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from functools import reduce
from operator import or_

from peat_sidecar.errors import IntegrityError, PeatError
from peat_sidecar.ids import BlobHash, EndpointId
from peat_sidecar.net import Connection, Stream, StreamEnded, StreamReset
from peat_sidecar.ranges import GROUP_SIZE, ChunkRanges
from peat_sidecar.transfer.sharing import end
from peat_sidecar.transfer.source_progress import SourceProgress
from peat_sidecar.transfer.wants import Want
from peat_sidecar.wire import Observe, ObserveItem, ObserveReader, encode_request

FOLLOWED = 16
"""Blobs of one peer at once; of others it is asked once what it holds."""
NEWS_BYTES = 64 << 10
NEWS_BYTES_PER_GROUP = 40
"""Of one blob, after its state: a peer that says more is not listened to any longer. An item has at most so
many bytes for each group that it tells of."""
NEWS_SECONDS = 5.0
"""So long a peer that has told of more is expected to tell of more still."""
AGAIN_SECONDS = 1.0
"""Until a peer that ended its telling is asked once more; twice as long each time, up to a minute."""
_LONGEST_AGAIN_SECONDS = 60.0
_READ_BYTES = 1 << 16
_READ_PAUSE_SECONDS = 0.05
"""After each: what a peer tells costs time in which nothing else is done."""
_GIVEN_UP = 0


class LiveMaps:
    """Of one peer. `changed` is called when it holds more."""

    def __init__(self, peer: EndpointId, changed: Callable[[], None], source: SourceProgress) -> None:
        self.peer = peer
        self._changed = changed
        self._source = source
        self._held: dict[BlobHash, ChunkRanges] = {}
        self._following: dict[BlobHash, asyncio.Task[None]] = {}
        self._news_at: float | None = None
        self._heard_at = -math.inf

    @property
    def is_growing(self) -> bool:
        """Whether the peer has just got more, and is listened to."""
        if self._news_at is None or not self._following:
            return False
        return asyncio.get_running_loop().time() - self._news_at < NEWS_SECONDS

    @property
    def is_getting(self) -> bool:
        """Whether the peer is at it itself: it has got more of late, or it was asked only just now."""
        return asyncio.get_running_loop().time() - self._heard_at < NEWS_SECONDS

    def bytes_per_second(self) -> float:
        """What the peer has brought of late."""
        return self._source.bytes_per_second

    def __contains__(self, blob: BlobHash) -> bool:
        """Whether it has said what it holds of that blob."""
        return blob in self._held

    def get(self, blob: BlobHash) -> ChunkRanges | None:
        """Whole groups that it says it holds; None where it has said nothing."""
        return self._held.get(blob)

    async def ask(self, connection: Connection, want: Want) -> None:
        """Returns when the peer has said what it holds, and goes on listening. `IntegrityError` when it names
        another size.
        """
        stream, reader = await self._begin(connection, want)
        if want.hash in self._following or len(self._following) >= FOLLOWED:
            await stream.stop(_GIVEN_UP)
            return
        following = self._follow(connection, stream, reader, want)
        self._following[want.hash] = asyncio.create_task(following, name="observe a peer")

    async def close(self) -> None:
        """Listens no more."""
        await end(self._following.values())

    async def _begin(self, connection: Connection, want: Want) -> tuple[Stream, ObserveReader]:
        """A stream on which the peer has said what it holds."""
        stream, reader = await connection.open_stream(), ObserveReader()
        try:
            await stream.write(encode_request(Observe(want.hash, ChunkRanges.all())))
            await stream.finish()
            items: list[ObserveItem] = []
            while not items:
                data = await stream.read(_READ_BYTES)
                if not data:
                    peer = stream.remote_id.short
                    raise StreamEnded(f"peer {peer} does not say what it holds of blob {want.hash}")
                items = reader.feed(data)
            self._add(stream, want, items)
        except BaseException:
            await stream.stop(_GIVEN_UP)
            raise
        return stream, reader

    async def _follow(
        self, connection: Connection, stream: Stream, reader: ObserveReader, want: Want
    ) -> None:
        """A peer that says something wrong, or too much, loses nothing but the news. One that says no more is
        asked again, less and less often: else what it said last would be taken for all that it has.
        """
        pause = AGAIN_SECONDS
        try:
            with suppress(PeatError):
                while await self._listen(stream, reader, want):
                    await asyncio.sleep(pause)
                    pause = min(_LONGEST_AGAIN_SECONDS, 2 * pause)
                    stream, reader = await self._begin(connection, want)
        finally:
            self._following.pop(want.hash, None)

    async def _listen(self, stream: Stream, reader: ObserveReader, want: Want) -> bool:
        """Whether the peer has ended it, or broken off."""
        stream.stall_seconds = None
        heard, most = 0, NEWS_BYTES + NEWS_BYTES_PER_GROUP * (want.size // GROUP_SIZE + 1)
        try:
            while heard < most:
                data = await stream.read(_READ_BYTES)
                if not data:
                    return True
                heard += len(data)
                self._add(stream, want, reader.feed(data))
                await asyncio.sleep(_READ_PAUSE_SECONDS)
        except StreamReset:
            return True
        finally:
            with suppress(PeatError):
                await stream.stop(_GIVEN_UP)
        return False

    def _add(self, stream: Stream, want: Want, items: list[ObserveItem]) -> None:
        is_new = want.hash not in self._held
        before = self._held.setdefault(want.hash, ChunkRanges.none())
        news = [ChunkRanges.none()]
        for item in items:
            if item.ranges and item.size not in (0, want.size):
                raise IntegrityError(
                    f"peer {stream.remote_id.short} says that blob {want.hash} has {item.size} bytes,"
                    f" not {want.size}"
                )
            if item.ranges:
                news.append(item.ranges.whole_groups(want.size))
        while len(news) > 1:  # pairwise: items are small and what is held may have many pieces
            news = [reduce(or_, news[at : at + 2]) for at in range(0, len(news), 2)]
        self._held[want.hash] |= news[0]
        has_more, now = self._held[want.hash] != before, asyncio.get_running_loop().time()
        if is_new or has_more:
            self._heard_at = now
        if has_more and not is_new:
            self._news_at = now
            self._changed()
