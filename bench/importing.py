"""Rows about files: taking one into the store beside hashing alone, and giving one out without a copy."""

import asyncio
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from tools.sidecar import Sidecar

from bench.measurement import Row, interleaved, size_text, speed_row
from bench.setting import Content, Setting

_PIECE_BYTES = 1 << 20


async def import_rows(setting: Setting, content: Content) -> None:
    """From the page cache, linked and copied, beside SHA-256 alone of the same file, and beside `cp`."""
    size = content.size

    async def ours(link: bool) -> float:
        async with Sidecar.start(setting.scratch / "importer", import_roots=[content.path.parent]) as sidecar:
            started = time.monotonic()
            await sidecar.import_file(content.path, link=link)
            seconds = time.monotonic() - started
        await asyncio.to_thread(shutil.rmtree, sidecar.data_dir)
        return seconds

    contestants = {
        "linked": lambda: ours(True),
        "SHA-256": lambda: _timed(_hash, content.path),
        "copied": lambda: ours(False),
        "copy and fsync": lambda: _timed(_copy, content.path),
    }
    await asyncio.to_thread(_hash, content.path)  # into the page cache
    seconds = await interleaved(setting.rounds_for(size), contestants, setting.console)
    subject = f"import {size_text(size)} from the page cache"
    linked, copied = seconds["linked"], seconds["copied"]
    report = setting.report
    report.add(
        speed_row(f"{subject}, linked", size, linked, seconds["SHA-256"], "SHA-256 alone", at_least=0.8)
    )
    report.add(
        speed_row(f"{subject}, copied", size, copied, seconds["SHA-256"], "SHA-256 alone", at_least=0.8)
    )
    report.add(
        speed_row(
            f"{subject}, copied", size, copied, seconds["copy and fsync"], "cp with fsync", at_least=None
        )
    )


async def export_rows(setting: Setting, content: Content) -> None:
    """By link: what the file system says was used, and the time."""
    size = content.size
    target = setting.scratch / "exported"
    async with Sidecar.start(
        setting.scratch / "exporter", import_roots=[content.path.parent], export_roots=[setting.scratch]
    ) as sidecar:
        blob = await sidecar.import_file(content.path)
        await asyncio.to_thread(os.sync)
        before = _used_bytes(setting.scratch)
        started = time.monotonic()
        await sidecar.export_file(blob, target, link=True)
        seconds = time.monotonic() - started
        await asyncio.to_thread(os.sync)
        used = max(0, _used_bytes(setting.scratch) - before)
    same = await asyncio.to_thread(_same_bytes, content.path, target)
    await asyncio.to_thread(shutil.rmtree, sidecar.data_dir)
    await asyncio.to_thread(target.unlink)
    setting.report.add(
        Row(
            f"export {size_text(size)} by link",
            f"{seconds * 1000:.0f} ms",
            "",
            f"{used / size:.1%} of it written" + ("" if same else ", and the bytes differ"),
            "no copy",
            same and used < size // 100,
        )
    )


async def _timed(work: Callable[[Path], None], content: Path) -> float:
    started = time.monotonic()
    await asyncio.to_thread(work, content)
    return time.monotonic() - started


def _hash(content: Path) -> None:
    sha256 = hashlib.sha256()
    with content.open("rb", buffering=0) as file:
        while piece := file.read(_PIECE_BYTES):
            sha256.update(piece)


def _copy(content: Path) -> None:
    copy = content.with_suffix(".copy")
    with content.open("rb") as source, copy.open("wb") as target:
        shutil.copyfileobj(source, target, _PIECE_BYTES)
        target.flush()
        os.fsync(target.fileno())
    copy.unlink()


def _used_bytes(directory: Path) -> int:
    """Of the whole file system; other programs write to it as well, by far less than a copy would."""
    usage = os.statvfs(directory)
    return (usage.f_blocks - usage.f_bfree) * usage.f_frsize


def _same_bytes(one: Path, other: Path) -> bool:
    with one.open("rb") as left, other.open("rb") as right:
        while piece := left.read(_PIECE_BYTES):
            if right.read(len(piece)) != piece:
                return False
        return not right.read(1)
