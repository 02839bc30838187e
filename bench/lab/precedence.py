"""What goes first on a link that is full: a critical fetch before bulk, and documents before all blobs."""

import asyncio
import json
import math
import time

from tests.lab.network import Link
from tools.sidecar import Sidecar

from bench.lab.hosts import MEBIBYTE, LabSetting, access_link, begin, hosts, moved, progress
from bench.lab.one_source import THIN
from bench.measurement import Row, rate_text, size_text

_RATE_BITS = 2e6
_ROUND_TRIP_SECONDS = 0.3
_BEFORE_SECONDS = 10.0
_BULK_SHARE = 0.05
_WRITES = 40
_APART_SECONDS = 2.0
_ARRIVAL_SECONDS = 3.0
_LOOK_SECONDS = 0.02


async def critical_rows(setting: LabSetting) -> None:
    """When its first bytes come, and what bulk takes until it is done."""
    size = setting.sized(4, 1) * MEBIBYTE
    link = access_link(_RATE_BITS, _ROUND_TRIP_SECONDS)
    async with hosts(setting, {"ship": link, "shore": Link()}) as lab:
        provider, getter = await lab.pair()
        large, urgent = await lab.offer(provider, 64 * MEBIBYTE), await lab.offer(provider, size)
        bulk = await begin(getter, large, provider, "BULK")
        await asyncio.sleep(_BEFORE_SECONDS)
        began = time.monotonic()
        critical = await begin(getter, urgent, provider, "CRITICAL")
        first, before = 0.0, 0
        async for now, transfer in progress(getter, critical):
            if not first and transfer.wire_bytes:
                first, before = now - began, (await moved(getter, bulk)).wire_bytes
        seconds = time.monotonic() - began
        share = ((await moved(getter, bulk)).wire_bytes - before) / size
    subject = f"critical {size_text(size)} during bulk on {rate_text(_RATE_BITS)}"
    limit = 1 + _ROUND_TRIP_SECONDS
    setting.report.add(
        Row(
            f"{subject}: first bytes",
            f"{first:.2f} s",
            f"done after {seconds:.1f} s, {size * 8 / _RATE_BITS:.1f} s at the link's rate",
            f"{first:.2f} s",
            f"< {limit:.1f} s",
            first < limit,
        )
    )
    setting.report.add(
        Row(
            f"{subject}: bulk until it is done",
            f"{share * size / 1000:.0f} kB",
            "",
            f"{share:.1%} of it",
            f"< {_BULK_SHARE:.0%}",
            share < _BULK_SHARE,
        )
    )


async def document_rows(setting: LabSetting) -> None:
    """Writes on the side that sends blobs, read on the other side."""
    writes = setting.sized(_WRITES, 5)
    link = access_link(THIN.rate_bits, THIN.round_trip_seconds)
    async with hosts(setting, {"ship": link, "shore": Link()}) as lab:
        provider = await lab.member("ship")
        getter = await lab.member("shore", [provider])
        blob = await lab.offer(provider, 16 * MEBIBYTE)
        id = await begin(getter, blob, provider, "BULK")
        await asyncio.sleep(_BEFORE_SECONDS)
        wire, began = (await moved(getter, id)).wire_bytes, time.monotonic()
        seconds = sorted([await _arrival(provider, getter, number) for number in range(writes)])
        came = ((await moved(getter, id)).wire_bytes - wire) * 8 / (time.monotonic() - began)
    late = seconds[math.ceil(0.95 * writes) - 1]
    setting.report.add(
        Row(
            f"{writes} document writes while blobs fill {rate_text(THIN.rate_bits)}, 600 ms: 95th percentile",
            f"{late:.2f} s",
            f"median {seconds[writes // 2]:.2f} s, last {seconds[-1]:.2f} s; blobs at {rate_text(came)}",
            f"{late:.2f} s",
            f"< {_ARRIVAL_SECONDS:g} s",
            late < _ARRIVAL_SECONDS,
        )
    )


async def _arrival(writer: Sidecar, reader: Sidecar, number: int) -> float:
    """Seconds from a write until the other node has it; then a pause."""
    name = f"note-{number}"
    began = time.monotonic()
    await writer.call("PutDocument", collection="notes", docId=name, jsonData=json.dumps({"n": number}))
    async with asyncio.timeout(120):
        while "jsonData" not in await reader.call("GetDocument", collection="notes", docId=name):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_SECONDS)
    seconds = time.monotonic() - began
    await asyncio.sleep(_APART_SECONDS)
    return seconds
