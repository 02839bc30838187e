"""Several nodes that want the same of one seed: each gives the others what it has by now."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tests.support.manual_time import ManualTime
from tests.support.mesh_nodes import Mesh, MeshNode, layer, mesh, wanted
from tests.unit.mesh.test_wants import REF, announced

SIZE = 4_000_000
GETTERS = 4
MOST_COPIES = 2.3
"""Of four without a swarm."""


@contextlib.asynccontextmanager
async def passing(time: ManualTime) -> AsyncIterator[None]:
    """Time that goes on by itself."""

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.05)
            time.advance(0.05)

    ticking = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)


async def seed_and_getters(made: Mesh) -> tuple[MeshNode, list[MeshNode]]:
    """They know of the package; the seed's way out is narrow."""
    seed = await made.node("seed")
    getters = [await made.node(f"getter{number}") for number in range(GETTERS)]
    await seed.p.limiter.change({"up": "8 Mbit/s"})
    seed.add(REF, [layer(1, SIZE)])
    await announced(seed, REF)
    return seed, getters


async def fetched_by_all(made: Mesh, seed: MeshNode, getters: list[MeshNode]) -> float:
    """Copies that the seed has sent."""
    async with passing(made.time):
        for each in getters:
            each.p.wants.add(REF)
        await asyncio.gather(*(wanted(each, REF, "done") for each in getters))
    for each in getters:
        package = each.content(REF)
        assert package is not None
        assert package == seed.content(REF)
    return sum(made.made.memory.sent_bytes[seed.id, each.id] for each in getters) / SIZE


async def test_a_seed_is_asked_for_little_more_than_one_copy(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        seed, getters = await seed_and_getters(made)
        for number, one in enumerate(getters):
            made.link(seed, one)
            for other in getters[:number]:
                made.link(one, other)
        assert await fetched_by_all(made, seed, getters) < MOST_COPIES


async def test_getters_without_a_session_dial_each_other(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        seed, getters = await seed_and_getters(made)
        for one in getters:
            made.link(seed, one)
            one.peers.near = {other.id: other.address for other in getters if other is not one}
        assert await fetched_by_all(made, seed, getters) < MOST_COPIES
