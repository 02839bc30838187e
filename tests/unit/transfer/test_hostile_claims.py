"""Peers that claim without giving: nothing is looped over for ever, and nothing grows with a claim."""

import tracemalloc

import pytest

from peat_sidecar.bao import encode
from peat_sidecar.errors import NotFound, PeerUnavailable
from peat_sidecar.net import Stream
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.transfer import Progress
from peat_sidecar.wire import (
    ErrorCode,
    Observe,
    ObserveItem,
    encode_observe_item,
    encode_size,
    parse_request,
)
from tests.support.nodes import Node, bounded
from tests.support.real_files import real_bytes
from tests.support.verified_pieces import tree_of
from tests.unit.transfer.test_lying_peers import HASH, Liar, both

__all__ = ["both"]


@pytest.mark.parametrize(
    "held", [ChunkRanges.none(), ChunkRanges.of(16, None)], ids=["none", "but the first"]
)
async def test_a_size_that_is_only_claimed(both: tuple[Liar, Node], held: ChunkRanges) -> None:
    liar, node = both

    async def reply(_: Liar, stream: Stream, request: bytes) -> None:
        if isinstance(parse_request(request), Observe):
            claim = held if liar.requests > 2 else ChunkRanges.of(0, 16)
            await stream.write(encode_observe_item(ObserveItem(1 << 50, claim)))
            await stream.finish()
        else:
            await stream.reset(ErrorCode.INTERNAL)

    liar.reply = reply
    tracemalloc.start()
    try:
        with pytest.raises((NotFound, PeerUnavailable)):
            await bounded(node.getter.fetch_blob(HASH, liar.address, Progress()), 10)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert liar.requests < 100


async def test_a_collection_that_always_breaks_off_is_given_up(both: tuple[Liar, Node]) -> None:
    liar, node = both
    sequence = real_bytes(32 * 2000)
    root, pairs = tree_of(sequence)
    body = b"".join(
        encode(
            len(sequence),
            ChunkRanges.all(),
            lambda offset, length: sequence[offset : offset + length],
            lambda offset, length: pairs[offset : offset + length],
        )
    )

    async def reply(_: Liar, stream: Stream, request: bytes) -> None:
        await stream.write(encode_size(len(sequence)) + body)
        await stream.finish()

    liar.reply = reply
    with pytest.raises(PeerUnavailable, match="ended its stream"):
        await bounded(node.getter.fetch_package(root, liar.address, Progress()), 5)
    assert liar.requests < 12
