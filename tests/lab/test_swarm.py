"""A seed with a narrow way out, and hosts that want the same at once: they feed each other."""

import asyncio
import contextlib
import secrets
from pathlib import Path

from bench.layouts import write_layout
from tools.sidecar import Sidecar

from tests.lab.network import Lab, Link
from tests.support.real_files import real_bytes

SIZE = 4 << 20
GETTERS = ("one", "two", "three", "four")
WAIT_SECONDS = 150
LINK = Link.both(rate_bits=8e6, delay_seconds=0.01, queue_bytes=64 << 10)


async def listed(sidecar: Sidecar, call: str, what: str) -> int:
    return len((await sidecar.call(call)).get(what, []))


async def until_listed(sidecar: Sidecar, call: str, what: str) -> None:
    """Until there is one."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not await listed(sidecar, call, what):  # noqa: ASYNC110
            await asyncio.sleep(0.2)


async def test_getters_that_know_the_seed_only_take_less_than_a_copy_each_from_it(tmp_path: Path) -> None:
    key, layout = tmp_path / "formation.key", tmp_path / "layout"
    key.touch(0o600)
    key.write_text(secrets.token_hex(32))
    write_layout(layout, [real_bytes(SIZE)])
    async with contextlib.AsyncExitStack() as stack:
        lab = stack.enter_context(Lab(dict.fromkeys(("seed", *GETTERS), LINK)))

        async def member(host: str, *knows: Sidecar) -> Sidecar:
            started = Sidecar.start(
                tmp_path / host,
                bind=f"{lab.address(host)}:4433",
                prefix=lab.command(host),
                import_roots=[tmp_path],
                peers=[each.peer for each in knows],
                options=("--no-discover-mdns", "--formation-key-file", str(key), "--agent-id", host),
            )
            return await stack.enter_async_context(started)

        seed = await member("seed")
        package = await seed.import_layout(layout)
        getters = [await member(host, seed) for host in GETTERS]
        for each in getters:
            await until_listed(each, "ListMeshPackages", "packages")
        before = lab.traffic()["seed"].up.bytes
        await asyncio.gather(*(each.call("AddWant", name=str(package)) for each in getters))
        await asyncio.gather(*(until_listed(each, "ListPackages", "packages") for each in getters))
        assert lab.traffic()["seed"].up.bytes - before < 0.75 * len(GETTERS) * SIZE
