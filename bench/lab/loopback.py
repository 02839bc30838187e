"""Without a lab, on loopback: a getter that is killed half-way, and how fast one source is."""

import asyncio

from tests.support.real_files import real_file
from tools.sidecar import Moved, Sidecar

from bench.fetching import fetch_rows
from bench.lab.hosts import LabSetting, begin, progress
from bench.measurement import Row, size_text
from bench.setting import Content, Setting
from peat_sidecar.ids import BlobHash

_TREE = 64 / (16 << 10)


async def speed_rows(setting: LabSetting) -> None:
    """The rows that `make bench` has for one size."""
    content = await _content(setting)
    plain = Setting(setting.report.console, setting.report, setting.scratch, 1 if setting.is_quick else None)
    await fetch_rows(plain, content)
    await asyncio.to_thread(content.path.unlink)


async def kill_rows(setting: LabSetting) -> None:
    """SIGKILL at half of it; what is fetched twice beside what came in the second before."""
    content = await _content(setting)
    size = content.size
    async with Sidecar.start(setting.scratch / "ship", import_roots=[content.path.parent]) as provider:
        blob = await provider.import_file(content.path, link=True)
        last, in_last_second = await _killed(setting, provider, blob, size)
        async with Sidecar.start(setting.scratch / "shore") as getter:
            again = await getter.fetch_blob(blob, provider.peer)
    await asyncio.to_thread(content.path.unlink)
    twice = max(0.0, last.wire_bytes + again.wire_bytes - size * (1 + _TREE))
    setting.report.add(
        Row(
            f"kill -9 of the getter at {last.wire_bytes / size:.0%} of {size_text(size)} on loopback",
            f"{twice / 1e6:.1f} MB fetched twice",
            f"{in_last_second / 1e6:.1f} MB came in the last second",
            f"{twice / max(1, in_last_second):.2f}",
            "<= 1",
            twice <= in_last_second,
        )
    )


async def _killed(setting: LabSetting, provider: Sidecar, blob: BlobHash, size: int) -> tuple[Moved, int]:
    """How far it was, and what had come in the second before."""
    async with Sidecar.start(setting.scratch / "shore") as getter:
        await provider.admit(getter.peer)
        seen: list[tuple[float, int]] = []
        async for now, transfer in progress(getter, await begin(getter, blob, provider)):
            seen.append((now, transfer.wire_bytes))
            if transfer.wire_bytes >= size // 2:
                break
        await getter.kill()
    earlier = [came for when, came in seen if when <= now - 1]
    return transfer, transfer.wire_bytes - (earlier[-1] if earlier else 0)


async def _content(setting: LabSetting) -> Content:
    size = setting.sized(500_000_000, 100_000_000)
    content = Content(setting.scratch / "content", size)
    await asyncio.to_thread(real_file, content.path, size)
    return content
