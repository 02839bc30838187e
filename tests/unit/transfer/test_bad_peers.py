"""Bad peers among honest ones: all comes, each bad one is named, little is lost to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from peat_sidecar.bao import RUN_CHUNKS
from peat_sidecar.errors import PeatError
from peat_sidecar.net import Stream
from peat_sidecar.net.memory_pipe import WINDOW_BYTES
from peat_sidecar.rate import Limits
from peat_sidecar.store import Store
from peat_sidecar.transfer import Progress, Sources
from peat_sidecar.transfer.answering import answer
from peat_sidecar.transfer.events import EventKind
from peat_sidecar.transfer.source_progress import SourceState
from peat_sidecar.wire import ErrorCode, Get, GetMany, parse_request
from tests.support.nodes import bounded, content, put_package, until
from tests.support.real_files import real_bytes
from tests.unit.transfer.test_getter import layered
from tests.unit.transfer.test_lying_peers import Liar, Reply
from tests.unit.transfer.test_several_peers import Several, several

LAYERS = [real_bytes(6_000_000, number * 6_000_000) for number in range(3)] + [
    real_bytes(3000, number * 1000) for number in range(20)
]
SLOW = Limits.parse({"up": "300 kB/s"})
IN_FLIGHT_BYTES = 2 * (WINDOW_BYTES + (RUN_CHUNKS << 10))
"""What two streams may have under way: what the network holds, and a run that is read."""
ENDLESS = bytes(1 << 20)


def turning(store: Store, bad: Reply) -> Reply:
    """Honest at first, and bad from the second part of a large blob on."""
    requests = 0

    async def reply(liar: Liar, stream: Stream, request: bytes) -> None:
        nonlocal requests
        parsed = parse_request(request)
        if not isinstance(parsed, Get | GetMany):
            await stream.reset(ErrorCode.INTERNAL)
            return
        true = b"".join(answer(store, parsed))
        requests += len(true) > 100_000
        with contextlib.suppress(PeatError):
            if requests > 1:
                await bad(liar, stream, true)
            else:
                await stream.write(true)
                await stream.finish()

    return reply


async def lies(_: Liar, stream: Stream, true: bytes) -> None:
    wrong = bytearray(true)
    wrong[len(wrong) // 2] ^= 1
    await stream.write(bytes(wrong))
    await stream.finish()


async def stalls(_: Liar, stream: Stream, true: bytes) -> None:
    await stream.write(true[: len(true) // 2])
    await asyncio.Event().wait()


async def resets(_: Liar, stream: Stream, true: bytes) -> None:
    await stream.write(true[: len(true) // 2])
    await stream.reset(7)


async def floods(_: Liar, stream: Stream, true: bytes) -> None:
    await stream.write(true[: len(true) // 2])
    while True:
        await stream.write(ENDLESS)


@contextlib.asynccontextmanager
async def hostile(all: Several, *kinds: Reply) -> AsyncIterator[list[Liar]]:
    """Peers that have what the first honest one has, and turn bad."""
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for kind in kinds:
            liar = Liar(await all.network.endpoint(stall_seconds=60.0))
            liar.reply = turning(all.providers[0].store, kind)
            running = asyncio.create_task(liar.run())
            stack.push_async_callback(asyncio.wait, [running])
            stack.push_async_callback(liar.endpoint.close)
            stack.push_async_callback(liar.close)
            made.append(liar)
        yield made


async def test_four_that_turn_bad_among_three_honest_ones(tmp_path: Path) -> None:
    async with (
        several(tmp_path, 3, stall_seconds=0.5) as all,
        hostile(all, lies, stalls, resets, floods) as bad,
    ):
        manifest, blobs = layered(*LAYERS)
        (sent, *_) = [put_package(each.store, manifest, blobs) for each in all.providers]
        for each in all.providers:  # until all bad ones are found out there is something to do
            each.shaper.change(SLOW)
        sources = Sources([*(each.address for each in bad), *(each.address for each in all.providers)])
        progress = Progress()
        fetching = asyncio.create_task(all.getter.getter.fetch_package(sent.collection, sources, progress))
        kinds = (EventKind.BAN, EventKind.STALL, EventKind.LEFT, EventKind.BAN)
        expected = {(kind, each.endpoint.id) for kind, each in zip(kinds, bad, strict=True)}
        seen: set[object] = set()

        def found_out() -> bool:
            seen.update((each.kind, each.peer) for each in progress.events.all)
            return expected <= seen

        await until(found_out)
        for each in all.providers:
            each.shaper.change(Limits.parse({}))
        package = await bounded(fetching)
        for digest in package.blobs:
            mine, theirs = all.getter.store.find(digest), all.providers[0].store.find(digest)
            assert mine is not None
            assert theirs is not None
            assert content(all.getter.store, mine.hash) == content(all.providers[0].store, theirs.hash)
        for each in bad:
            counters = progress.sources[each.endpoint.id]
            sent_bytes = all.network.memory.sent_bytes[each.endpoint.id, all.getter.endpoint.id]
            assert sent_bytes - counters.done_bytes < IN_FLIGHT_BYTES
            is_banned = counters.state is SourceState.BANNED
            assert is_banned == ((EventKind.BAN, each.endpoint.id) in expected)
