"""One blob from several peers at once: all are used, none holds the others up, none is believed."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from peat_sidecar.errors import IntegrityError, NotFound, PeerUnavailable
from peat_sidecar.ids import BlobHash, EndpointId, PeerAddress
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store import Store
from peat_sidecar.transfer import Progress, Sources
from tests.support.networks import Network, network
from tests.support.nodes import Node, bounded, content, put_package, start_node, until
from tests.support.real_files import real_bytes
from tests.support.verified_pieces import tree_of, verified_pieces
from tests.unit.transfer.test_getter import layered

DATA = real_bytes(24_000_000)


@dataclass
class Several:
    network: Network
    providers: list[Node]
    getter: Node

    @property
    def sources(self) -> Sources:
        return Sources([each.address for each in self.providers])

    def sent_by(self, provider: Node) -> int:
        return self.network.memory.sent_bytes[provider.endpoint.id, self.getter.endpoint.id]


@contextlib.asynccontextmanager
async def several(directory: Path, count: int, *, stall_seconds: float = 5.0) -> AsyncIterator[Several]:
    async with network("memory") as made, contextlib.AsyncExitStack() as stack:
        nodes = []
        for number in range(count + 1):
            store = stack.enter_context(Store.open(directory / str(number)))
            node = await start_node(store, made, stall_seconds=stall_seconds)
            stack.push_async_callback(node.vanish)
            nodes.append(node)
        yield Several(made, nodes[:-1], nodes[-1])


def put(nodes: list[Node], data: bytes = DATA) -> BlobHash:
    blob, *_ = (node.store.put(data).hash for node in nodes)
    return blob


async def test_all_are_used_and_nothing_comes_twice(tmp_path: Path) -> None:
    async with several(tmp_path, 3) as all:
        blob = put(all.providers)
        progress = Progress()
        await bounded(all.getter.getter.fetch_blob(blob, all.sources, progress))
        assert content(all.getter.store, blob) == DATA
        shares = [all.sent_by(provider) for provider in all.providers]
        assert min(shares) > len(DATA) // 20
        assert sum(shares) < len(DATA) * 1.03
        assert progress.done_bytes == progress.total_bytes == len(DATA)


async def test_a_package_from_several(tmp_path: Path) -> None:
    layers = [real_bytes(3_000_000), real_bytes(2_000_000, 1000), real_bytes(500, 2000)]
    manifest, blobs = layered(*layers)
    async with several(tmp_path, 2) as all:
        sent, _ = (put_package(provider.store, manifest, blobs) for provider in all.providers)
        got = await bounded(all.getter.getter.fetch_package(sent.collection, all.sources, Progress()))
        assert got.blobs == sent.blobs


async def test_one_that_vanishes_is_made_up_for(tmp_path: Path) -> None:
    async with several(tmp_path, 2, stall_seconds=0.2) as all:
        blob = put(all.providers)
        progress = Progress()
        fetching = asyncio.create_task(all.getter.getter.fetch_blob(blob, all.sources, progress))
        await until(lambda: all.sent_by(all.providers[0]) > 1_000_000)
        all.network.memory.kill(all.providers[0].endpoint.id)
        await bounded(fetching)
        assert content(all.getter.store, blob) == DATA


async def test_a_silent_one_does_not_hold_up_the_end(tmp_path: Path) -> None:
    async with several(tmp_path, 2, stall_seconds=30.0) as all:
        blob = put(all.providers)
        fetching = asyncio.create_task(all.getter.getter.fetch_blob(blob, all.sources, Progress()))
        silent = all.providers[0]
        await until(lambda: all.sent_by(silent) > 100_000)
        all.network.memory.stall(silent.endpoint.id, all.getter.endpoint.id)
        await bounded(fetching, 20)  # much less than it would take to notice the silence
        assert content(all.getter.store, blob) == DATA


async def test_one_that_cannot_be_reached_is_no_fault_of_the_others(tmp_path: Path) -> None:
    async with several(tmp_path, 1) as all:
        blob = put(all.providers)
        sources = Sources([PeerAddress(EndpointId(bytes(32)), ("127.0.0.1:1",)), all.providers[0].address])
        await bounded(all.getter.getter.fetch_blob(blob, sources, Progress()))


async def test_each_gives_what_it_has(tmp_path: Path) -> None:
    async with several(tmp_path, 2) as all:
        blob, pairs = tree_of(DATA)
        half = len(DATA) // 2 // (1 << 20) * 1024
        halves = ChunkRanges.of(0, half), ChunkRanges.of(half, None)
        for provider, held in zip(all.providers, halves, strict=True):
            with provider.store.partial(blob, len(DATA)) as partial:
                for piece in verified_pieces(DATA, pairs, held):
                    partial.write(piece)
        await bounded(all.getter.getter.fetch_blob(blob, all.sources, Progress()))
        assert content(all.getter.store, blob) == DATA


async def test_what_nobody_has_is_said(tmp_path: Path) -> None:
    async with several(tmp_path, 2) as all:
        blob, _ = tree_of(DATA)
        with pytest.raises(NotFound, match="does not hold"):
            await bounded(all.getter.getter.fetch_blob(blob, all.sources, Progress()))


async def test_one_that_joins_in_the_middle_is_used(tmp_path: Path) -> None:
    async with several(tmp_path, 2) as all:
        blob = put(all.providers)
        sources = Sources([all.providers[0].address])
        fetching = asyncio.create_task(all.getter.getter.fetch_blob(blob, sources, Progress()))
        await until(lambda: all.sent_by(all.providers[0]) > 1_000_000)
        sources.add(all.providers[1].address)
        await bounded(fetching)
        assert all.sent_by(all.providers[1]) > 500_000


async def test_one_that_comes_back_is_used_again(tmp_path: Path) -> None:
    async with several(tmp_path, 2, stall_seconds=30.0) as all:
        blob = put(all.providers)
        late, steady = (each.endpoint.id for each in all.providers)
        sources, away = all.sources, {late}
        await asyncio.sleep(0.05)  # the table of peers has said whom it lets be dialled
        all.getter.pool.ask_before_dialling(lambda peer: peer not in away)
        fetching = asyncio.create_task(all.getter.getter.fetch_blob(blob, sources, Progress()))
        await until(lambda: all.sent_by(all.providers[1]) > 1_000_000)
        all.network.memory.stall(steady, all.getter.endpoint.id)
        assert isinstance(sources.faults[late], PeerUnavailable)
        away.clear()
        sources.returned(late)
        await bounded(fetching)
        assert content(all.getter.store, blob) == DATA
        assert sources.faults == {}


async def test_no_peer_at_all(tmp_path: Path) -> None:
    async with several(tmp_path, 1) as all:
        with pytest.raises(PeerUnavailable, match="no peer"):
            await bounded(all.getter.getter.fetch_blob(tree_of(DATA)[0], Sources(), Progress()))


async def test_wrong_bytes_of_one_are_made_up_for(tmp_path: Path) -> None:
    async with several(tmp_path, 2) as all:
        blob = put(all.providers)
        liar = all.providers[0]
        file = liar.store.directory / f"blobs/sha256/{liar.store.find(blob).proven_digest.hex}"  # type: ignore[union-attr]
        file.chmod(0o644)
        damaged = bytearray(DATA)
        damaged[::100_000] = bytes(len(damaged[::100_000]))
        file.write_bytes(damaged)
        await bounded(all.getter.getter.fetch_blob(blob, all.sources, Progress()))
        assert content(all.getter.store, blob) == DATA


async def test_wrong_bytes_of_all_name_a_peer(tmp_path: Path) -> None:
    async with several(tmp_path, 2) as all:
        blob = put(all.providers)
        for liar in all.providers:
            info = liar.store.find(blob)
            assert info is not None
            file = liar.store.directory / f"blobs/sha256/{info.proven_digest.hex}"
            file.chmod(0o644)
            file.write_bytes(bytes(len(DATA)))
        with pytest.raises((IntegrityError, NotFound, PeerUnavailable), match="peer"):
            await bounded(all.getter.getter.fetch_blob(blob, all.sources, Progress()))
        info = all.getter.store.find(blob)
        assert info is None or not info.complete
