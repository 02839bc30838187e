"""A hundred streams that stall in the middle, on either side: what they hold is bounded, and they end."""

import asyncio
import contextlib
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

from peat_sidecar.bao import encode
from peat_sidecar.errors import PeatError, PeerUnavailable
from peat_sidecar.ids import BlobHash
from peat_sidecar.net import Connection, Stream
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.transfer import Progress
from peat_sidecar.transfer.outlet import PIECE_BYTES
from peat_sidecar.transfer.provider import ANSWERS, ANSWERS_PER_PEER
from peat_sidecar.wire import ALPN, Get, RangesSeq, encode_request, encode_size, parse_request
from tests.support.nodes import Node, bounded, two_nodes, until
from tests.support.real_files import real_bytes
from tests.support.verified_pieces import tree_of
from tests.unit.transfer.test_lying_peers import Liar

STREAMS = 100
SIZE = 8_000_000
STALL_SECONDS = 2.0
TRANSPORT_BYTES = 3 << 19
"""That it takes of a stream which nobody reads."""
HELD_BYTES = 4 * ANSWERS * PIECE_BYTES
"""By all streams together, in what Python holds; the blobs that they are about have 800 MB."""


def all_ended(node: Node) -> Callable[[], bool]:
    """Whether no answer is under way, for a while."""
    quiet = 0

    def ended() -> bool:
        nonlocal quiet
        quiet = 0 if node.provider._answers._value < ANSWERS else quiet + 1
        return quiet > 500

    return ended


@contextlib.contextmanager
def bounded_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < HELD_BYTES
    finally:
        tracemalloc.stop()


async def test_peers_that_take_nothing_are_given_little_and_not_for_long(tmp_path: Path) -> None:
    async with two_nodes(tmp_path, "iroh", stall_seconds=STALL_SECONDS) as (node, _, made):
        blob = node.store.put(real_bytes(SIZE)).hash
        request = encode_request(Get(blob, RangesSeq.blob(ChunkRanges.all())))
        streams, connections = list[Stream](), list[Connection]()
        with bounded_memory():
            for _ in range(STREAMS // ANSWERS_PER_PEER):
                peer = await made.endpoint(stall_seconds=60)
                connections.append(await peer.connect(node.address, ALPN))
                for _ in range(ANSWERS_PER_PEER):
                    streams.append(await connections[-1].open_stream())
                    await streams[-1].write(request)
                    await streams[-1].finish()
            await until(lambda: node.provider.sent_bytes > 0)
            await until(all_ended(node), 60)
        assert node.provider.answered == 0
        assert 0 < node.provider.sent_bytes < STREAMS * TRANSPORT_BYTES
        reader = await made.endpoint(stall_seconds=60)
        stream = await (await reader.connect(node.address, ALPN)).open_stream()
        await stream.write(request)
        await stream.finish()
        assert len(await bounded(stream.read_exact(1 << 20))) == 1 << 20, "others are answered as ever"


async def test_peers_that_give_no_more_hold_little_and_are_left(tmp_path: Path) -> None:
    blobs = dict[BlobHash, tuple[bytes, bytes]]()
    for number in range(STREAMS):
        data = number.to_bytes(8) + real_bytes(2_000_000)
        blob, pairs = tree_of(data)
        blobs[blob] = data, pairs
    stalled = 0

    async def reply(_: Liar, stream: Stream, request: bytes) -> None:
        nonlocal stalled
        asked = parse_request(request)
        assert isinstance(asked, Get)
        data, pairs = blobs[asked.hash]
        parts = encode(
            len(data),
            asked.ranges.at(0),
            lambda offset, length: data[offset : offset + length],
            lambda offset, length: pairs[offset : offset + length],
        )
        answer = encode_size(len(data)) + b"".join(parts)
        await stream.write(answer[: len(answer) // 2])
        stalled += 1
        with contextlib.suppress(PeatError):
            await stream.stopped()

    async with two_nodes(tmp_path, stall_seconds=0.5) as (_, node, made):
        liars = [Liar(await made.endpoint(stall_seconds=60)) for _ in range(10)]
        running = [asyncio.create_task(each.run()) for each in liars]
        for each in liars:
            each.reply = reply
        try:
            with bounded_memory():
                fetches = [
                    asyncio.create_task(
                        node.getter.fetch_blob(blob, liars[number % len(liars)].address, Progress())
                    )
                    for number, blob in enumerate(blobs)
                ]
                await until(lambda: stalled >= STREAMS)
                ended = await bounded(asyncio.gather(*fetches, return_exceptions=True), 120)
            assert all(isinstance(each, PeerUnavailable) for each in ended)
            assert not node.shaper.down.under_way
        finally:
            for each in liars:
                await each.close()
                await each.endpoint.close()
            await asyncio.gather(*running)
