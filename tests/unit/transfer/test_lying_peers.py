"""Providers that lie, fall silent or give up in the middle: nothing wrong is kept, nothing right is lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from blake3 import blake3

from peat_sidecar.bao import encode
from peat_sidecar.errors import IntegrityError, PeatError, PeerUnavailable
from peat_sidecar.ids import BlobHash, PeerAddress
from peat_sidecar.net import Connection, Endpoint, Stream
from peat_sidecar.store import Store
from peat_sidecar.transfer import Progress
from peat_sidecar.wire import REQUEST_LIMIT, Get, GetMany, encode_size, parse_request
from tests.support.networks import KINDS, address_of, network
from tests.support.nodes import Node, bounded, content, start_node
from tests.support.real_files import real_bytes
from tests.support.verified_pieces import tree_of

DATA = real_bytes(3_000_000)
HASH, PAIRS = tree_of(DATA)
SMALL = real_bytes(3000)
SMALL_HASH = BlobHash(blake3(SMALL).digest())

Reply = Callable[["Liar", Stream, bytes], Awaitable[None]]


class Liar:
    """A provider that answers each request as it is told; the honest bytes are at hand."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.requests = 0
        self.reply: Reply = honest
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> PeerAddress:
        return address_of(self.endpoint)

    async def run(self) -> None:
        while (connection := await self.endpoint.accept()) is not None:
            self._start(self._serve(connection))

    async def _serve(self, connection: Connection) -> None:
        while (stream := await connection.accept_stream()) is not None:
            self._start(self._answer(stream))

    async def _answer(self, stream: Stream) -> None:
        with contextlib.suppress(PeatError):
            request = await stream.read_to_end(REQUEST_LIMIT)
            self.requests += 1
            await self.reply(self, stream, request)

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def true_answer(request: bytes) -> bytearray:
    """What an honest provider of the two blobs answers."""
    parsed = parse_request(request)
    if isinstance(parsed, GetMany):
        return bytearray(encode_size(len(SMALL)) + SMALL)
    assert isinstance(parsed, Get)
    data, pairs = (DATA, PAIRS) if parsed.hash == HASH else (SMALL, b"")
    body = encode(
        len(data),
        parsed.ranges.at(0),
        lambda offset, length: data[offset : offset + length],
        lambda offset, length: pairs[offset : offset + length],
    )
    return bytearray(encode_size(len(data)) + b"".join(body))


async def honest(_: Liar, stream: Stream, request: bytes) -> None:
    await stream.write(bytes(true_answer(request)))
    await stream.finish()


@pytest.fixture(params=KINDS)
async def both(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Liar, Node]]:
    async with network(request.param) as made:
        liar = Liar(await made.endpoint(stall_seconds=20))
        running = asyncio.create_task(liar.run())
        with Store.open(tmp_path) as store:
            getter = await start_node(store, made, stall_seconds=0.5)
            try:
                yield liar, getter
            finally:
                await liar.close()
                await getter.vanish()
                await liar.endpoint.close()
                await running


async def fetch(liar: Liar, node: Node, progress: Progress | None = None, blob: BlobHash = HASH) -> None:
    await bounded(node.getter.fetch_blob(blob, liar.address, progress or Progress()))


def changed(at: Callable[[bytearray], int]) -> Reply:
    """An answer with one bit changed; the size request before is honest."""

    async def reply(_: Liar, stream: Stream, request: bytes) -> None:
        answer = true_answer(request)
        if len(answer) > 10_000 or isinstance(parse_request(request), GetMany):
            answer[at(answer)] ^= 1
        with contextlib.suppress(PeatError):
            await stream.write(bytes(answer))
            await stream.finish()

    return reply


@pytest.mark.parametrize(
    ("at", "kept"),
    [
        pytest.param(lambda answer: 8, 0, id="the first parent"),
        pytest.param(lambda answer: 100, 0, id="a later parent"),
        pytest.param(lambda answer: len(answer) // 2, 16 << 10, id="data in the middle"),
        pytest.param(lambda answer: len(answer) - 1, 16 << 10, id="the last byte"),
    ],
)
async def test_wrong_bytes_name_the_peer_and_are_not_kept(
    both: tuple[Liar, Node], at: Callable[[bytearray], int], kept: int
) -> None:
    liar, node = both
    liar.reply = changed(at)
    with pytest.raises(IntegrityError, match=f"peer {liar.endpoint.id.short} sent wrong bytes"):
        await fetch(liar, node)
    found = node.store.find(HASH)
    assert found is not None
    assert not found.complete
    assert kept <= found.present < len(DATA)
    # what was right is used: an honest peer has to give the rest only
    liar.reply = honest
    progress = Progress()
    await fetch(liar, node, progress)
    assert content(node.store, HASH) == DATA
    assert progress.skipped_bytes >= kept


async def test_a_small_blob_with_a_wrong_byte(both: tuple[Liar, Node]) -> None:
    liar, node = both
    liar.reply = changed(lambda answer: len(answer) - 5)
    with pytest.raises(IntegrityError, match="sent wrong bytes"):
        await fetch(liar, node, blob=SMALL_HASH)
    assert node.store.find(SMALL_HASH) is None


@pytest.mark.parametrize("claim", [0, 1, len(DATA) - 1, len(DATA) + 1024, 1 << 40, (1 << 64) - 1])
async def test_a_wrong_size_is_refused(both: tuple[Liar, Node], claim: int) -> None:
    liar, node = both

    async def reply(_: Liar, stream: Stream, request: bytes) -> None:
        answer = true_answer(request)
        answer[:8] = encode_size(claim)
        await stream.write(bytes(answer))
        await stream.finish()

    liar.reply = reply
    with pytest.raises((IntegrityError, PeerUnavailable)):
        await fetch(liar, node)
    found = node.store.find(HASH)
    assert found is None or not found.present


async def test_a_size_that_changes_between_answers_is_refused(both: tuple[Liar, Node]) -> None:
    liar, node = both

    async def reply(_: Liar, stream: Stream, request: bytes) -> None:
        answer = true_answer(request)
        if liar.requests > 1:
            answer[:8] = encode_size(len(DATA) + 1)
        await stream.write(bytes(answer))
        await stream.finish()

    liar.reply = reply
    with pytest.raises(IntegrityError, match="where it has"):
        await fetch(liar, node)


def broken_after(share: float, how: str) -> Reply:
    """Every answer to more than a size breaks off after a share of what is left."""

    async def reply(liar: Liar, stream: Stream, request: bytes) -> None:
        answer = bytes(true_answer(request))
        if len(answer) < 400_000:
            await honest(liar, stream, request)
            return
        await stream.write(answer[: int(len(answer) * share)])
        match how:
            case "end":
                await stream.finish()
            case "reset":
                await asyncio.sleep(0.1)  # so that the getter has read before the reset drops what it has not
                await stream.reset(7)
            case "silence":
                await asyncio.sleep(3)

    return reply


@pytest.mark.parametrize("how", ["end", "silence"])
async def test_an_answer_that_breaks_off_is_taken_up_again(both: tuple[Liar, Node], how: str) -> None:
    liar, node = both
    liar.reply = broken_after(0.6, how)
    progress = Progress()
    await fetch(liar, node, progress)
    assert content(node.store, HASH) == DATA
    assert progress.wire_bytes < len(DATA) * 1.5


async def test_a_reset_keeps_what_was_verified(both: tuple[Liar, Node]) -> None:
    liar, node = both
    liar.reply = broken_after(0.6, "reset")
    with pytest.raises(PeerUnavailable, match="code 7"):
        await fetch(liar, node)
    found = node.store.find(HASH)
    assert found is not None
    assert found.present >= 256 << 10


async def test_a_peer_that_ends_everything_at_once_is_given_up(both: tuple[Liar, Node]) -> None:
    liar, node = both

    async def reply(_: Liar, stream: Stream, request: bytes) -> None:
        await stream.finish()

    liar.reply = reply
    with pytest.raises(PeerUnavailable, match="ended its stream"):
        await fetch(liar, node)
    assert liar.requests < 12


async def test_more_than_was_asked_for_is_left_unread(both: tuple[Liar, Node]) -> None:
    liar, node = both

    async def reply(_: Liar, stream: Stream, request: bytes) -> None:
        with contextlib.suppress(PeatError):
            await stream.write(bytes(true_answer(request)) + b"zz" * 1000)
            await stream.finish()

    liar.reply = reply
    await fetch(liar, node)
    assert content(node.store, HASH) == DATA


async def test_a_hash_sequence_without_end_is_refused(both: tuple[Liar, Node]) -> None:
    liar, node = both

    async def reply(_: Liar, stream: Stream, request: bytes) -> None:
        await stream.write(encode_size(1 << 50) + bytes(100_000))

    liar.reply = reply
    with pytest.raises(IntegrityError, match="more than the"):
        await bounded(node.getter.fetch_package(HASH, liar.address, Progress()))
