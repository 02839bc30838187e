"""Small blobs, fetched many in a request and kept within a second of their coming."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence

from peat_sidecar.ids import EMPTY_HASH
from peat_sidecar.net import Connection
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store import Store
from peat_sidecar.transfer.answers import Asking, or_lacking
from peat_sidecar.transfer.blame import misnaming
from peat_sidecar.transfer.intake import Intake
from peat_sidecar.transfer.lanes import Passage
from peat_sidecar.transfer.sharing import share, until
from peat_sidecar.transfer.threads import in_thread, to_its_end
from peat_sidecar.transfer.wants import Want
from peat_sidecar.wire import GetMany, RangesSeq

_BATCH_BLOBS = 256
_BATCH_BYTES = 1 << 20
_BATCHES_AT_ONCE = 2
"""One comes while another is written to disk."""
_KEEP_SECONDS = 1.0


class SmallBlobs:
    """Over one connection. Tries nothing twice: what came before an error is kept, the rest is asked for
    again.
    """

    def __init__(self, store: Store, connection: Connection, intake: Intake) -> None:
        self._store = store
        self._connection = connection
        self._progress = intake.progress
        self._intake = intake

    async def fetch(self, wants: Iterable[Want]) -> None:
        """All of them, into the store."""
        left = batches(wants)

        async def following() -> list[Want] | None:
            return next(left, None)

        await share(following, self._fetch_batch, _BATCHES_AT_ONCE)

    async def _fetch_batch(self, batch: Sequence[Want]) -> None:
        asked = [want for want in batch if want.hash != EMPTY_HASH]
        await self._keep([(want, b"") for want in batch if want.hash == EMPTY_HASH])
        while asked:
            most = self._intake.part_bytes(self._connection)
            few = asked if most is None else next(batches(asked, most))
            with await self._intake.enter(self._connection, sum(map(_wire_bytes, few))) as passage:
                arrived: list[Want] = []
                await until(passage.over, self._fetch_few(few, passage, arrived))
            asked = asked[len(arrived) :]

    async def _fetch_few(self, asked: Sequence[Want], passage: Passage, done: list[Want]) -> None:
        """One request; those that have come are `done`, however it ends."""
        whole = RangesSeq.of(dict.fromkeys(range(len(asked)), ChunkRanges.all()))
        request = GetMany(tuple(want.hash for want in asked), whole)
        arrived: list[tuple[Want, bytes]] = []
        kept_at = asyncio.get_running_loop().time()
        try:
            async with (
                or_lacking(self._connection, f"blob {asked[0].hash}"),
                Asking(self._connection, request, passage) as answer,
            ):
                for want in asked:
                    arrived.append((want, await answer.blob(want.hash, expected=want.size)))
                    done.append(want)
                    now = asyncio.get_running_loop().time()
                    if now - kept_at >= _KEEP_SECONDS:
                        keep, arrived, kept_at = arrived, [], now
                        await self._keep(keep)
        finally:
            await self._keep(arrived)

    async def _keep(self, arrived: Sequence[tuple[Want, bytes]]) -> None:
        """A cancel takes effect when it is done: else what is in the store would not be counted."""
        if arrived:
            await to_its_end(self._put(arrived))

    async def _put(self, arrived: Sequence[tuple[Want, bytes]]) -> None:
        items = [(data, want.digest, want.media_type) for want, data in arrived]
        with misnaming("a small blob was named for another"):
            await in_thread(self._store.put_many, items)
        size = sum(want.size for want, _ in arrived)
        self._progress.done_bytes += size
        self._progress.source(self._connection.remote_id).done(size)
        self._progress.done_blobs += len(arrived)


def _wire_bytes(want: Want) -> int:
    """With its size and pairs."""
    return want.size + want.size // 200 + 8


def batches(wants: Iterable[Want], most_bytes: int = _BATCH_BYTES) -> Iterator[list[Want]]:
    """Blobs for one request each."""
    batch: list[Want] = []
    size = 0
    for want in wants:
        if batch and (len(batch) == _BATCH_BLOBS or size + want.size > most_bytes):
            yield batch
            batch, size = [], 0
        batch.append(want)
        size += want.size
    if batch:
        yield batch
