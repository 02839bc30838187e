"""Peers that are getting a blob themselves: what they have by now is taken from them at once."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from peat_sidecar.errors import PeatError
from peat_sidecar.net import Stream
from peat_sidecar.ranges import GROUP_SIZE, ChunkRanges
from peat_sidecar.transfer import Progress, Sources
from peat_sidecar.wire import ErrorCode, Observe, ObserveItem, encode_observe_item, parse_request
from tests.support.networks import ALPN
from tests.support.nodes import bounded, content, until
from tests.support.verified_pieces import tree_of, verified_pieces
from tests.unit.transfer.test_lying_peers import DATA as LIAR_DATA
from tests.unit.transfer.test_lying_peers import HASH, Liar, honest
from tests.unit.transfer.test_several_peers import DATA, put, several

HALF = len(DATA) // 2 // (1 << 20) * 1024


async def test_what_a_partial_holder_gains_is_taken_at_once(tmp_path: Path) -> None:
    """The seed is silent from its first part on, so that everything else is the other one's news."""
    async with several(tmp_path, 2, stall_seconds=60.0) as made:
        seed, partial_holder = made.providers
        blob, pairs = tree_of(DATA)
        put([seed])
        with partial_holder.store.partial(blob, len(DATA)) as partial:
            for piece in verified_pieces(DATA, pairs, ChunkRanges.of(0, HALF)):
                partial.write(piece)
            await made.getter.pool.connection(seed.address, ALPN)
            made.network.memory.stall(seed.endpoint.id, made.getter.endpoint.id)
            sources = Sources([partial_holder.address, seed.address])
            fetching = asyncio.create_task(made.getter.getter.fetch_blob(blob, sources, Progress()))
            await until(lambda: made.getter.store.find(blob) is not None)
            for piece in verified_pieces(DATA, pairs, ChunkRanges.of(HALF, None)):
                await asyncio.to_thread(partial.write, piece)
            await bounded(fetching)
        assert content(made.getter.store, blob) == DATA
        assert made.sent_by(partial_holder) > len(DATA) * 0.9


async def test_getters_that_begin_together_feed_each_other(tmp_path: Path) -> None:
    """Two that have different halves of a blob need the seed for neither."""
    async with several(tmp_path, 2) as made:
        blob, pairs = tree_of(DATA)
        put([made.providers[0]])
        halves = ChunkRanges.of(0, HALF), ChunkRanges.of(HALF, None)
        getters = [made.getter, made.providers[1]]
        for node, half in zip(getters, halves, strict=True):
            with node.store.partial(blob, len(DATA)) as partial:
                for piece in verified_pieces(DATA, pairs, half):
                    partial.write(piece)
        sources = [
            Sources([other.address, made.providers[0].address], spread=True) for other in reversed(getters)
        ]
        fetches = (
            node.getter.fetch_blob(blob, each, Progress())
            for node, each in zip(getters, sources, strict=True)
        )
        await bounded(asyncio.gather(*fetches))
        sent = made.network.memory.sent_bytes
        by_each_other = sum(sent[one.endpoint.id, other.endpoint.id] for one in getters for other in getters)
        assert by_each_other > len(DATA) // 10
        assert all(content(node.store, blob) == DATA for node in getters)


async def test_partial_holders_are_enough_where_together_they_have_everything(tmp_path: Path) -> None:
    async with several(tmp_path, 2) as made:
        blob, pairs = tree_of(DATA)
        for node, half in zip(
            made.providers, (ChunkRanges.of(0, HALF), ChunkRanges.of(HALF, None)), strict=True
        ):
            with node.store.partial(blob, len(DATA)) as partial:
                for piece in verified_pieces(DATA, pairs, half):
                    partial.write(piece)
        sources = Sources([each.address for each in made.providers], spread=True)
        await bounded(made.getter.getter.fetch_blob(blob, sources, Progress()))
        assert content(made.getter.store, blob) == DATA
        assert sum(map(made.sent_by, made.providers)) < len(DATA) * 1.2


async def test_one_that_gets_nothing_more_is_not_waited_for(tmp_path: Path) -> None:
    """What its share of the seed would be is taken by others in the end."""
    async with several(tmp_path, 2) as made:
        seed, stuck = made.providers
        blob, pairs = tree_of(DATA)
        put([seed])
        with stuck.store.partial(blob, len(DATA)) as partial:
            for piece in verified_pieces(DATA, pairs, ChunkRanges.of(0, 1024)):
                partial.write(piece)
        sources = Sources([seed.address, stuck.address], spread=True)
        await bounded(made.getter.getter.fetch_blob(blob, sources, Progress()))
        assert content(made.getter.store, blob) == DATA


@pytest.mark.parametrize("how", ["false", "flood", "end"])
async def test_one_whose_map_is_worth_nothing_does_not_harm_the_others(tmp_path: Path, how: str) -> None:
    async with several(tmp_path, 1) as made:
        made.providers[0].store.put(LIAR_DATA)
        liar = Liar(await made.network.endpoint(stall_seconds=20))
        running = asyncio.create_task(liar.run())

        async def reply(_: Liar, stream: Stream, request: bytes) -> None:
            if not isinstance(parse_request(request), Observe):
                await stream.reset(ErrorCode.INTERNAL)
                return
            held = ChunkRanges.of(0, None) if how == "false" else ChunkRanges.of(0, 1)
            with contextlib.suppress(PeatError):
                await stream.write(encode_observe_item(ObserveItem(len(LIAR_DATA), held)))
                while how == "flood":
                    await stream.write(encode_observe_item(ObserveItem(len(LIAR_DATA), held)) * 1000)
                await stream.finish()

        liar.reply = reply
        try:
            sources = Sources([liar.address, made.providers[0].address])
            await bounded(made.getter.getter.fetch_blob(HASH, sources, Progress()))
            assert content(made.getter.store, HASH) == LIAR_DATA
            assert liar.requests < 40
        finally:
            await liar.close()
            await liar.endpoint.close()
            await running


async def test_one_that_says_no_more_is_asked_again_what_it_holds(tmp_path: Path) -> None:
    """It ends what it tells, and gets the rest later; the seed is silent, so that nobody else gives it."""
    async with several(tmp_path, 1, stall_seconds=60.0) as made:
        (seed,) = made.providers
        seed.store.put(LIAR_DATA)
        liar = Liar(await made.network.endpoint(stall_seconds=20))
        running = asyncio.create_task(liar.run())
        has_all, told = False, 0

        async def reply(_: Liar, stream: Stream, request: bytes) -> None:
            nonlocal told
            asked = parse_request(request)
            if isinstance(asked, Observe):
                held = ChunkRanges.of(0, None if has_all else 16)
                told += 1
                await stream.write(encode_observe_item(ObserveItem(len(LIAR_DATA), held)))
                await stream.finish()
            elif has_all or (told and not asked.ranges.at(0) - ChunkRanges.of(0, 16)):
                await honest(liar, stream, request)
            else:
                await stream.reset(ErrorCode.INTERNAL)

        liar.reply = reply
        try:
            await made.getter.pool.connection(seed.address, ALPN)
            made.network.memory.stall(seed.endpoint.id, made.getter.endpoint.id)
            sources = Sources([liar.address, seed.address])
            progress = Progress()
            fetching = asyncio.create_task(made.getter.getter.fetch_blob(HASH, sources, progress))
            await until(lambda: progress.done_bytes >= GROUP_SIZE)
            before, has_all = told, True
            await bounded(fetching)
            assert content(made.getter.store, HASH) == LIAR_DATA
            assert told == before + 1
        finally:
            await liar.close()
            await liar.endpoint.close()
            await running
