"""Five nodes write while one after another is killed with SIGKILL and started again; then all are equal.

A write that was acknowledged is durable: each document that only one node writes is at the end at least what
that node was told it has.
"""

import asyncio
import random
import time
from collections import Counter
from pathlib import Path

import httpx
from tests.support.formations import Formation, documents, eventually_equal, formation, put
from tools.sidecar import SidecarError

KNOWS = {"a": ["e"], "b": ["a"], "c": ["b"], "d": ["c", "a"], "e": ["d"]}
KILLS = 6
OWN_DOCUMENTS = 6
SHARED_DOCUMENTS = 3


class Writer:
    """Writes on one node, whatever happens to it, until it is told to stop."""

    def __init__(self, fleet: Formation, name: str) -> None:
        self._fleet = fleet
        self._name = name
        self.acknowledged: Counter[str] = Counter()
        """Own document -> the highest number that was."""
        self.tried: Counter[str] = Counter()
        self.ended = asyncio.Event()

    async def run(self) -> None:
        number = 0
        while not self.ended.is_set():
            number += 1
            id = f"{self._name}-{number % OWN_DOCUMENTS}"
            self.tried[id] = number
            try:
                sidecar = self._fleet[self._name]
                await put(sidecar, "notes", id, number=number, by=self._name)
                self.acknowledged[id] = number
                shared = f"shared-{number % SHARED_DOCUMENTS}"
                await put(sidecar, "notes", shared, **{"by": self._name, self._name: number})
            except (SidecarError, httpx.HTTPError, RuntimeError, KeyError, ValueError):
                pass  # it was killed, or is not there
            await asyncio.sleep(0.02)


async def test_kill_of_any_node_at_any_time(tmp_path: Path) -> None:
    choose = random.Random(5)
    async with formation(tmp_path) as fleet:
        await asyncio.gather(*(fleet.start(name, knows=knows) for name, knows in KNOWS.items()))
        writers = {name: Writer(fleet, name) for name in KNOWS}
        async with asyncio.TaskGroup() as group:
            for writer in writers.values():
                group.create_task(writer.run())
            for _ in range(KILLS):
                await asyncio.sleep(choose.uniform(0.05, 0.6))
                victim = choose.choice(sorted(KNOWS))
                await fleet.kill(victim)
                await asyncio.sleep(choose.uniform(0.0, 0.2))
                await fleet.start(victim)
            for writer in writers.values():
                writer.ended.set()
        healing = time.monotonic()
        await eventually_equal(fleet.running, "notes")
        assert time.monotonic() - healing < 15

        found = await documents(fleet["c"], "notes")
        for name, writer in writers.items():
            assert sum(writer.acknowledged.values()) > 0, f"{name} has written nothing"
            for id, number in writer.acknowledged.items():
                document = found[id]
                assert document is not None
                assert number <= document["number"] <= writer.tried[id], id
