"""Limits and classes at work, over the network in memory: counted bytes decide, never a time alone."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from peat_sidecar.classes import TransferClass
from peat_sidecar.ids import BlobHash
from peat_sidecar.net import Connection
from peat_sidecar.rate import Limits
from peat_sidecar.transfer import Progress, Shaper
from peat_sidecar.transfer.board import Board
from peat_sidecar.transfer.large_blobs import LargeBlobs
from peat_sidecar.transfer.provider import ANSWERS_PER_PEER
from peat_sidecar.transfer.traffic import REQUESTS_PER_PEER
from peat_sidecar.wire import ALPN
from tests.support.networks import network
from tests.support.nodes import Node, bounded, content, put_package, two_nodes, until
from tests.support.real_files import real_bytes
from tests.unit.transfer.test_getter import layered
from tests.unit.transfer.test_several_peers import several

GROUP = 16_500


class Meter:
    """Looks again and again at a counter, and holds it against a rate since the beginning."""

    def __init__(self, count: Callable[[], int]) -> None:
        self._count = count
        self._began = time.monotonic()
        self._before = count()

    @property
    def bytes(self) -> int:
        return self._count() - self._before

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def require_within(self, rate: float, slack: float) -> None:
        """However slow this machine is, no more than this may have gone by now."""
        gone = self.bytes
        assert gone <= rate * self.seconds + slack


def limited(**texts: str) -> Limits:
    return Limits.parse({name.replace("_", " ", 1): text for name, text in texts.items()})


def classed(transfer_class: TransferClass) -> Progress:
    return Progress(transfer_class=transfer_class)


@pytest.mark.parametrize("name", ["down", "up", "total", "peer", "class"])
async def test_a_blob_comes_no_faster_than_a_limit(tmp_path: Path, name: str) -> None:
    async with two_nodes(tmp_path) as (provider, getter, network):
        data = real_bytes(300_000)
        blob = provider.store.put(data).hash
        node = provider if name == "up" else getter
        full = {"peer": f"peer {provider.endpoint.id}", "class": "class high"}.get(name, name)
        node.shaper.change(Limits.parse({full: "100 kB/s"}))
        sent = network.memory.sent_bytes
        meter = Meter(lambda: sent[provider.endpoint.id, getter.endpoint.id])
        fetching = asyncio.ensure_future(getter.getter.fetch_blob(blob, provider.address, Progress()))
        while not fetching.done():
            await asyncio.wait({fetching}, timeout=0.05)
            meter.require_within(100_000, 75_000)
        await fetching
        assert content(getter.store, blob) == data
        assert meter.bytes < 306_000, "nothing came twice"
        assert meter.bytes / meter.seconds > 60_000


async def test_a_package_of_small_blobs_comes_no_faster_than_a_limit(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (provider, getter, network):
        manifest, blobs = layered(*(real_bytes(5000 + number, number * 7000) for number in range(30)))
        stored = put_package(provider.store, manifest, blobs)
        assert stored.collection is not None
        getter.shaper.change(limited(down="60 kB/s"))
        sent = network.memory.sent_bytes
        meter = Meter(lambda: sent[provider.endpoint.id, getter.endpoint.id])
        fetching = asyncio.ensure_future(
            getter.getter.fetch_package(stored.collection, provider.address, Progress())
        )
        while not fetching.done():
            await asyncio.wait({fetching}, timeout=0.05)
            meter.require_within(60_000, 60_000)
        await fetching
        assert meter.bytes < 170_000


async def test_one_kilobit_works_and_is_not_taken_for_silence(tmp_path: Path) -> None:
    async with two_nodes(tmp_path, stall_seconds=2.0) as (provider, getter, network):
        blob = provider.store.put(real_bytes(100_000)).hash
        provider.shaper.change(limited(up="1 kbit/s"))
        progress = Progress()
        sent = network.memory.sent_bytes
        meter = Meter(lambda: sent[provider.endpoint.id, getter.endpoint.id])
        fetching = asyncio.ensure_future(getter.getter.fetch_blob(blob, provider.address, progress))
        seen: list[int] = []
        for _ in range(7):
            await asyncio.wait({fetching}, timeout=1.0)
            meter.require_within(125, 200)
            seen.append(progress.wire_bytes)
        assert not fetching.done()
        assert len(set(seen)) >= 4, "bytes are seen as they come, long before a group is whole"
        provider.shaper.change(limited())
        await bounded(fetching)
        assert meter.bytes < 103_000, "no stream was given up on the way"


async def test_more_streams_than_a_peer_answers_wait_here_and_are_not_taken_for_silent(
    tmp_path: Path,
) -> None:
    async with two_nodes(tmp_path) as (provider, getter, _):
        connection = await getter.pool.connection(provider.address, ALPN)
        provider.shaper.change(limited(up="20 kB/s"))
        progresses = [Progress() for _ in range(12)]
        fetching = [
            asyncio.ensure_future(getter.getter.fetch_blob(blob, provider.address, progress))
            for number, progress in enumerate(progresses)
            for blob in [provider.store.put(real_bytes(100_000, number * 100_000)).hash]
        ]
        await until(lambda: sum(each.wire_bytes for each in progresses) > 150_000)
        assert len(getter.shaper.down.under_way) <= REQUESTS_PER_PEER < ANSWERS_PER_PEER
        provider.shaper.change(limited())
        await bounded(asyncio.gather(*fetching))
        assert await getter.pool.connection(provider.address, ALPN) is connection, "it was not given up"


async def test_a_limit_is_changed_while_bytes_flow(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (provider, getter, network):
        data = real_bytes(3_000_000)
        blob = provider.store.put(data).hash
        sent = network.memory.sent_bytes
        count = lambda: sent[provider.endpoint.id, getter.endpoint.id]  # noqa: E731
        getter.shaper.change(limited(down="8 MB/s"))
        fetching = asyncio.ensure_future(getter.getter.fetch_blob(blob, provider.address, Progress()))
        await until(lambda: count() > 100_000)
        getter.shaper.change(limited(down="40 kB/s"))
        await asyncio.sleep(0.2)
        meter = Meter(count)
        for _ in range(20):
            await asyncio.wait({fetching}, timeout=0.1)
            meter.require_within(40_000, 3 * GROUP)
        assert not fetching.done()
        getter.shaper.change(limited())
        await bounded(fetching, 5)
        assert content(getter.store, blob) == data


async def test_a_window_begins_and_ends_by_the_clock(tmp_path: Path) -> None:
    at = datetime(2026, 1, 5, 21, 59, 59, tzinfo=UTC)
    shaper = Shaper(limited(up="22:00-06:00 unlimited, else 512 kbit/s"), now=lambda: at)
    try:
        assert shaper.rates.up == 64_000
        at = at.replace(hour=22, minute=0)
        await until(lambda: shaper.rates.up is None, 2)
        at = at.replace(day=6, hour=6)
        await until(lambda: shaper.rates.up == 64_000, 2)
    finally:
        shaper.close()


async def begun(getter: Node, provider: Node, blob: BlobHash, progress: Progress) -> "asyncio.Future[object]":
    fetching = asyncio.ensure_future(getter.getter.fetch_blob(blob, provider.address, progress))
    await until(lambda: progress.done_bytes > 0)
    return fetching


@pytest.mark.parametrize("share", [0.0, 0.25])
async def test_a_critical_fetch_stops_bulk_which_goes_on_where_it_was(tmp_path: Path, share: float) -> None:
    async with two_nodes(tmp_path) as (provider, getter, network):
        large = provider.store.put(real_bytes(900_000)).hash
        urgent = provider.store.put(real_bytes(400_000, 1_000_000)).hash
        provider.shaper.change(limited(up="200 kB/s"))
        getter.shaper.change(Limits.parse({"class_share": str(share)}))
        sent = network.memory.sent_bytes
        meter = Meter(lambda: sent[provider.endpoint.id, getter.endpoint.id])
        bulk, critical = classed(TransferClass.BULK), classed(TransferClass.CRITICAL)
        behind = await begun(getter, provider, large, bulk)
        fetching = asyncio.ensure_future(getter.getter.fetch_blob(urgent, provider.address, critical))
        await until(lambda: critical.wire_bytes > 0)
        assert critical.wire_bytes < 60_000, "its first bytes were seen as they came"
        before = bulk.wire_bytes
        await bounded(fetching)
        between = bulk.wire_bytes - before
        if share:
            assert GROUP / 2 <= between <= 0.25 * 420_000 + GROUP
        else:
            assert between <= 3 * GROUP, "what was read in that moment"
        await bounded(behind)
        assert content(getter.store, large) == real_bytes(900_000)
        assert meter.bytes < 1_310_000 + 0.8 * 200_000, "what came last comes again"


async def test_a_listing_makes_way_too_and_is_asked_for_anew(tmp_path: Path) -> None:
    manifest, blobs = layered(real_bytes(2000))
    async with several(tmp_path, 2, stall_seconds=60.0) as made:
        silent, other = made.providers
        package = put_package(silent.store, manifest, blobs)
        urgent = other.store.put(real_bytes(400_000, 1_000_000)).hash
        network, getter = made.network.memory, made.getter.getter
        made.getter.shaper.change(Limits.parse({"class_share": "0"}))
        other.shaper.change(limited(up="100 kB/s"))
        await made.getter.pool.connection(silent.address, ALPN)
        network.stall(silent.endpoint.id, made.getter.endpoint.id)
        bulk, critical = classed(TransferClass.BULK), classed(TransferClass.CRITICAL)
        behind = asyncio.ensure_future(getter.fetch_package(package.collection, silent.address, bulk))
        await until(lambda: [each.requests for each in bulk.sources.values()] == [1])
        first = asyncio.ensure_future(getter.fetch_blob(urgent, other.address, critical))
        await until(lambda: [each.requests for each in bulk.sources.values()] == [0])
        assert not first.done()
        network.resume(silent.endpoint.id, made.getter.endpoint.id)
        await bounded(asyncio.gather(first, behind))
        assert made.getter.store.package(package.collection) is not None


async def test_one_that_is_cancelled_holds_nobody_back(tmp_path: Path) -> None:
    async with two_nodes(tmp_path, stall_seconds=20.0) as (provider, getter, _):
        urgent = provider.store.put(real_bytes(300_000, 1_000_000)).hash
        large = provider.store.put(real_bytes(300_000)).hash
        provider.shaper.change(limited(up="100 kB/s"))
        getter.shaper.change(Limits.parse({"class_share": "0"}))
        critical = classed(TransferClass.CRITICAL)
        silent = await begun(getter, provider, urgent, critical)
        silent.cancel()
        await asyncio.gather(silent, return_exceptions=True)
        await bounded(getter.getter.fetch_blob(large, provider.address, classed(TransferClass.BULK)))


async def test_who_waits_for_a_blob_lends_its_class_to_who_fetches_it(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (provider, getter, _):
        large = provider.store.put(real_bytes(300_000)).hash
        provider.shaper.change(limited(up="200 kB/s"))
        bulk = classed(TransferClass.BULK)
        behind = await begun(getter, provider, large, bulk)
        await bounded(getter.getter.fetch_blob(large, provider.address, classed(TransferClass.CRITICAL)))
        assert bulk.transfer_class is TransferClass.CRITICAL
        await bounded(behind)


async def test_two_fetches_of_a_class_get_the_same(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (provider, getter, _):
        blobs = [provider.store.put(real_bytes(800_000, number * 900_000)).hash for number in range(2)]
        getter.shaper.change(limited(down="200 kB/s"))
        progresses = [Progress(), Progress()]
        fetching = [
            asyncio.ensure_future(getter.getter.fetch_blob(blob, provider.address, progress))
            for blob, progress in zip(blobs, progresses, strict=True)
        ]
        await until(lambda: sum(each.wire_bytes for each in progresses) > 800_000)
        one, other = (each.wire_bytes for each in progresses)
        assert abs(one - other) <= 2.5 * 100_000, "a part or two"
        for each in fetching:
            each.cancel()
        await asyncio.gather(*fetching, return_exceptions=True)


async def test_what_goes_beside_is_charged(tmp_path: Path) -> None:
    async with two_nodes(tmp_path, "iroh") as (provider, getter, _):
        blob = provider.store.put(real_bytes(800_000)).hash
        provider.shaper.change(limited(up="64 kB/s"))
        connection = await getter.pool.connection(provider.address, b"/iroh-bytes/4")
        burst, piece, probes = 6_400, 16_000, 18_000
        """What goes at once, what overdraws it, and what the transport tries at a connection's beginning;
        what goes beside (over 5 %, 40 kB here) must not come on top.
        """
        meter = Meter(lambda: connection.stats().received_on_wire)
        fetching = asyncio.ensure_future(getter.getter.fetch_blob(blob, provider.address, Progress()))
        while not fetching.done():
            await asyncio.wait({fetching}, timeout=0.1)
            meter.require_within(64_000, burst + 2 * piece + probes)
        await fetching
        assert meter.bytes > 820_000
        assert meter.bytes / meter.seconds > 50_000


async def test_leave_that_comes_with_a_cancel_is_given_back(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (provider, getter, _):
        connection = await getter.pool.connection(provider.address, ALPN)
        board = Board(getter.store, [], Progress())

        async def more(_: int) -> Connection:
            return connection

        blobs = LargeBlobs(board, connection, more, getter.shaper.intake(Progress()))
        entering = asyncio.create_task(blobs._entered(connection))
        await asyncio.sleep(0)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        assert not getter.shaper.down.under_way


async def test_answers_fill_links_unless_a_limit_is_a_trickle() -> None:
    async with network("memory") as net:
        near, _ = await net.pair()
        shaper = Shaper()
        assert not shaper.fills_links
        with shaper.outlet(near):
            assert shaper.fills_links
            shaper.change(limited(up="1 Mbit/s", total="8 kbit/s"))
            assert not shaper.fills_links
            shaper.change(limited(up="1 Mbit/s"))
            assert shaper.fills_links
        assert not shaper.fills_links
        shaper.close()


async def test_leave_that_is_given_in_the_turn_of_a_cancel_is_taken_back(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (provider, getter, _):
        connection = await getter.pool.connection(provider.address, ALPN)
        intake = getter.shaper.intake(Progress())
        passages = [await intake.enter(connection) for _ in range(REQUESTS_PER_PEER)]
        waiting = [asyncio.create_task(intake.enter(connection)) for _ in range(REQUESTS_PER_PEER)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        for passage in passages:
            passage.end()
        await asyncio.gather(*waiting, return_exceptions=True)
        for _ in range(REQUESTS_PER_PEER):
            await bounded(intake.enter(connection))
