"""A budget of a real daemon that is used up in the middle of a fetch, killed, and raised by a call."""

import asyncio
from pathlib import Path

from tests.support.real_files import real_file
from tools.sidecar import Sidecar

SIZE = 30_000_000
BUDGET = ("--budget", "interface lo=8 MB a day, zone Europe/Oslo")
SPENT = "the day's 8 MB over lo are used; it goes on at"


async def used(sidecar: Sidecar) -> int:
    answer = await sidecar.call("GetLimits")
    return int(answer["used"][0].get("usedBytes", 0))


async def fetch(getter: Sidecar, provider: Sidecar, blob: str) -> str:
    answer = await getter.call("FetchBlob", blob=blob, peer=str(provider.peer))
    return str(answer["transfer"]["id"])


async def spent(getter: Sidecar, id: str) -> None:
    """Returns when it waits for the budget."""
    async for moved in getter.watch(id):
        assert moved.state == "RUNNING"
        if SPENT in moved.waiting_for:
            return


async def test_what_is_used_survives_a_kill_and_a_raise_lets_it_go_on(tmp_path: Path) -> None:
    files, data = tmp_path / "files", tmp_path / "getter"
    files.mkdir()
    real_file(files / "large.bin", SIZE)
    async with asyncio.timeout(120), Sidecar.start(data, options=BUDGET) as getter:
        id = getter.peer.endpoint_id
        async with Sidecar.start(tmp_path / "provider", import_roots=[files], allow=[id]) as provider:
            blob = str(await provider.import_file(files / "large.bin"))
            await spent(getter, await fetch(getter, provider, blob))
            before = await used(getter)
            assert 8_000_000 <= before < 12_000_000
            await asyncio.sleep(3)
            await getter.kill()
            async with Sidecar.start(data, options=BUDGET) as again:
                known = await used(again)
                assert before <= known < before + 100_000
                transfer = await fetch(again, provider, blob)
                await spent(again, transfer)
                assert await used(again) < known + 100_000, "no blob has come"
                await again.call("SetLimits", limits={"budgets": {"interface lo": "1 GB a day"}})
                states = [moved.state async for moved in again.watch(transfer)]
                assert states[-1] == "DONE"
                while await used(again) < SIZE:  # noqa: ASYNC110 - the last bytes are read at the next look
                    await asyncio.sleep(0.1)
                assert await used(again) < SIZE * 1.2, "what had come before did not come again"
