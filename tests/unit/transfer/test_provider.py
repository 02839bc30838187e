"""What the provider answers, what it refuses, and that neither costs it much."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from blake3 import blake3

from peat_sidecar.ids import BlobHash
from peat_sidecar.net import Connection, StreamReset
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store import Store
from peat_sidecar.transfer.answering import EXCESS_LIMIT_BYTES, answer
from peat_sidecar.transfer.provider import ANSWERS_PER_PEER, OBSERVERS_PER_CONNECTION
from peat_sidecar.wire import (
    ALPN,
    ErrorCode,
    Get,
    GetMany,
    Observe,
    ObserveItem,
    ObserveReader,
    Push,
    RangesSeq,
    Request,
    TooManyRanges,
    encode_hash_sequence,
    encode_request,
)
from tests.support.networks import KINDS
from tests.support.nodes import Node, bounded, two_nodes, until
from tests.support.real_files import real_bytes
from tests.support.verified_pieces import tree_of, verified_pieces

LARGE = real_bytes(3_000_000)
ALL = ChunkRanges.all()


class Link:
    """A connection to a provider, over which requests are asked by hand."""

    def __init__(self, provider: Node, getter: Node, connection: Connection) -> None:
        self.provider, self.getter, self.connection = provider, getter, connection
        self.store: Store = provider.store

    async def ask(self, request: Request | bytes) -> bytes:
        stream = await self.connection.open_stream()
        stream.stall_seconds = 10  # of the getter: the provider's is what tests wait for
        await stream.write(request if isinstance(request, bytes) else encode_request(request))
        await stream.finish()
        return await bounded(stream.read_to_end(1 << 26))

    async def refusal(self, request: Request | bytes) -> int:
        with pytest.raises(StreamReset) as reset:
            await self.ask(request)
        return reset.value.code


@pytest.fixture(params=KINDS)
async def link(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Link]:
    async with two_nodes(tmp_path, request.param, stall_seconds=2) as (provider, getter, _):
        yield Link(provider, getter, await getter.endpoint.connect(provider.address, ALPN))


async def test_push_is_refused_and_stores_nothing(link: Link) -> None:
    data = real_bytes(1000)
    blob = BlobHash(blake3(data).digest())
    push = encode_request(Push(blob, RangesSeq.whole_blob())) + len(data).to_bytes(8, "little") + data
    assert await link.refusal(push) == ErrorCode.PERMISSION
    assert link.store.find(blob) is None


async def test_what_is_not_here_is_checked_before_anything_is_sent(link: Link) -> None:
    blob, pairs = tree_of(LARGE)
    absent = BlobHash(blake3(b"absent").digest())
    with link.store.partial(blob, len(LARGE)) as partial:
        for piece in verified_pieces(LARGE, pairs, ChunkRanges.of(16, 64)):
            partial.write(piece)
        assert await link.refusal(Get(blob, RangesSeq.whole_blob())) == ErrorCode.INTERNAL
        assert await link.refusal(Get(blob, RangesSeq.blob(ChunkRanges.of(10, 20)))) == ErrorCode.INTERNAL
        assert await link.refusal(Get(absent, RangesSeq.whole_blob())) == ErrorCode.INTERNAL
        assert len(await link.ask(Get(blob, RangesSeq.blob(ChunkRanges.of(16, 64))))) > 48 * 1024
        assert len(await link.ask(Get(blob, RangesSeq.blob(ChunkRanges.of(20, 21))))) > 1024


async def test_after_a_valid_beginning_the_answer_ends_early(link: Link) -> None:
    first = link.store.put(real_bytes(700_000)).hash
    absent = BlobHash(blake3(b"absent").digest())
    whole = RangesSeq.of({0: ALL, 1: ALL})
    got = await link.ask(GetMany((first, absent), whole))
    assert len(got) > 700_000


async def test_a_hash_sequence_is_read_piece_by_piece(link: Link) -> None:
    blobs = [link.store.put(real_bytes(3, skip)).hash for skip in range(7)]
    hashes = [blobs[number % 7] for number in range(5000)]
    sequence = link.store.put(encode_hash_sequence(hashes)).hash
    got = await link.ask(Get(sequence, RangesSeq(((1, ALL),))))
    assert len(got) == 5000 * 11
    last = await link.ask(Get(sequence, RangesSeq.of({5000: ALL})))
    assert last == got[-11:]
    assert await link.refusal(Get(blobs[0], RangesSeq.whole_sequence())) == ErrorCode.INTERNAL


async def test_a_request_that_never_ends_holds_nothing_up(link: Link) -> None:
    stream = await link.connection.open_stream()
    await stream.write(b"\x00")
    blob = link.store.put(real_bytes(100)).hash
    assert len(await link.ask(Get(blob, RangesSeq.whole_blob()))) == 108
    await stream.reset(0)


async def test_too_many_ranges_are_refused(link: Link) -> None:
    blob = link.store.put(LARGE).hash
    many = ChunkRanges.from_boundaries(range(0, 4200, 2))
    assert await link.refusal(Get(blob, RangesSeq.blob(many))) == ErrorCode.LIMIT
    dense = ChunkRanges.from_boundaries(range(2048))
    assert len(await link.ask(Get(blob, RangesSeq.blob(dense)))) > 1024 * 1024


async def test_unread_answers_are_given_up(link: Link) -> None:
    blob = link.store.put(LARGE).hash
    streams = []
    for _ in range(ANSWERS_PER_PEER + 1):
        stream = await link.connection.open_stream()
        await stream.write(encode_request(Get(blob, RangesSeq.whole_blob())))
        await stream.finish()
        streams.append(stream)
    # none of them is read; after the stall time the slots are free again
    stream = await link.connection.open_stream()
    stream.stall_seconds = None
    await stream.write(encode_request(Get(blob, RangesSeq.blob(ChunkRanges.LAST))))
    await stream.finish()
    assert await bounded(stream.read_to_end(10_000))


async def test_observers_are_told_and_bounded(link: Link) -> None:
    blob, pairs = tree_of(LARGE)
    request = encode_request(Observe(blob, ALL))
    stream = await link.connection.open_stream()
    stream.stall_seconds = None
    await stream.write(request)
    await stream.finish()
    reader = ObserveReader()

    async def told(enough: ChunkRanges, held: ChunkRanges) -> ChunkRanges:
        while enough - held:
            for item in reader.feed(await bounded(stream.read(1 << 16))):
                held = held | item.ranges
                assert item.size in (0, len(LARGE))
        return held

    assert reader.feed(await bounded(stream.read(100))) == [ObserveItem(0, ChunkRanges.none())]
    with link.store.partial(blob, len(LARGE)) as partial:
        held = ChunkRanges.none()
        for part in (ChunkRanges.of(32, 64), ChunkRanges.of(0, 32), ALL):
            for piece in verified_pieces(LARGE, pairs, part):
                partial.write(piece)
            held = await told(part.clamp(len(LARGE)), held)
        partial.finish()
    assert (await told(ALL, held)).is_all
    await stream.stop(0)

    streams = []
    for _ in range(OBSERVERS_PER_CONNECTION):
        each = await link.connection.open_stream()
        await each.write(request)
        await each.finish()
        assert await bounded(each.read(100))
        streams.append(each)
    assert await link.refusal(Observe(blob, ALL)) == ErrorCode.LIMIT
    for each in streams:
        await each.stop(0)
    await until(lambda: not link.store._shelf._listeners)
    assert await link.ask(Get(blob, RangesSeq.blob(ChunkRanges.LAST)))


async def test_a_linked_file_that_was_changed_is_not_served(link: Link, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(LARGE)
    with source.open("rb") as file:
        info = link.store.import_file(file.fileno(), link=True)
    if not info.linked:  # a reflink: the store has its own copy
        return
    source.write_bytes(LARGE[::-1])
    os.utime(source, (1, 1))
    assert await link.refusal(Get(info.hash, RangesSeq.whole_blob())) == ErrorCode.INTERNAL


def test_a_legal_request_cannot_make_it_read_without_end(tmp_path: Path) -> None:
    """A single chunk of each group, of one blob named ten thousand times: 1 KiB sent for each 16 KiB read."""
    with Store.open(tmp_path) as store:
        blob = store.put(LARGE).hash
        sparse = ChunkRanges.from_boundaries(
            boundary for group in range(0, 2900, 16) for boundary in (group + 3, group + 4)
        )
        count = 10_000
        request = GetMany((blob,) * count, RangesSeq(((0, sparse), (count, ChunkRanges.none()))))
        sent: list[int] = []
        with pytest.raises(TooManyRanges):
            sent.extend(len(piece) for piece in answer(store, request))
        assert sum(sent) < EXCESS_LIMIT_BYTES
