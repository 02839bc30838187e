"""The board of a fetch: nothing on it is lost, whoever takes from it and whenever they are cancelled."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from peat_sidecar.errors import IntegrityError
from peat_sidecar.ids import Digest
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store import PartialBlob, Store
from peat_sidecar.transfer.board import OPEN_BLOBS, Board
from peat_sidecar.transfer.coming import Taken
from peat_sidecar.transfer.division import count
from peat_sidecar.transfer.progress import Progress
from peat_sidecar.transfer.wants import Want
from tests.support.nodes import bounded
from tests.support.real_files import real_bytes
from tests.support.verified_pieces import tree_of, verified_pieces

SIZE = 100_000
EVERYTHING, NOTHING = ChunkRanges.all(), ChunkRanges.none()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path) as opened:
        yield opened


def data_of(number: int) -> bytes:
    return real_bytes(SIZE, number * SIZE)


def want_of(number: int, digest: Digest | None = None) -> Want:
    return Want(tree_of(data_of(number))[0], SIZE, digest)


async def bring(board: Board, taken: Taken, number: int) -> None:
    """What a stream does with its part."""
    data = data_of(number)
    for piece in verified_pieces(data, tree_of(data)[1], taken.ranges):
        await board.write(taken, piece)
    await board.settle(taken)


async def test_what_one_peer_lacks_is_left_for_another(store: Store) -> None:
    """One that has nothing goes through all blobs while another one is slow; that one gets all of them."""
    wants = [want_of(number) for number in range(3 * OPEN_BLOBS)]
    board = Board(store, wants, Progress())
    slow = await board.take(lambda _: EVERYTHING, 1e9)
    assert slow is not None
    lacks: set[Want] = set()
    while asked := await board.take(lambda want: NOTHING if want in lacks else EVERYTHING, 1e9):
        lacks.add(asked.blob.want)
        await board.settle(asked)
    assert len(lacks) >= len(wants) - 1
    taken: Taken | None = slow
    while taken is not None:
        await bring(board, taken, wants.index(taken.blob.want))
        taken = await board.take(lambda _: EVERYTHING, 1e9)
    assert board.is_done
    assert all(store.find(want.hash).complete for want in wants)  # type: ignore[union-attr]


async def test_what_was_put_away_may_be_had_by_whom_holds_it(store: Store) -> None:
    """Who asks before it waits for leave is not told that there is nothing."""
    board = Board(store, [want_of(number) for number in range(OPEN_BLOBS + 1)], Progress())
    lacks: list[Want] = []
    while asked := await board.take(lambda want: NOTHING if want in lacks else EVERYTHING, 1e9):
        lacks.append(asked.blob.want)
        await board.settle(asked)
    away = lacks[0]
    assert not board.may_have(lambda _: NOTHING)
    assert board.may_have(lambda want: EVERYTHING if want == away else NOTHING)
    taken = await board.take(lambda want: EVERYTHING if want == away else NOTHING, 1e9)
    assert taken is not None
    assert taken.blob.want == away
    await board.close()


async def test_a_taker_that_is_cancelled_loses_no_blob(store: Store) -> None:
    board = Board(store, [want_of(0)], Progress())
    taking = asyncio.create_task(board.take(lambda _: EVERYTHING, None))
    await asyncio.sleep(0)
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert not board.is_done
    taken = await bounded(board.take(lambda _: EVERYTHING, 1e9))
    assert taken is not None
    await bring(board, taken, 0)
    assert await board.take(lambda _: EVERYTHING, None) is None
    assert board.is_done


async def test_whoever_comes_while_a_blob_is_opened_takes_from_it(store: Store) -> None:
    board = Board(store, [want_of(0)], Progress(), takers=2)
    both = await bounded(asyncio.gather(*(board.take(lambda _: EVERYTHING, 16.0) for _ in range(2))))
    assert all(both)
    for taken in both:
        assert taken is not None
        await board.settle(taken)
    await board.close()


@pytest.mark.parametrize("digest", [None, Digest("sha256", "0" * 64)])
async def test_one_that_is_cancelled_while_it_publishes_counts_what_it_wrote(
    store: Store, digest: Digest | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with the content is not lost either."""
    loop, progress = asyncio.get_running_loop(), Progress()
    board = Board(store, [want_of(0, digest)], progress)
    taken = await board.take(lambda _: EVERYTHING, 1e9)
    assert taken is not None
    bringing = asyncio.create_task(bring(board, taken, 0))
    finish = PartialBlob.finish

    def cancelled_then_finished(partial: PartialBlob) -> object:
        loop.call_soon_threadsafe(bringing.cancel)
        time.sleep(0.05)
        return finish(partial)

    monkeypatch.setattr(PartialBlob, "finish", cancelled_then_finished)
    with pytest.raises(asyncio.CancelledError):
        await bounded(bringing)
    assert progress.done_bytes == SIZE
    if digest is None:
        assert await board.take(lambda _: EVERYTHING, None) is None
        assert board.is_done
        assert progress.done_blobs == 1
    else:
        with pytest.raises(IntegrityError, match="named for another"):
            await board.take(lambda _: EVERYTHING, None)


async def test_news_about_peers_does_not_undo_the_end(store: Store) -> None:
    board = Board(store, [], Progress())
    assert await board.take(lambda _: EVERYTHING, None) is None
    assert board.is_done
    board.tell()
    assert board.is_done


async def test_waiting_in_vain_leaves_nothing(store: Store) -> None:
    board = Board(store, [], Progress())
    for _ in range(3):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.001):
                await board.changed()
    assert not board._waiting


async def test_little_is_asked_for_until_it_is_known_who_else_gets_it(store: Store) -> None:
    """What several claim of a seed at once comes from it several times."""
    data = real_bytes(4 << 20)
    want, sizes = Want(tree_of(data)[0], len(data), None), []
    for spread in (False, True):
        board = Board(store, [want], Progress(), spread=spread)
        taken = await board.take(lambda _: EVERYTHING, 1024.0)
        assert taken is not None
        sizes.append(count(taken.ranges))
        await board.settle(taken)
        await board.close()
    assert sizes == [4096, 256]


async def test_what_others_are_at_is_left_to_them_unless_it_is_time_to_look(store: Store) -> None:
    board = Board(store, [want_of(0)], Progress())
    slow = await board.take(lambda _: EVERYTHING, 16.0)
    while await board.take(lambda _: EVERYTHING, 16.0, over=False):
        pass
    assert slow is not None
    assert not board.may_have(lambda _: EVERYTHING, over=False)
    assert await board.take(lambda _: EVERYTHING, 1e9) is not None
    await board.close()
