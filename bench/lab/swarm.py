"""Many hosts of one formation: one seed for eight getters, and three unequal seeds for one getter."""

import asyncio
import time
from collections.abc import Sequence

from tests.lab.network import Link
from tools.sidecar import Sidecar

from bench.lab.hosts import MEBIBYTE, Hosts, LabSetting, access_link, hosts
from bench.lab.one_source import share_row
from bench.measurement import Row, rate_text, size_text
from peat_sidecar.ids import BlobHash

_RATE_BITS = 20e6
_THIN_RATE_BITS = 5e6
"""Nine sidecars on one machine are not short of processor there."""
_ROUND_TRIP_SECONDS = 0.04
_GETTERS = 8
_SEED_RATES = (5e6, 10e6, 20e6)
_SLOWER = 1.35
_COPIES = 1.5
_LOOK_SECONDS = 0.05
_WAIT_SECONDS = 900


async def swarm_rows(setting: LabSetting) -> None:
    """The slowest of eight beside one alone; what the seed sends beside one copy."""
    size = setting.sized(64, 8) * MEBIBYTE
    for rate_bits, size_bytes in ((_RATE_BITS, size), (_THIN_RATE_BITS, size // 4)):
        await _swarm_rows(setting, rate_bits, size_bytes)


async def _swarm_rows(setting: LabSetting, rate_bits: float, size: int) -> None:
    alone, _ = await _swarm(setting, rate_bits, size, 1)
    slowest, copies = await _swarm(setting, rate_bits, size, _GETTERS)
    subject = f"one seed, {_GETTERS} getters, {rate_text(rate_bits)} each way, {size_text(size)}"
    setting.report.add(
        Row(
            f"{subject}: slowest",
            f"{slowest:.1f} s",
            f"{alone:.1f} s one getter alone",
            f"{slowest / alone:.2f}",
            f"<= {_SLOWER}",
            slowest <= _SLOWER * alone,
        )
    )
    setting.report.add(
        Row(
            f"{subject}: sent by the seed",
            f"{copies * size / MEBIBYTE:.0f} MiB",
            f"{_GETTERS} copies without a swarm",
            f"{copies:.2f} copies",
            f"<= {_COPIES}",
            copies <= _COPIES,
        )
    )


async def _swarm(setting: LabSetting, rate_bits: float, size: int, getters: int) -> tuple[float, float]:
    """Seconds until the last one has it, and the seed's bytes on its link as copies."""
    names = [f"getter{number}" for number in range(getters)]
    link = access_link(rate_bits, _ROUND_TRIP_SECONDS)
    async with hosts(setting, dict.fromkeys(["seed", *names], link)) as lab:
        seed = await lab.member("seed")
        package = await lab.offer_package([seed], size)
        members = await _members(lab, names, [seed])
        await _until_known(members, providers=1)
        before = lab.lab.traffic()["seed"].up.bytes
        began = time.monotonic()
        await asyncio.gather(*(_want(member, package) for member in members))
        seconds = time.monotonic() - began
        return seconds, (lab.lab.traffic()["seed"].up.bytes - before) / size


async def seeds_rows(setting: LabSetting) -> None:
    """One getter without a limit of its own takes what the three can give together."""
    size = setting.sized(128, 16) * MEBIBYTE
    links = {
        f"seed{number}": access_link(rate, _ROUND_TRIP_SECONDS) for number, rate in enumerate(_SEED_RATES)
    }
    total = sum(_SEED_RATES)
    async with hosts(setting, links | {"getter": Link()}) as lab:
        seeds = [await lab.member(name) for name in links]
        package = await lab.offer_package(seeds, size)
        (getter,) = await _members(lab, ["getter"], seeds)
        await _until_known([getter], providers=len(seeds))
        began = time.monotonic()
        await _want(getter, package)
        share = size * 8 / (time.monotonic() - began) / total
        carried = [lab.lab.traffic()[name].up.bytes / size for name in links]
    parts = ", ".join(f"{part:.0%}" for part in carried)
    row = share_row(f"seeds of 5, 10 and 20 Mbit/s, {size_text(size)}, sent {parts}", share, total, 0.9)
    setting.report.add(row)


async def _members(lab: Hosts, names: Sequence[str], knows: Sequence[Sidecar]) -> list[Sidecar]:
    return [await lab.member(name, knows) for name in names]


async def _until_known(members: Sequence[Sidecar], providers: int) -> None:
    """All know from the records that so many have the package."""
    async with asyncio.timeout(_WAIT_SECONDS):
        for member in members:
            while len((await member.call("ListMeshPackages")).get("packages", [])) < providers:  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_SECONDS)


async def _want(member: Sidecar, package: BlobHash) -> None:
    """Until it is complete here."""
    await member.call("AddWant", name=str(package), transferClass="TRANSFER_CLASS_HIGH")
    async with asyncio.timeout(_WAIT_SECONDS):
        while not (await member.call("ListPackages")).get("packages"):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)
