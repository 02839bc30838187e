"""Fetches over links that break: they go on after each outage, and what came is not asked for again."""

import asyncio
from pathlib import Path

import pytest

from tests.lab.network import Link
from tests.lab.test_limits import pair

SIZE = 3_000_000
RUN_BYTES = 64 << 10
"""What one stream may have come of a run that is not whole yet."""


@pytest.mark.parametrize("seconds", [1, 12])
async def test_a_fetch_goes_on_where_it_was(tmp_path: Path, seconds: float) -> None:
    """12 s: its connection is given up meanwhile, and the peer is looked for."""
    async with pair(tmp_path, Link.both(rate_bits=4e6, delay_seconds=0.02)) as two:
        id = await two.fetch(await two.offer(SIZE))
        outages = 2
        for number in range(1, outages + 1):
            await two.until_came(id, number * SIZE // (outages + 1))
            two.lab.set("ship", is_down=True)
            await asyncio.sleep(seconds)
            assert (await two.moved(id))["state"] == "TRANSFER_STATE_RUNNING"
            two.lab.set("ship", is_down=False)
        await two.until_done(id)
        assert await two.wire_bytes(id) <= SIZE * 1.01 + outages * 2 * RUN_BYTES
        assert two.lab.traffic()["ship"].up.cut > 0


async def test_nobody_to_fetch_from_costs_next_to_nothing(tmp_path: Path) -> None:
    """Past its first tries, in the last of these seconds, a lost peer is only probed."""
    async with pair(tmp_path, Link.both(rate_bits=4e6, delay_seconds=0.02)) as two:
        id = await two.fetch(await two.offer(SIZE))
        await two.until_came(id, SIZE // 3)
        await two.ship.kill()
        before = two.lab.traffic()["shore"].up.packets
        await asyncio.sleep(30)
        packets = two.lab.traffic()["shore"].up.packets - before
        assert (await two.moved(id))["state"] == "TRANSFER_STATE_RUNNING"
        assert packets < 150
        await two.shore.call("CancelTransfer", id=id)
