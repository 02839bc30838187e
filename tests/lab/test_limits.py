"""Limits and classes on links that are emulated: what passed the link is counted, headers and all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tools.sidecar import Sidecar

from tests.lab.network import Lab, Link
from tests.support.real_files import real_file

PACKET = 1500
PORT = 4433


@dataclass
class Pair:
    """A provider on a ship and a getter on the shore."""

    lab: Lab
    ship: Sidecar
    shore: Sidecar
    folder: Path

    async def offer(self, size: int, skip: int = 0) -> str:
        path = self.folder / f"{size}-{skip}.bin"
        real_file(path, size + skip)
        path.write_bytes(path.read_bytes()[skip:])
        return str(await self.ship.import_file(path))

    async def fetch(self, blob: str, name: str = "HIGH") -> str:
        """Begins it; the id of the transfer."""
        answer = await self.shore.call(
            "FetchBlob", blob=blob, peer=str(self.ship.peer), transferClass=f"TRANSFER_CLASS_{name}"
        )
        return str(answer["transfer"]["id"])

    async def moved(self, id: str) -> dict[str, Any]:
        answer = await self.shore.call("ListTransfers")
        found: dict[str, Any] = next(each for each in answer["transfers"] if each["id"] == id)
        return found

    async def wire_bytes(self, id: str) -> int:
        return int((await self.moved(id)).get("wireBytes", 0))

    async def until_came(self, id: str, size: int) -> None:
        """Returns when so many bytes have come of a transfer, or it is over."""
        async for moved in self.shore.watch(id):
            if moved.wire_bytes >= size:
                return

    async def until_done(self, id: str) -> None:
        """Returns when it is."""
        states = [moved.state async for moved in self.shore.watch(id)]
        assert states[-1] == "DONE"

    def passed(self) -> tuple[float, int]:
        """The lab's time, and what has left the ship by then."""
        before = self.lab.now()
        return before, self.lab.traffic()["ship"].up.bytes

    async def window(self, seconds: float) -> tuple[float, int]:
        """Really passed seconds, and bytes in them."""
        began, before = self.passed()
        await asyncio.sleep(seconds)
        ended, after = self.passed()
        return ended - began, after - before


@contextlib.asynccontextmanager
async def pair(
    folder: Path, link: Link | None = None, *, ship: tuple[str, ...] = (), shore: tuple[str, ...] = ()
) -> AsyncIterator[Pair]:
    files = folder / "files"
    files.mkdir()
    with Lab({"ship": link or Link(), "shore": Link()}) as lab:

        def start(name: str, *options: str, **more: Any) -> Any:
            return Sidecar.start(
                folder / name,
                bind=f"{lab.address(name)}:{PORT}",
                prefix=lab.command(name),
                options=options,
                **more,
            )

        async with contextlib.AsyncExitStack() as stack:
            getter = await stack.enter_async_context(start("shore", *shore))
            more = {"import_roots": [files], "allow": [getter.peer.endpoint_id]}
            provider = await stack.enter_async_context(start("ship", *ship, **more))
            yield Pair(lab, provider, getter, files)


@pytest.mark.parametrize(("side", "count"), [("up", 1), ("down", 1), ("up", 8), ("down", 8)])
async def test_a_limit_holds_at_the_interface(tmp_path: Path, side: str, count: int) -> None:
    option = (f"--limit-{side}", "64 kbit/s")
    ship, shore = (option, ()) if side == "up" else ((), option)
    async with pair(tmp_path, ship=ship, shore=shore) as two:
        ids = [await two.fetch(await two.offer(600_000, skip * 1000)) for skip in range(count)]
        await asyncio.sleep(3)
        before = sum([await two.wire_bytes(id) for id in ids])
        seconds, gone = await two.window(12)
        assert gone <= 8000 * seconds * 1.02 + 20_000, "what is asked for at once may lie on the edge"
        assert gone >= 8000 * seconds * 0.9 - 20_000
        payload = sum([await two.wire_bytes(id) for id in ids]) - before
        assert payload >= 0.85 * 8000 * seconds - 20_000
        for id in ids:
            assert (await two.moved(id))["state"] == "TRANSFER_STATE_RUNNING"
            await two.shore.call("CancelTransfer", id=id)


async def test_a_change_holds_within_a_second_and_one_kilobit_works(tmp_path: Path) -> None:
    async with pair(tmp_path, Link.both(rate_bits=2e6, delay_seconds=0.02, queue_bytes=32 << 10)) as two:
        blob = await two.offer(20_000_000)
        id = await two.fetch(blob)
        await asyncio.sleep(3)
        _, free = await two.window(1)
        assert free > 100_000
        await two.ship.call("SetLimits", limits={"up": "1 kbit/s"})
        await asyncio.sleep(1.2)
        _, rest = await two.window(1)
        assert rest < free / 2, "what was on its way"
        await asyncio.sleep(5)
        before = await two.wire_bytes(id)
        seconds, gone = await two.window(15)
        assert gone <= 125 * seconds + 6 * PACKET, "connections that are not needed any more say goodbye"
        assert await two.wire_bytes(id) > before
        assert (await two.moved(id))["state"] == "TRANSFER_STATE_RUNNING"
        await two.ship.call("SetLimits", limits={"up": "800 kbit/s"})
        await asyncio.sleep(1)
        seconds, gone = await two.window(5)
        assert 0.8 * 100_000 * seconds <= gone <= 1.05 * 100_000 * seconds + 30_000
        await two.shore.call("CancelTransfer", id=id)


async def test_a_critical_fetch_goes_before_bulk_without_any_limit(tmp_path: Path) -> None:
    async with pair(tmp_path, Link.both(rate_bits=2e6, delay_seconds=0.05)) as two:
        large, urgent = await two.offer(6_000_000), await two.offer(1_500_000, 7_000_000)
        bulk = await two.fetch(large, "BULK")
        await two.until_came(bulk, 300_000)
        critical = await two.fetch(urgent, "CRITICAL")
        await two.until_came(critical, 1)
        before = await two.wire_bytes(bulk)
        await two.until_done(critical)
        between = await two.wire_bytes(bulk) - before
        assert between <= 0.05 * 1_500_000
        await two.until_done(bulk)
        assert await two.wire_bytes(bulk) <= 6_000_000 * 1.01 + 200_000, "it went on where it was"
