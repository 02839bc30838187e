"""Rows about collection: how long requests to the registry take while 10,000 blobs are deleted."""

import asyncio
import shutil
import statistics
import time
from pathlib import Path

import httpx
from tests.support.real_files import real_bytes
from tests.support.stored_packages import bring
from tools.sidecar import Sidecar

from bench.measurement import limit_row
from bench.setting import Setting
from peat_sidecar.store import Store

_ORPHANS = 10_000
_ORPHAN_WORDS = 1024
_LOT = 500
_LAYER_BYTES = 64 << 10
_REFERENCE = "localhost/app:v1"
_QUIET_SECONDS = 10.0
_CLIENTS = 4
_PAUSE_SECONDS = 0.02
"""Of a client between two requests: what is measured is how long one waits, not how many there can be."""
_MORE_LIMIT_MS = 50


async def collecting_rows(setting: Setting) -> None:
    """Four clients ask for a manifest and a layer again and again: before, and while blobs are deleted."""
    data_dir = setting.scratch / "collecting"
    layer = await asyncio.to_thread(_fill, data_dir)
    async with Sidecar.start(data_dir, options=["--registry", "127.0.0.1:0"]) as sidecar:
        over = asyncio.Event()
        before = asyncio.create_task(_requests(sidecar.registry, layer, over))
        await asyncio.sleep(_QUIET_SECONDS)
        over.set()
        quiet = await before
        over = asyncio.Event()
        busy = asyncio.create_task(_requests(sidecar.registry, layer, over))
        started = time.monotonic()
        collected = await sidecar.call("CollectGarbage", all=True)
        seconds = time.monotonic() - started
        over.set()
        loud = await busy
    assert collected["orphanBlobs"] == _ORPHANS
    await asyncio.to_thread(shutil.rmtree, data_dir)
    more = _last_percent(loud) - _last_percent(quiet)
    setting.report.add(
        limit_row(
            f"99th percentile more while {_ORPHANS:,} blobs go",
            more * 1000,
            "ms",
            under=_MORE_LIMIT_MS,
            beside=f"{_last_percent(quiet) * 1000:.1f} ms quiet, {len(loud)} requests in {seconds:.1f} s",
        )
    )


def _fill(data_dir: Path) -> str:
    """A package and the blobs that nothing needs; the digest of the package's layer."""
    with Store.open(data_dir) as store:
        package = bring(store, _REFERENCE, real_bytes(_LAYER_BYTES))
        for first in range(0, _ORPHANS, _LOT):
            numbers = range(first, first + _LOT)
            store.put_many([(each.to_bytes(4, "big") * _ORPHAN_WORDS, None, None) for each in numbers])
    return str(package.blobs[-1])


async def _requests(address: str, layer: str, over: asyncio.Event) -> list[float]:
    """Seconds of each."""
    took: list[float] = []

    async def ask(client: httpx.AsyncClient) -> None:
        while not over.is_set():
            for path in ("manifests/v1", f"blobs/{layer}"):
                started = time.monotonic()
                (await client.get(f"/v2/app/{path}")).raise_for_status()
                took.append(time.monotonic() - started)
                await asyncio.sleep(_PAUSE_SECONDS)

    async with httpx.AsyncClient(base_url=f"http://{address}", timeout=60) as client:
        await asyncio.gather(*(ask(client) for _ in range(_CLIENTS)))
    return took


def _last_percent(took: list[float]) -> float:
    return statistics.quantiles(took, n=100)[-1]
