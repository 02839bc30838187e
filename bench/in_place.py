"""Rows about a docker-registry's storage, imported where it lies: time beside SHA-256, and disk."""

import asyncio
import hashlib
import shutil
import time
from pathlib import Path

from tests.support.registry import registry, skopeo_push
from tools.sidecar import Sidecar

from bench.measurement import Row, side_by_side, size_text, speed_row
from bench.registry import write_image
from bench.setting import Content, Setting

_PIECE_BYTES = 1 << 20
_DISK_SHARE = 0.01


async def in_place_rows(setting: Setting, content: Content) -> None:
    """All of a storage by one call, from the page cache as far as it has room, beside hashing its files."""
    storage = await asyncio.to_thread(_fill, content, setting.scratch)
    used: list[int] = []

    async def ours() -> float:
        async with Sidecar.start(setting.scratch / "in-place", import_roots=[storage]) as sidecar:
            started = time.monotonic()
            await sidecar.call("ImportBlob", registryStorage=str(storage), all=True, link=True, wait=True)
            seconds = time.monotonic() - started
        used.append(await asyncio.to_thread(_own_bytes, sidecar.data_dir, storage))
        await asyncio.to_thread(shutil.rmtree, sidecar.data_dir)
        return seconds

    async def hashing() -> float:
        started = time.monotonic()
        await asyncio.to_thread(_hash_all, storage)
        return time.monotonic() - started

    await asyncio.to_thread(_hash_all, storage)  # into the page cache
    subject = f"docker-registry's storage of {size_text(content.size)} in place"
    mine, alone = await side_by_side(
        setting.rounds_for(content.size), subject, ours, hashing, setting.console
    )
    setting.report.add(speed_row(subject, content.size, mine, alone, "SHA-256 of all, alone", at_least=0.8))
    share = max(used) / content.size
    setting.report.add(
        Row(
            f"disk for {subject}",
            f"{max(used) / 1e6:.1f} MB",
            "",
            f"{share:.2%}",
            f"< {_DISK_SHARE:.0%}",
            share < _DISK_SHARE,
        )
    )
    await asyncio.to_thread(shutil.rmtree, storage.parent)


def _fill(content: Content, scratch: Path) -> Path:
    layout = write_image(content, scratch / "in-place-layout")
    with registry(scratch / "in-place-registry") as running:
        skopeo_push(layout, "v1", f"{running.address}/bench/app:v1")
    shutil.rmtree(layout)
    return running.storage


def _own_bytes(data_dir: Path, storage: Path) -> int:
    """On the disk, by blocks; files that are the storage's own, by another name, count nothing."""
    theirs = {path.stat().st_ino for path in storage.rglob("data")}
    statuses = [path.lstat() for path in data_dir.rglob("*")]
    return sum(status.st_blocks * 512 for status in statuses if status.st_ino not in theirs)


def _hash_all(storage: Path) -> None:
    for path in storage.rglob("data"):
        sha256 = hashlib.sha256()
        with path.open("rb", buffering=0) as file:
            while piece := file.read(_PIECE_BYTES):
                sha256.update(piece)
