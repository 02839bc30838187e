"""Twenty outages in the middle of a transfer: what is sent twice because of them, and how soon it goes on."""

import asyncio
import random
import time

from tests.lab.network import Link
from tools.sidecar import Sidecar

from bench.lab.hosts import MEBIBYTE, Hosts, LabSetting, access_link, begin, hosts, moved
from bench.measurement import Row, rate_text, size_text
from peat_sidecar.ids import BlobHash

_RATE_BITS = 10e6
_ROUND_TRIP_SECONDS = 0.1
_SEED = 20
_SHORTEST_SECONDS = 1.0
_LONGEST_SECONDS = 90.0
_QUICK_LONGEST_SECONDS = 8.0
_RESUME_SECONDS = 7.0
_GIVE_UP_SECONDS = 300.0
_TREE = 64 / (16 << 10)
"""A blob's pairs beside its bytes."""
_LOOK_SECONDS = 0.02


async def outage_rows(setting: LabSetting) -> None:
    """Each begins when the next part of the blob has come, so that all of them hit it."""
    count = setting.sized(20, 3)
    size = setting.sized(64, 8) * MEBIBYTE
    longest = _QUICK_LONGEST_SECONDS if setting.is_quick else _LONGEST_SECONDS
    link = access_link(_RATE_BITS, _ROUND_TRIP_SECONDS)
    async with hosts(setting, {"ship": link, "shore": Link()}) as lab:
        provider, getter = await lab.pair()
        blob = await lab.offer(provider, size)
        resumed, down, wire = await _interrupted(lab, provider, getter, blob, size, count, longest)
        link_bytes = lab.lab.traffic()["ship"].up.bytes
    subject = f"{count} outages of 1 to {longest:.0f} s, {size_text(size)} at {rate_text(_RATE_BITS)}"
    twice = max(0.0, wire / size - 1 - _TREE)
    setting.report.add(
        Row(
            f"{subject}: sent twice",
            f"{twice * size / 1000:.0f} kB",
            f"{link_bytes / size:.3f} bytes on the link for each of payload",
            f"{twice:.2%}",
            "<= 1 %",
            twice <= 0.01,
        )
    )
    slowest = max(resumed)
    setting.report.add(
        Row(
            f"{subject}: resumed after each return",
            f"{slowest:.1f} s at most",
            f"median {sorted(resumed)[len(resumed) // 2]:.1f} s; {down:.0f} s without a link",
            f"{sum(each <= _RESUME_SECONDS for each in resumed)} of {count} in time",
            f"<= {_RESUME_SECONDS:g} s",
            slowest <= _RESUME_SECONDS,
        )
    )


async def _interrupted(
    lab: Hosts,
    provider: Sidecar,
    getter: Sidecar,
    blob: BlobHash,
    size: int,
    count: int,
    longest: float,
) -> tuple[list[float], float, int]:
    """Seconds from each return of the link until more has come; seconds of outage, and bytes that came."""
    chance = random.Random(_SEED)
    id = await begin(getter, blob, provider)
    resumed: list[float] = []
    down = 0.0
    for number in range(count):
        await _until_came(getter, id, size * (number + 1) // (count + 1))
        length = chance.uniform(_SHORTEST_SECONDS, longest)
        down += length
        lab.lab.set("ship", is_down=True)
        await asyncio.sleep(length)
        before = (await moved(getter, id)).wire_bytes
        lab.lab.set("ship", is_down=False)
        returned = time.monotonic()
        await _until_came(getter, id, before + 1)
        resumed.append(time.monotonic() - returned)
    await _until_came(getter, id, None)
    return resumed, down, (await moved(getter, id)).wire_bytes


async def _until_came(getter: Sidecar, id: str, wire_bytes: int | None) -> None:
    """Or until it is done; `TimeoutError` when nothing goes on."""
    async with asyncio.timeout(_GIVE_UP_SECONDS):
        while True:
            now = await moved(getter, id)
            if now.state == "DONE" or (wire_bytes is not None and now.wire_bytes >= wire_bytes):
                return
            await asyncio.sleep(_LOOK_SECONDS)
