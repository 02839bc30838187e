"""Limits that are set, and what passes the interface under them in a minute."""

import asyncio

from tests.lab.network import Link
from tools.sidecar import Sidecar

from bench.lab.hosts import MEBIBYTE, Hosts, LabSetting, begin, hosts, moved
from bench.measurement import Row, rate_text

_RATES = ("64 kbit/s", "1 Mbit/s", "20 Mbit/s", "100 Mbit/s")
_UNITS = {"kbit/s": 1e3, "Mbit/s": 1e6}
_TRANSFERS = (1, 8)
_SETTLE_SECONDS = 5.0
_ROUND_TRIP_SECONDS = 0.02
_WITHIN = 0.02
_LEAST_BYTES = 4 * MEBIBYTE


async def limit_rows(setting: LabSetting) -> None:
    """The provider's limit, on one transfer and on eight; then one kbit/s."""
    seconds = setting.sized(60, 10)
    for text in _RATES:
        number, unit = text.split()
        for count in _TRANSFERS:
            await _hold(setting, text, float(number) * _UNITS[unit], count, seconds)
    await _crawl(setting, seconds)


async def _hold(setting: LabSetting, limit: str, rate_bits: float, count: int, seconds: float) -> None:
    size = max(_LEAST_BYTES, int(rate_bits / 8 * (seconds + 4 * _SETTLE_SECONDS)))
    async with hosts(setting, _links()) as lab:
        provider, getter = await lab.pair("--limit-up", limit)
        for _ in range(count):
            blob = await lab.offer(provider, size // count)
            await begin(getter, blob, provider)
        await asyncio.sleep(_SETTLE_SECONDS)
        passed = await _passing(lab, seconds)
        running = await _running(getter)
    off = passed / rate_bits - 1
    setting.report.add(
        Row(
            f"limit {limit}, {count} transfer{'s' if count > 1 else ''}, {seconds:.0f} s",
            rate_text(passed),
            "" if running == count else f"{running} of {count} transfers still ran",
            f"{off:+.1%}",
            f"within {_WITHIN:.0%}",
            abs(off) <= _WITHIN,
        )
    )


async def _crawl(setting: LabSetting, seconds: float) -> None:
    """It works when bytes of the blob come, and nobody takes that for a stall."""
    async with hosts(setting, _links()) as lab:
        provider, getter = await lab.pair("--limit-up", "1 kbit/s")
        id = await begin(getter, await lab.offer(provider, _LEAST_BYTES), provider)
        await asyncio.sleep(2 * seconds)  # the handshake alone takes a minute
        before = (await moved(getter, id)).wire_bytes
        passed = await _passing(lab, seconds)
        after = await moved(getter, id)
    came = after.wire_bytes - before
    setting.report.add(
        Row(
            f"limit 1 kbit/s, 1 transfer, {seconds:.0f} s",
            rate_text(passed),
            f"{came} bytes of the blob came",
            after.state.lower(),
            "works",
            after.state == "RUNNING" and came > 0,
        )
    )


async def _passing(lab: Hosts, seconds: float) -> float:
    """Bits per second of IP packets out of the ship's interface."""
    began, before = lab.lab.now(), lab.lab.traffic()["ship"].up.bytes
    await asyncio.sleep(seconds)
    after, ended = lab.lab.traffic()["ship"].up.bytes, lab.lab.now()
    return (after - before) * 8 / (ended - began)


async def _running(getter: Sidecar) -> int:
    listed = (await getter.call("ListTransfers"))["transfers"]
    return sum(each["state"] == "TRANSFER_STATE_RUNNING" for each in listed)


def _links() -> dict[str, Link]:
    return {"ship": Link.both(delay_seconds=_ROUND_TRIP_SECONDS / 2), "shore": Link()}
