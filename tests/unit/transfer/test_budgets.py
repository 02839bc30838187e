"""Budgets at work: what is used up stops blobs, says so, is remembered, and goes on by itself."""

import asyncio
import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import BudgetSpent, PeerUnavailable, Refused
from peat_sidecar.net import interface_towards
from peat_sidecar.rate import Limits
from peat_sidecar.state import State
from peat_sidecar.transfer import Limiter, Outcome, Progress, Shaper, Sources
from tests.support.networks import KINDS
from tests.support.nodes import Node, bounded, content, put_package, two_nodes, until
from tests.support.real_files import real_bytes
from tests.unit.transfer.test_getter import layered
from tests.unit.transfer.test_several_peers import several

DATA = real_bytes(3_000_000)
MORE = 600_000
"""What may go beyond a budget: parts of sixteen streams, and what lies in the transport."""


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State.open(tmp_path / "state.db") as made:
        yield made


def limiter_of(node: Node, state: State, **texts: str) -> Limiter:
    node.endpoint.on_connection = node.shaper.watch  # type: ignore[attr-defined]
    return Limiter(
        node.shaper, state, Limits.parse({key.replace("_", " ", 1): text for key, text in texts.items()})
    )


def used(limiter: Limiter) -> int:
    return limiter.standing()[0].used


@pytest.mark.parametrize("kind", KINDS)
async def test_a_fetch_stops_says_why_and_goes_on_where_it_was(
    tmp_path: Path, state: State, kind: str
) -> None:
    async with two_nodes(tmp_path, kind) as (provider, getter, _):
        blob = provider.store.put(DATA).hash
        limiter, progress = limiter_of(getter, state, budget_any="1 MB a day"), Progress()

        async def fetch(progress: Progress) -> Outcome:
            return Outcome(blob=await getter.getter.fetch_blob(blob, provider.address, progress))

        fetching = asyncio.ensure_future(limiter.bear(fetch, progress))
        await until(lambda: "the day's 1 MB over any path are used; it goes on at" in progress.waiting_for)
        assert 1_000_000 <= used(limiter) < 1_000_000 + MORE
        before = progress.done_bytes
        assert 800_000 < before < 1_000_000 + MORE
        await limiter.change({"budget any": "20 MB a day"})
        await bounded(fetching)
        assert content(getter.store, blob) == DATA
        assert 3_000_000 < used(limiter) < 3_500_000, "nothing came twice"


async def test_it_goes_on_by_itself_when_the_next_period_begins(tmp_path: Path, state: State) -> None:
    async with two_nodes(tmp_path) as (provider, getter, _):
        blob = provider.store.put(DATA).hash
        at = [datetime(2026, 3, 31, 23, 59, 59, tzinfo=UTC)]
        getter.shaper = getter.getter._shaper = Shaper(now=lambda: at[0])
        limiter, progress = limiter_of(getter, state, budget_any="1 MB a month"), Progress()

        async def fetch(progress: Progress) -> Outcome:
            return Outcome(blob=await getter.getter.fetch_blob(blob, provider.address, progress))

        fetching = asyncio.ensure_future(limiter.bear(fetch, progress))
        for month in range(4, 12):
            why = f"the month's 1 MB over any path are used; it goes on at 2026-{month:02}-01 00:00 UTC"
            await until(lambda why=why: fetching.done() or why in progress.waiting_for)  # type: ignore[misc]
            if fetching.done():
                break
            at[0] = datetime(2026, month + 1, 1, tzinfo=UTC) - timedelta(seconds=1)
        await bounded(fetching)
        assert month >= 6, "each month has brought its megabyte, and no more"
        assert content(getter.store, blob) == DATA


async def test_answers_stop_and_go_on(tmp_path: Path, state: State) -> None:
    async with two_nodes(tmp_path) as (provider, getter, network):
        blob = provider.store.put(DATA).hash
        limiter = limiter_of(provider, state, budget_any="1 MB a day, up")
        with pytest.raises(PeerUnavailable):
            await bounded(getter.getter.fetch_blob(blob, provider.address, Progress()))
        sent = network.memory.sent_bytes[provider.endpoint.id, getter.endpoint.id]
        assert 900_000 < sent < 1_000_000 + MORE
        await limiter.change({"budget any": "9 MB a day, up"})
        await bounded(getter.getter.fetch_blob(blob, provider.address, Progress()))
        assert content(getter.store, blob) == DATA


async def test_what_came_does_not_count_for_a_budget_of_what_goes(tmp_path: Path, state: State) -> None:
    async with two_nodes(tmp_path) as (provider, getter, _):
        blob = provider.store.put(DATA).hash
        limiter = limiter_of(getter, state, budget_any="1 MB a day, up")
        await bounded(getter.getter.fetch_blob(blob, provider.address, Progress()))
        assert used(limiter) < 100_000


async def test_another_path_is_taken(tmp_path: Path, state: State) -> None:
    """One that is spent does not hold up what others can bring: blobs, large and small, and documents."""
    async with several(tmp_path, 2) as all:
        manifest, blobs = layered(real_bytes(2_000_000), *(real_bytes(3000, at * 4000) for at in range(20)))
        for each in all.providers:
            stored = put_package(each.store, manifest, blobs)
        spent, free = all.providers
        host = spent.address.addresses[0].rpartition(":")[0]
        assert host != free.address.addresses[0].rpartition(":")[0]
        limiter = limiter_of(all.getter, state, **{f"metered_{host}": "critical"})
        progress = Progress()
        await bounded(all.getter.getter.fetch_package(stored.collection, all.sources, progress))
        assert all.getter.store.package(stored.root.digest) is not None
        assert all.sent_by(spent) < 20_000 < 2_000_000 < all.sent_by(free)
        assert limiter.limits.budgets.metered


@pytest.mark.parametrize("kind", KINDS)
async def test_a_metered_path_is_for_what_goes_first(tmp_path: Path, state: State, kind: str) -> None:
    async with two_nodes(tmp_path, kind) as (provider, getter, _):
        blob = provider.store.put(DATA).hash
        limiter_of(getter, state, metered_any="critical")
        with pytest.raises(BudgetSpent, match="any path is metered, and only for what is critical"):
            await bounded(getter.getter.fetch_blob(blob, provider.address, Progress()))
        urgent = Progress(transfer_class=TransferClass.CRITICAL)
        await bounded(getter.getter.fetch_blob(blob, provider.address, urgent))


async def test_the_interface_decides(tmp_path: Path, state: State) -> None:
    async with two_nodes(tmp_path, "iroh") as (provider, getter, _):
        blob = provider.store.put(DATA).hash
        limiter = limiter_of(getter, state, **{"metered_interface lo": "critical"})
        with pytest.raises(BudgetSpent, match="lo is metered"):
            await bounded(getter.getter.fetch_blob(blob, provider.address, Progress()))
        await limiter.change({}, clear=True)
        limiter.shaper.change(Limits.parse({"metered interface wwan0": "critical"}))
        await bounded(getter.getter.fetch_blob(blob, provider.address, Progress()))


async def test_a_reserve_is_left_to_what_is_critical(tmp_path: Path, state: State) -> None:
    async with two_nodes(tmp_path) as (provider, getter, _):
        blob = provider.store.put(DATA).hash
        limiter = limiter_of(getter, state, budget_any="5 MB a day, 80% for critical")
        with pytest.raises(BudgetSpent, match="but for 4 MB for what is critical"):
            await bounded(getter.getter.fetch_blob(blob, provider.address, Progress()))
        assert used(limiter) < 1_000_000 + MORE
        urgent = Progress(transfer_class=TransferClass.CRITICAL)
        await bounded(getter.getter.fetch_blob(blob, provider.address, urgent))


async def test_what_is_used_outlives_a_restart_and_a_budget_that_is_raised(
    tmp_path: Path, state: State
) -> None:
    async with two_nodes(tmp_path) as (provider, getter, _):
        blob = provider.store.put(DATA).hash
        limiter = limiter_of(getter, state, budget_any="9 MB a day")
        keeping = asyncio.create_task(limiter.run())
        await bounded(getter.getter.fetch_blob(blob, provider.address, Progress()))
        whole = used(limiter)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        again = Limiter(Shaper(), state, Limits.parse({"budget any": "12 MB a day"}))
        assert used(again) == whole > 3_000_000
        again.shaper.close()
        state.set("usage", "{")
        damaged = Limiter(Shaper(), state, Limits.parse({"budget any": "12 MB a day"}))
        assert used(damaged) == 0
        damaged.shaper.close()


async def test_what_went_before_there_was_a_budget_does_not_count(tmp_path: Path, state: State) -> None:
    async with two_nodes(tmp_path) as (provider, getter, _):
        blob, other = provider.store.put(DATA).hash, provider.store.put(DATA[:100_000]).hash
        limiter = limiter_of(getter, state)
        await bounded(getter.getter.fetch_blob(blob, provider.address, Progress()))
        await limiter.change({"budget any": "1 MB a day"})
        await bounded(getter.getter.fetch_blob(other, provider.address, Progress()))
        assert 100_000 < used(limiter) < 200_000


async def test_more_than_is_allowed_is_refused_unless_it_is_approved(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (provider, getter, _):
        manifest, blobs = layered(DATA)
        stored = put_package(provider.store, manifest, blobs)
        large, fetch = provider.store.put(DATA).hash, getter.getter
        with pytest.raises(Refused, match=r"3 MB are more than 2 MB: .* say so with --yes"):
            await bounded(fetch.fetch_blob(large, provider.address, Progress(approve_above=2_000_000)))
        with pytest.raises(Refused, match="more than 2 MB"):
            await bounded(
                fetch.fetch_package(stored.collection, provider.address, Progress(approve_above=2_000_000))
            )
        await bounded(fetch.fetch_package(stored.collection, Sources([provider.address]), Progress()))


def test_routes() -> None:
    assert interface_towards(ipaddress.ip_address("127.0.0.1")) == "lo"
    assert interface_towards(ipaddress.ip_address("::1")) in ("lo", None)
    assert interface_towards(ipaddress.ip_address("255.255.255.255")) != "lo"
