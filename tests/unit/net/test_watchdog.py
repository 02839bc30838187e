"""The watchdog: cuts off silence, passes on everything else."""

import asyncio

import pytest

from peat_sidecar.net.watchdog import Interrupted, Stalled, Watchdog


async def test_passes_results_and_errors_on() -> None:
    async def fail() -> None:
        raise KeyError

    watchdog = Watchdog(1)
    assert await watchdog.watch(asyncio.sleep(0, "x")) == "x"
    with pytest.raises(KeyError):
        await watchdog.watch(fail())
    await watchdog.interrupt()


async def test_silence_is_cut_off() -> None:
    watchdog = Watchdog(0.01)
    with pytest.raises(Stalled):
        await watchdog.watch(asyncio.sleep(60))
    watchdog.stall_seconds = None
    assert await watchdog.watch(asyncio.sleep(0.02, "x")) == "x"


async def test_interrupt_returns_when_the_step_let_go() -> None:
    watchdog, let_go = Watchdog(None), False

    async def step() -> None:
        nonlocal let_go
        try:
            await asyncio.sleep(60)
        finally:
            let_go = True

    watching = asyncio.create_task(watchdog.watch(step()))
    await asyncio.sleep(0)
    await watchdog.interrupt()
    assert let_go
    with pytest.raises(Interrupted):
        await watching


async def test_many_may_interrupt() -> None:
    watchdog = Watchdog(None)
    watching = asyncio.create_task(watchdog.watch(asyncio.sleep(60)))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await asyncio.gather(*[watchdog.interrupt() for _ in range(3)])
    with pytest.raises(Interrupted):
        await watching


async def test_cancelling_the_caller_stays_a_cancellation() -> None:
    watchdog = Watchdog(60)
    watching = asyncio.create_task(watchdog.watch(asyncio.sleep(60)))
    await asyncio.sleep(0)
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


async def test_one_step_at_a_time() -> None:
    watchdog = Watchdog(60)
    watching = asyncio.create_task(watchdog.watch(asyncio.sleep(60)))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="two tasks"):
        await watchdog.watch(asyncio.sleep(0))
    await watchdog.interrupt()
    with pytest.raises(Interrupted):
        await watching


async def test_a_large_step_goes_on_while_bytes_move() -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()

    async def large() -> str:
        await asyncio.sleep(0.5)
        return "done"

    moving = Watchdog(0.1)
    assert await moving.watch(large(), lambda: int((loop.time() - begun) * 1_000_000)) == "done"
    with pytest.raises(Stalled):
        await moving.watch(large(), lambda: int((loop.time() - begun) * 1000))  # keep-alives move as much


async def test_what_moves_for_others_does_not_renew_for_ever() -> None:
    loop = asyncio.get_running_loop()
    watchdog = Watchdog(0.01)
    async with asyncio.timeout(5):
        with pytest.raises(Stalled):
            await watchdog.watch(asyncio.sleep(60), lambda: int(loop.time() * 100_000_000))
