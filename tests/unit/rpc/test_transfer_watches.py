"""Snapshots of all transfers and the wants that wait: after each change, none without one, bounded."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError

from peat_sidecar.classes import TransferClass
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.mesh.want_table import WantTable
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.parts import Parts
from peat_sidecar.rpc.transfer_watches import WANTS_LIMIT, WATCHES_LIMIT, TransferWatches
from peat_sidecar.state import State
from peat_sidecar.transfer import Outcome, Progress, Transfer, TransferKind, Transfers
from tests.support.nodes import bounded

PEER = EndpointId(bytes(32))
Snapshots = AsyncGenerator[pb.WatchTransfersResponse, None]


class Daemon:
    """Transfers and wants, and who watches them."""

    def __init__(self, state: State) -> None:
        self.transfers = Transfers()
        self.wants = WantTable(state)
        node = SimpleNamespace(address=PeerAddress(PEER, ()))
        parts = SimpleNamespace(node=node, transfers=self.transfers, wants=self.wants)
        self.watches = TransferWatches(cast(Parts, parts))
        self.over = asyncio.Event()

    def start(self) -> Transfer:
        async def work(progress: Progress) -> Outcome:
            await self.over.wait()
            return Outcome()

        return self.transfers.start(TransferKind.FETCH, "app", "peer", work)

    def snapshots(self) -> Snapshots:
        return cast(Snapshots, self.watches.snapshots())


@pytest.fixture
async def daemon(tmp_path: Path) -> AsyncIterator[Daemon]:
    with State.open(tmp_path / "state.db") as state:
        made = Daemon(state)
        yield made
        await made.transfers.close()


async def test_the_first_one_comes_at_once_and_no_more_without_a_change(daemon: Daemon) -> None:
    watched = daemon.snapshots()
    first = await bounded(anext(watched))
    assert (list(first.transfers), list(first.wants)) == ([], [])
    following = asyncio.ensure_future(anext(watched))
    assert not (await asyncio.wait([following], timeout=1))[0]
    transfer = daemon.start()
    (shown,) = (await bounded(following)).transfers
    assert (shown.id, shown.state) == (transfer.id, pb.TransferState.RUNNING)
    following = asyncio.ensure_future(anext(watched))
    assert not (await asyncio.wait([following], timeout=1))[0], "that time passes is no change"
    daemon.over.set()
    assert (await bounded(following)).transfers[0].elapsed_seconds > 0
    await watched.aclose()


async def test_sources_and_events_are_told(daemon: Daemon) -> None:
    progress = daemon.start().progress
    progress.transfer_class = TransferClass.BULK
    progress.source(PEER).done(75)
    progress.source(EndpointId(bytes([1]) * 32)).done(25)
    progress.banned(PEER, "it lied")
    watched = daemon.snapshots()
    (shown,) = (await bounded(anext(watched))).transfers
    assert shown.transfer_class == pb.TransferClass.BULK
    assert [(each.endpoint_id, each.share, each.why) for each in shown.sources] == [
        (str(PEER), 0.75, "it lied"),
        ("01" * 32, 0.25, ""),
    ]
    assert shown.sources[0].state == pb.SourceState.BANNED
    last = shown.events[-1]
    assert (last.kind, last.endpoint_id, last.detail) == ("ban", str(PEER), "it lied")
    await watched.aclose()


async def test_an_end_is_told_once_also_of_one_that_was_never_seen(daemon: Daemon) -> None:
    watched = daemon.snapshots()
    await bounded(anext(watched))
    transfer = daemon.start()
    daemon.over.set()
    await transfer.wait()
    (shown,) = (await bounded(anext(watched))).transfers
    assert (shown.id, shown.state) == (transfer.id, pb.TransferState.DONE)
    assert not (await bounded(anext(watched))).transfers
    await watched.aclose()


async def test_wants_that_wait_best_class_first(daemon: Daemon) -> None:
    for number in range(WANTS_LIMIT + 5):
        daemon.wants.add(f"registry.example/team/{number}:v1")
    daemon.wants.add("registry.example/urgent:v1", TransferClass.CRITICAL)
    watched = daemon.snapshots()
    snapshot = await bounded(anext(watched))
    assert len(snapshot.wants) == WANTS_LIMIT
    assert snapshot.more_wants == 6
    assert snapshot.wants[0].name == "registry.example/urgent:v1"
    await watched.aclose()


async def test_who_is_slow_gets_the_newest(daemon: Daemon) -> None:
    progress = daemon.start().progress
    watched = daemon.snapshots()
    await bounded(anext(watched))
    for size in range(1, 1000):
        progress.done_bytes = size
        await asyncio.sleep(0)
    (shown,) = (await bounded(anext(watched))).transfers
    assert shown.done_bytes == 999
    await watched.aclose()


async def test_too_many_are_refused_and_a_stop_ends_all(daemon: Daemon) -> None:
    watched = [daemon.snapshots() for _ in range(WATCHES_LIMIT)]
    for each in watched:
        await bounded(anext(each))
    with pytest.raises(ConnectError) as refused:
        await anext(daemon.snapshots())
    assert refused.value.code is Code.RESOURCE_EXHAUSTED
    await watched.pop().aclose()
    watched.append(daemon.snapshots())
    await bounded(anext(watched[-1]))
    daemon.watches.close()
    for each in watched:
        with pytest.raises(ConnectError) as stopped:
            await bounded(anext(each))
        assert stopped.value.code is Code.UNAVAILABLE
