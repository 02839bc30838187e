"""What is done with records now and then, over the real ones."""

import asyncio
from pathlib import Path

from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh import Upkeep
from peat_sidecar.records import Records, Signer
from tests.support.nodes import bounded, until

OWN, OTHER = Signer(bytes([1]) * 32), Signer(bytes([2]) * 32)
DAY = 86_400.0


async def turn(
    records: Records,
    now: float,
    connected: frozenset[EndpointId] = frozenset(),
    *,
    up_seconds: float = 2 * DAY,
) -> None:
    """One turn of the loop at that time, by a program that has run for so long."""
    slept = asyncio.Event()

    async def sleep(_: float) -> None:
        slept.set()
        await asyncio.Event().wait()

    clock = iter((0.0, up_seconds))
    upkeep = Upkeep(
        records, lambda: connected, forget_days=30, sleep=sleep, now=lambda: now, clock=lambda: next(clock)
    )
    running = asyncio.create_task(upkeep.run())
    await bounded(slept.wait())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_who_was_not_heard_of_is_forgotten_and_who_is_connected_is_not(tmp_path: Path) -> None:
    clock = [1_790_000_000.0]
    own = Records.open(tmp_path / "own.db", OWN, now=lambda: clock[0])
    other = Records.open(tmp_path / "other.db", OTHER, now=lambda: clock[0])
    other.put("notes", "one", {"a": 1})
    batch = other.since(OTHER.id, 0)
    assert batch is not None
    own.merge([batch])
    clock[0] += 29 * DAY
    await turn(own, clock[0])
    assert own.get("notes", "one") is not None
    clock[0] += 2 * DAY
    await turn(own, clock[0], frozenset({OTHER.id}))
    assert own.get("notes", "one") is not None, "it is there, and has nothing new to say"
    clock[0] += 31 * DAY
    await turn(own, clock[0], up_seconds=DAY / 2)
    assert own.get("notes", "one") is not None, "after a start others are heard first"
    await turn(own, clock[0])
    assert own.get("notes", "one") is None
    own.close()
    other.close()


async def test_what_was_ahead_counts_when_its_time_has_come(tmp_path: Path) -> None:
    clock = [1_790_000_000.0]
    own = Records.open(tmp_path / "own.db", OWN, now=lambda: clock[0])
    ahead = Records.open(tmp_path / "ahead.db", OTHER, now=lambda: clock[0] + 3 * DAY)
    ahead.put("notes", "one", {"a": 1})
    batch = ahead.since(OTHER.id, 0)
    assert batch is not None
    own.merge([batch])
    await turn(own, clock[0])
    assert own.get("notes", "one") is None
    clock[0] += 2.5 * DAY
    await turn(own, clock[0])
    assert own.get("notes", "one") is not None
    own.close()
    ahead.close()


async def test_a_disk_that_fails_does_not_end_it(tmp_path: Path) -> None:
    own = Records.open(tmp_path / "own.db", OWN)
    own.close()
    slept = 0

    async def sleep(_: float) -> None:
        nonlocal slept
        slept += 1
        await asyncio.sleep(0)

    running = asyncio.create_task(Upkeep(own, frozenset, forget_days=30, sleep=sleep).run())
    await until(lambda: slept >= 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
