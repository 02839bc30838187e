"""Rows about what is small: a thousand little blobs in one package, and a sidecar that has nothing to do."""

import asyncio
import shutil
import time
from pathlib import Path

from tests.support.real_files import real_bytes
from tools.sidecar import Sidecar

from bench.layouts import write_layout
from bench.measurement import MEBIBYTE, limit_row
from bench.setting import Setting

_BLOBS = 1000
_BLOB_BYTES = 4096
_FETCH_LIMIT_SECONDS = 3
_IDLE_LIMIT_MIB = 100
_IDLE_SECONDS = 10


async def small_blob_rows(setting: Setting) -> None:
    """A package of 1,000 layers of 4 KiB, fetched whole, each proven by both of its names."""
    layout = setting.scratch / "small-layout"
    await asyncio.to_thread(_write_layout, layout)
    seconds = []
    async with Sidecar.start(setting.scratch / "provider", import_roots=[setting.scratch]) as provider:
        collection = await provider.import_layout(layout)
        for _ in range(setting.rounds_for(0)):
            async with Sidecar.start(setting.scratch / "getter") as getter:
                await provider.admit(getter.peer)
                started = time.monotonic()
                await getter.fetch_package(collection, provider.peer)
                seconds.append(time.monotonic() - started)
            await asyncio.to_thread(shutil.rmtree, getter.data_dir)
    await asyncio.to_thread(shutil.rmtree, provider.data_dir)
    middle = sorted(seconds)[len(seconds) // 2]
    setting.report.add(limit_row(f"{_BLOBS} blobs of 4 KiB fetched", middle, "s", under=_FETCH_LIMIT_SECONDS))


async def idle_rows(setting: Setting) -> None:
    """Two sidecars that know each other and do nothing for ten seconds: memory and processor time."""
    async with (
        Sidecar.start(setting.scratch / "idle-one") as one,
        Sidecar.start(setting.scratch / "idle-other") as other,
    ):
        await one.admit(other.peer)
        await other.admit(one.peer)
        before = one.cpu_seconds()
        await asyncio.sleep(_IDLE_SECONDS)
        share = (one.cpu_seconds() - before) / _IDLE_SECONDS
        resident = one.resident_bytes()
    setting.report.add(
        limit_row(
            "memory of an idle sidecar",
            resident / MEBIBYTE,
            "MiB",
            under=_IDLE_LIMIT_MIB,
            beside=f"{share:.2%} of a core",
        )
    )


def _write_layout(directory: Path) -> None:
    """Its layers are consecutive pieces of the machine's files."""
    content = real_bytes(_BLOBS * _BLOB_BYTES * 2)
    pieces = (content[start : start + _BLOB_BYTES] for start in range(0, len(content), _BLOB_BYTES))
    distinct = dict.fromkeys(pieces)  # a piece that repeats counts once
    write_layout(directory, list(distinct)[:_BLOBS])
