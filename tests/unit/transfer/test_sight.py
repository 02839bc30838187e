"""What a fetch tells of itself: who brings how much, who stalled, came back, lied or left."""

import asyncio
from pathlib import Path

import pytest

from peat_sidecar.ids import EndpointId
from peat_sidecar.transfer import EventKind, Progress, SourceState
from peat_sidecar.transfer.events import AGAIN_SECONDS, REMEMBERED_EVENTS, TransferEvents
from tests.support.manual_time import ManualTime
from tests.support.nodes import Node, bounded, until
from tests.unit.transfer.test_lying_peers import Liar, both, changed, fetch
from tests.unit.transfer.test_several_peers import put, several

__all__ = ["both"]
PEER = EndpointId(bytes(32))


def kinds(progress: Progress, peer: EndpointId) -> list[EventKind]:
    return [each.kind for each in progress.events.all if each.peer == peer]


async def test_each_peer_is_counted_by_itself(tmp_path: Path) -> None:
    async with several(tmp_path, 3) as all:
        blob = put(all.providers)
        progress = Progress()
        await bounded(all.getter.getter.fetch_blob(blob, all.sources, progress))
        assert set(progress.sources) == {each.endpoint.id for each in all.providers}
        done = {peer: source.done_bytes for peer, source in progress.sources.items()}
        assert sum(done.values()) >= progress.total_bytes
        for provider in all.providers:
            assert 0 < done[provider.endpoint.id] <= all.sent_by(provider)
            assert kinds(progress, provider.endpoint.id) == [EventKind.JOINED]
        for source in progress.sources.values():
            assert (source.requests, source.connections) == (0, 0)
            assert source.state is SourceState.IDLE


async def test_small_blobs_are_counted_too(tmp_path: Path) -> None:
    async with several(tmp_path, 1) as all:
        blob = put(all.providers, b"small" * 100)
        progress = Progress()
        await bounded(all.getter.getter.fetch_blob(blob, all.sources, progress))
        assert [each.done_bytes for each in progress.sources.values()] == [500]


async def test_a_stall_and_the_return_are_told(tmp_path: Path) -> None:
    async with several(tmp_path, 1, stall_seconds=0.2) as all:
        blob = put(all.providers)
        progress = Progress()
        silent = all.providers[0].endpoint.id
        fetching = asyncio.create_task(all.getter.getter.fetch_blob(blob, all.sources, progress))
        await until(lambda: all.sent_by(all.providers[0]) > 100_000)
        all.network.memory.stall(silent, all.getter.endpoint.id)
        await until(lambda: EventKind.STALL in kinds(progress, silent))
        assert progress.sources[silent].state is SourceState.GONE
        assert progress.sources[silent].why
        all.network.memory.resume(silent, all.getter.endpoint.id)
        await bounded(fetching)
        assert kinds(progress, silent)[:3] == [EventKind.JOINED, EventKind.STALL, EventKind.RESUME]


async def test_one_that_cannot_be_reached_has_left_and_says_why(tmp_path: Path) -> None:
    async with several(tmp_path, 2) as all:
        blob = put(all.providers)
        gone = all.providers[0].endpoint.id
        all.network.memory.kill(gone)
        progress = Progress()
        await bounded(all.getter.getter.fetch_blob(blob, all.sources, progress))
        assert set(kinds(progress, gone)) == {EventKind.LEFT}
        assert progress.sources[gone].state is SourceState.GONE


async def test_a_liar_is_banned_and_named(both: tuple[Liar, Node]) -> None:
    liar, node = both
    liar.reply = changed(lambda answer: len(answer) // 2)
    progress = Progress()
    with pytest.raises(Exception, match="wrong bytes"):
        await fetch(liar, node, progress)
    peer = liar.endpoint.id
    assert kinds(progress, peer) == [EventKind.JOINED, EventKind.BAN]
    assert progress.sources[peer].state is SourceState.BANNED
    assert "wrong bytes" in progress.events.all[-1].detail


def test_events_are_bounded_and_not_said_twice() -> None:
    events = TransferEvents("id")
    for _ in range(3):
        events.add(EventKind.STALL, PEER, "silent")
    assert len(events.all) == 1
    for number in range(100):
        events.add(EventKind.STALL, PEER, f"{number} " + "x" * 1000)
    assert len(events.all) == REMEMBERED_EVENTS
    assert events.all[-1].detail.startswith("99 ")
    assert max(len(each.detail) for each in events.all) <= 300


def test_what_is_so_again_later_is_told_with_its_new_time() -> None:
    time = ManualTime()
    events = TransferEvents("id", now=time)
    for seconds in (0, AGAIN_SECONDS - 1, 2):
        time.advance(seconds)
        events.add(EventKind.LIMIT, None, "others go first")
    events.add(EventKind.STALL, PEER, "silent")
    events.add(EventKind.LIMIT, None, "others go first")
    assert [(each.kind, each.at) for each in events.all] == [
        (EventKind.LIMIT, time.now),
        (EventKind.STALL, time.now),
    ]
