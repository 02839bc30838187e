"""Rows about pulls of what is not here: a layer comes from a member while a client takes it."""

import asyncio
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from tools.sidecar import Sidecar

from bench.measurement import limit_row, side_by_side, size_text, speed_row
from bench.registry import write_image
from bench.setting import Content, Setting
from peat_sidecar.ids import BlobHash

_PACKAGE = "registry.example/bench/app:v1"
_WAIT_SECONDS = 30.0
_LOOK_SECONDS = 0.05
_PIECE_BYTES = 1 << 20
_FIRST_BYTE_LIMIT_MS = 100
_WHOLE = 1 / 1.15
"""How much of a plain fetch's speed a client has to get."""


async def miss_rows(setting: Setting, content: Content) -> None:
    """A client takes an image layer by layer from a sidecar that has nothing, beside a plain fetch of it."""
    layout = await asyncio.to_thread(write_image, content, setting.scratch / "misses-layout", 1)
    key = setting.scratch / "misses.key"
    await asyncio.to_thread(_write_key, key)
    first_bytes: list[float] = []
    member = ["--formation-key-file", str(key), "--no-discover-mdns"]
    async with Sidecar.start(
        setting.scratch / "misses-source", import_roots=[layout.parent], options=member
    ) as source:
        collection = await source.import_layout(layout, listAs=_PACKAGE, link=True)

        async def pulled() -> float:
            async with _newcomer(setting, source, member) as getter:
                seconds, first = await asyncio.to_thread(_pull, getter.registry)
            first_bytes.append(first)
            return seconds

        async def fetched() -> float:
            async with _newcomer(setting, source, member) as getter:
                return await _fetch(getter, collection, source)

        subject = f"a client pulls {size_text(content.size)} that a member has"
        rounds = setting.rounds_for(content.size)
        seconds = await side_by_side(rounds, subject, pulled, fetched, setting.console)
    for folder in (layout, setting.scratch / "misses-source"):
        await asyncio.to_thread(shutil.rmtree, folder)
    row = speed_row(subject, content.size, *seconds, "plain fetch", at_least=round(_WHOLE, 2))
    setting.report.add(row)
    first = sorted(first_bytes)[len(first_bytes) // 2] * 1000
    setting.report.add(limit_row("first byte of its layer, median", first, "ms", under=_FIRST_BYTE_LIMIT_MS))


def _write_key(path: Path) -> None:
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))


@asynccontextmanager
async def _newcomer(setting: Setting, source: Sidecar, member: list[str]) -> AsyncIterator[Sidecar]:
    """An empty sidecar with a registry endpoint, once it knows what the source has."""
    data_dir = setting.scratch / "misses-getter"
    options = [*member, "--registry", "127.0.0.1:0"]
    async with Sidecar.start(data_dir, peers=[source.peer], options=options) as getter:
        async with asyncio.timeout(_WAIT_SECONDS):
            while not await _knows_packages(getter):  # noqa: ASYNC110 - of another process
                await asyncio.sleep(_LOOK_SECONDS)
        yield getter
    await asyncio.to_thread(shutil.rmtree, data_dir)


async def _knows_packages(sidecar: Sidecar) -> bool:
    return bool((await sidecar.call("ListDocuments", collection="packages")).get("docIds"))


async def _fetch(getter: Sidecar, collection: BlobHash, source: Sidecar) -> float:
    started = time.monotonic()
    await getter.fetch_package(collection, source.peer)
    return time.monotonic() - started


def _pull(address: str) -> tuple[float, float]:
    """Seconds for manifest and layers, and until the first byte of the largest layer."""
    repository, _, tag = _PACKAGE.rpartition(":")
    first = 0.0
    started = time.monotonic()
    with httpx.Client(base_url=f"http://{address}/v2/{repository}/", timeout=_WAIT_SECONDS) as client:
        manifest = client.get(f"manifests/{tag}").raise_for_status().json()
        for blob in sorted((manifest["config"], *manifest["layers"]), key=lambda each: int(each["size"])):
            asked, first = time.monotonic(), 0.0
            with client.stream("GET", f"blobs/{blob['digest']}") as answer:
                answer.raise_for_status()
                for _ in answer.iter_raw(_PIECE_BYTES):
                    first = first or time.monotonic() - asked
    return time.monotonic() - started, first
