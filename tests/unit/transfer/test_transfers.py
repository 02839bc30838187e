"""The table of transfers: what runs, what is remembered, what watchers see, and how all of it ends."""

import asyncio

import pytest

from peat_sidecar.errors import NotFound, Refused, StoreFull
from peat_sidecar.transfer import Outcome, Progress, TransferKind, Transfers, TransferState
from peat_sidecar.transfer.transfers import REMEMBERED, RUNNING_LIMIT
from tests.support.nodes import bounded


async def nothing(_: Progress) -> Outcome:
    return Outcome()


async def endless(progress: Progress) -> Outcome:
    progress.total_bytes, progress.done_bytes, progress.waiting_for = 100, 40, "a peer"
    await asyncio.Event().wait()
    return Outcome()


async def test_one_that_is_done() -> None:
    transfers = Transfers()
    outcome = Outcome()

    async def work(progress: Progress) -> Outcome:
        progress.total_bytes = progress.done_bytes = 5
        return outcome

    transfer = transfers.start(TransferKind.FETCH, "a blob", "a peer", work)
    assert transfers.running() == [transfer]
    await bounded(transfer.wait())
    assert (transfer.state, transfer.outcome, transfer.error) == (TransferState.DONE, outcome, None)
    assert transfers.get(transfer.id) is transfer
    assert (transfers.running(), transfers.all()) == ([], [transfer])
    assert transfer.eta_seconds == 0


async def test_one_that_fails_and_one_that_breaks() -> None:
    transfers = Transfers()

    async def full(_: Progress) -> Outcome:
        raise StoreFull("no room")

    async def broken(_: Progress) -> Outcome:
        raise ZeroDivisionError("a secret detail")

    for work, text in ((full, "no room"), (broken, "fault of the daemon")):
        transfer = transfers.start(TransferKind.IMPORT, "a file", "", work)
        await bounded(transfer.wait())
        assert transfer.state is TransferState.FAILED
        assert text in str(transfer.error)
        assert "secret" not in str(transfer.error)


async def test_watching_begins_at_once_and_ends_with_the_transfer() -> None:
    transfers = Transfers()
    transfer = transfers.start(TransferKind.FETCH, "a blob", "a peer", endless)
    seen = []

    async def watch() -> None:
        async for each in transfers.watch(transfer.id):
            seen.append((each.state, each.progress.done_bytes))
            if len(seen) == 2:
                transfers.cancel(transfer.id)

    await bounded(watch())
    assert seen[0][0] is seen[1][0] is TransferState.RUNNING
    assert seen[-1] == (TransferState.CANCELLED, 40)
    assert transfer.progress.waiting_for == ""


async def test_a_cancel_of_one_that_has_ended_changes_nothing() -> None:
    transfers = Transfers()
    transfer = transfers.start(TransferKind.FETCH, "a blob", "a peer", nothing)
    await bounded(transfer.wait())
    assert transfers.cancel(transfer.id).state is TransferState.DONE
    with pytest.raises(NotFound):
        transfers.cancel("unknown")


async def test_one_that_is_cancelled_before_its_first_step() -> None:
    transfers = Transfers()
    transfer = transfers.start(TransferKind.FETCH, "a blob", "a peer", nothing)
    transfers.cancel(transfer.id)
    await bounded(transfer.wait())
    assert transfer.state is TransferState.CANCELLED
    assert transfers.running() == []


async def test_bounds() -> None:
    transfers = Transfers()
    for _ in range(REMEMBERED + 10):
        await bounded(transfers.start(TransferKind.EXPORT, "a blob", "a file", nothing).wait())
    assert len(transfers.all()) == REMEMBERED
    for _ in range(RUNNING_LIMIT):
        transfers.start(TransferKind.FETCH, "a blob", "a peer", endless)
    with pytest.raises(Refused, match="are running"):
        transfers.start(TransferKind.FETCH, "a blob", "a peer", endless)
    await bounded(transfers.close())
    assert transfers.running() == []
    with pytest.raises(Refused, match="stopping"):
        transfers.start(TransferKind.FETCH, "a blob", "a peer", nothing)


async def test_rate_and_time_left_leave_out_what_was_there_before() -> None:
    transfers = Transfers()
    go = asyncio.Event()

    async def work(progress: Progress) -> Outcome:
        progress.total_bytes = 3000
        progress.skip(1000)
        await go.wait()
        progress.done_bytes += 1000
        await asyncio.Event().wait()
        return Outcome()

    transfer = transfers.start(TransferKind.FETCH, "a blob", "a peer", work)
    await asyncio.sleep(0)
    assert (transfer.bytes_per_second, transfer.eta_seconds) == (0, 0)
    go.set()
    await asyncio.sleep(0.01)
    assert transfer.bytes_per_second > 0
    assert transfer.eta_seconds == pytest.approx(1000 / transfer.bytes_per_second, rel=0.5)
    await bounded(transfers.close())
