"""Reading a blob while it comes: what is verified, in order; the last group when the digest is proven."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from peat_sidecar.errors import IntegrityError
from peat_sidecar.ids import Digest
from peat_sidecar.ranges import GROUP_SIZE, ChunkRanges
from peat_sidecar.store import PartialBlob, Store
from peat_sidecar.transfer import ArrivingBlob, Readings
from peat_sidecar.transfer.arriving import readable_end
from peat_sidecar.transfer.board import Board
from peat_sidecar.transfer.progress import Progress
from peat_sidecar.transfer.wants import Want
from tests.support.nodes import bounded, sha256_of
from tests.support.real_files import real_bytes
from tests.support.verified_pieces import tree_of, verified_pieces

SIZE = 5 * GROUP_SIZE + 1000
LAST = 5 * GROUP_SIZE
DATA = real_bytes(SIZE, 0)
HASH, TREE = tree_of(DATA)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path) as opened:
        yield opened


@pytest.fixture
async def arriving(store: Store) -> Iterator[ArrivingBlob]:
    blob = ArrivingBlob(store, HASH, SIZE, Readings())
    yield blob
    blob.close()


def write(partial: PartialBlob, start: int, end: int | None) -> None:
    """Chunks of it."""
    for piece in verified_pieces(DATA, TREE, ChunkRanges.of(start, end)):
        partial.write(piece)


async def test_in_order_and_no_further_than_it_is_here(store: Store, arriving: ArrivingBlob) -> None:
    assert await arriving.read(0, SIZE) == b""
    with store.partial(HASH, SIZE, expected=sha256_of(DATA)) as partial:
        changing = asyncio.create_task(arriving.changed())
        write(partial, 32, 48)
        write(partial, 0, 16)
        await bounded(changing)
        assert await arriving.read(0, SIZE) == DATA[:GROUP_SIZE]
        assert await arriving.read(100, 50) == DATA[100:150]
        assert await arriving.read(GROUP_SIZE, SIZE) == b""
        assert await arriving.read(2 * GROUP_SIZE + 5, SIZE) == DATA[2 * GROUP_SIZE + 5 : 3 * GROUP_SIZE]
        write(partial, 16, 32)
        assert await arriving.read(0, SIZE) == DATA[: 3 * GROUP_SIZE]


async def test_the_last_group_waits_for_the_proof(store: Store, arriving: ArrivingBlob) -> None:
    with store.partial(HASH, SIZE, expected=sha256_of(DATA)) as partial:
        write(partial, 0, None)
        assert await arriving.read(0, SIZE) == DATA[:LAST]
        assert await arriving.read(LAST, SIZE) == b""
        partial.finish()
        assert await arriving.read(LAST, SIZE) == DATA[LAST:]
        assert await arriving.read(0, SIZE) == DATA


async def test_one_that_is_another_blob_is_never_whole(store: Store, arriving: ArrivingBlob) -> None:
    with store.partial(HASH, SIZE, expected=Digest("sha256", "0" * 64)) as partial:
        write(partial, 0, None)
        assert await arriving.read(0, SIZE) == DATA[:LAST]
        with pytest.raises(IntegrityError):
            partial.finish()
    assert await arriving.read(LAST, SIZE) == b""


async def test_one_that_comes_whole_another_way(store: Store, arriving: ArrivingBlob) -> None:
    with store.partial(HASH, SIZE) as partial:
        write(partial, 0, 16)
        assert await arriving.read(0, 100) == DATA[:100]
    store.put(DATA)
    async with asyncio.timeout(10):
        while not (data := await arriving.read(LAST, SIZE)):  # noqa: ASYNC110 - as its readers do
            await asyncio.sleep(0.05)
    assert data == DATA[LAST:]


@pytest.mark.parametrize("size", [0, 1, GROUP_SIZE, GROUP_SIZE + 1])
def test_what_may_be_read_before_the_proof(size: int) -> None:
    held = ChunkRanges.all().clamp(size)
    assert readable_end(held, 0, size) == max(0, size - 1) // GROUP_SIZE * GROUP_SIZE
    assert readable_end(ChunkRanges.all(), 0, size) == size


async def test_what_is_read_is_fetched_first(store: Store) -> None:
    """From where its reader is, before blobs that were begun before it."""
    contents = [real_bytes(SIZE, number * SIZE) for number in range(3)]
    wants = [Want(tree_of(each)[0], SIZE) for each in contents]
    readings = Readings()
    board = Board(store, wants, Progress(), readings=readings)

    async def take() -> tuple[Want, int]:
        taken = await board.take(lambda _: ChunkRanges.all(), 1.0)
        assert taken is not None
        start, _ = next(taken.ranges.intervals())
        return taken.blob.want, start

    assert await take() == (wants[0], 0)
    reader = object()
    readings.move(reader, wants[2].hash, 3 * GROUP_SIZE + 7)
    assert await take() == (wants[2], 48)
    assert await take() == (wants[2], 64)
    assert await take() == (wants[2], 80)
    assert await take() == (wants[2], 0)
    readings.end(reader, wants[2].hash)
    assert await take() == (wants[0], 16)
    await board.close()
