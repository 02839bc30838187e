"""What is left when work ends in the middle: by cancels, at an awkward moment or twice, by others' doing."""

import asyncio
import contextlib
import errno
import os
import threading
from pathlib import Path

import pytest

from peat_sidecar.errors import PeerUnavailable, StoreFull
from peat_sidecar.ids import BlobHash
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store import Disk, PartialBlob, Store
from peat_sidecar.transfer import Progress, Sources
from peat_sidecar.transfer.board import Board
from peat_sidecar.transfer.sharing import share
from peat_sidecar.transfer.wants import Want
from peat_sidecar.wire import ALPN, Observe, encode_request
from tests.support.networks import network
from tests.support.nodes import bounded, put_package, start_node, two_nodes, until
from tests.support.real_files import real_bytes
from tests.support.verified_pieces import tree_of, verified_pieces
from tests.unit.transfer.test_getter import layered


async def test_a_cancel_is_not_lost_to_an_error_of_the_same_moment() -> None:
    items = iter("ab")
    failed, may_end = asyncio.Event(), asyncio.Event()

    async def following() -> str | None:
        return next(items, None)

    async def work(item: str) -> None:
        if item == "a":
            failed.set()
            raise PeerUnavailable("the peer is gone")
        try:
            await asyncio.Event().wait()
        finally:
            await may_end.wait()

    task = asyncio.create_task(share(following, work, 2))
    await bounded(failed.wait())
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await bounded(task)


async def test_a_cancel_while_blobs_are_put_away_leaves_none_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wants = [Want(tree_of(data)[0], len(data)) for data in (real_bytes(3_000_000), real_bytes(2_000_000))]
    async with two_nodes(tmp_path) as (_, getter, _):
        board = Board(getter.store, wants, Progress())
        while await board._open_next(lambda _: ChunkRanges.all(), board._opened):
            pass
        assert len(board._coming) == len(wants)
        close = PartialBlob.close
        loop = asyncio.get_running_loop()

        def closes(partial: PartialBlob) -> None:
            loop.call_soon_threadsafe(task.cancel)
            close(partial)

        monkeypatch.setattr(PartialBlob, "close", closes)
        task = asyncio.create_task(board.close())
        await bounded(asyncio.wait({task}))
        for want in wants:
            getter.store.delete(want.hash)  # refused while it is open


async def test_a_blob_that_comes_another_way_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = real_bytes(3_000_000), real_bytes(2_000_000, 1000)
    manifest, blobs = layered(first, second)
    async with two_nodes(tmp_path) as (provider, getter, _):
        sent = put_package(provider.store, manifest, blobs)
        partial = getter.store.partial

        def partial_after_import(*arguments: object, **options: object) -> PartialBlob:
            getter.store.put(first)
            return partial(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(getter.store, "partial", partial_after_import)
        progress = Progress()
        got = await bounded(getter.getter.fetch_package(sent.collection, provider.address, progress))
        assert got.blobs == sent.blobs
        assert progress.done_bytes == progress.total_bytes == sent.bytes


async def test_observers_leave_no_task_behind(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (provider, getter, _):
        blob = provider.store.put(real_bytes(100_000)).hash
        connection = await bounded(getter.pool.connection(provider.address, ALPN))
        stream = await connection.open_stream()
        await stream.write(encode_request(Observe(blob, ChunkRanges.all())))
        await stream.finish()
        await bounded(stream.read(1000))
        await asyncio.sleep(0.3)
        getter.pool.discard(connection)
        await until(lambda: not provider.peers._inbound)
        for _ in range(5):
            await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if "_News.wait" in repr(task.get_coro())]
        assert left == []


def test_a_fetch_that_begins_while_its_remains_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = real_bytes(300_000)
    blob, pairs = tree_of(data)
    with Store.open(tmp_path) as store:
        store.partial(blob, len(data)).close()
        remove = store._shelf.remove_part
        opened: list[PartialBlob] = []
        other = threading.Thread(target=lambda: opened.append(store.partial(blob, len(data))))

        def removes(blob_hash: BlobHash) -> None:
            other.start()
            other.join(0.3)  # it is let in now, or when all is removed
            remove(blob_hash)

        monkeypatch.setattr(store._shelf, "remove_part", removes)
        store.delete(blob)
        other.join(10)
        (partial,) = opened
        for piece in verified_pieces(data, pairs, ChunkRanges.all()):
            partial.write(piece)
        assert partial.finish().complete


class UnprotectingDisk(Disk):
    """Has no room at the moment in which a large blob is published."""

    def protect(self, fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


async def test_a_blob_that_cannot_be_published_ends_the_fetch_with_what_is_wrong(tmp_path: Path) -> None:
    """Also when another peer, which has nothing left to do, ends before the one whose stream brought it."""
    async with network("memory") as made, contextlib.AsyncExitStack() as stack:
        nodes = []
        for number in range(3):
            disk = UnprotectingDisk() if number == 2 else None
            store = stack.enter_context(Store.open(tmp_path / str(number), disk=disk))
            nodes.append(await start_node(store, made))
            stack.push_async_callback(nodes[-1].vanish)
        *providers, getter = nodes
        for number in range(5):
            data = real_bytes(300_000, number * 300_000)
            blob, *_ = [each.store.put(data).hash for each in providers]
            sources = Sources([each.address for each in providers])
            with pytest.raises(StoreFull, match="no room"):
                await bounded(getter.getter.fetch_blob(blob, sources, Progress()))
            found = getter.store.find(blob)
            assert found is not None
            assert not found.complete
            assert found.present == len(data)  # kept for when there is room
