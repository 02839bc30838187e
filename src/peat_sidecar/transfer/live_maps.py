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
from peat_sidecar.net import Connection, Stream, StreamEnded
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
        stream = await connection.open_stream()
        reader, is_followed = ObserveReader(), False
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
            self._held.setdefault(want.hash, ChunkRanges.none())
            self._add(stream, want, items)
            self._heard_at = asyncio.get_running_loop().time()
            is_followed = want.hash not in self._following and len(self._following) < FOLLOWED
            if is_followed:
                listening = self._listen(stream, reader, want)
                self._following[want.hash] = asyncio.create_task(listening, name="observe a peer")
        finally:
            if not is_followed:
                await stream.stop(_GIVEN_UP)

    async def close(self) -> None:
        """Listens no more."""
        await end(self._following.values())

    async def _listen(self, stream: Stream, reader: ObserveReader, want: Want) -> None:
        """A peer that ends it, breaks off or says something wrong loses nothing but the news."""
        stream.stall_seconds = None
        heard, most = 0, NEWS_BYTES + NEWS_BYTES_PER_GROUP * (want.size // GROUP_SIZE + 1)
        try:
            with suppress(PeatError):
                while heard < most and (data := await stream.read(_READ_BYTES)):
                    heard += len(data)
                    if self._add(stream, want, reader.feed(data)):
                        self._news_at = self._heard_at = asyncio.get_running_loop().time()
                        self._changed()
                    await asyncio.sleep(_READ_PAUSE_SECONDS)
        finally:
            self._following.pop(want.hash, None)
            with suppress(PeatError):
                await stream.stop(_GIVEN_UP)

    def _add(self, stream: Stream, want: Want, items: list[ObserveItem]) -> bool:
        """Whether it holds more than before."""
        before = self._held[want.hash]
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
        return self._held[want.hash] != before
