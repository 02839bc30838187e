"""Rows about one large blob between two processes: fetching it, serving it, and the memory that takes."""

import asyncio
import shutil
import time
from contextlib import AbstractAsyncContextManager

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.aster_peer import AsterPeer
from tools.sidecar import Sidecar

from bench.measurement import interleaved, limit_row, size_text, speed_row
from bench.raw_peer import RawProvider
from bench.setting import Content, Setting
from peat_sidecar.ids import BlobHash, EndpointId, PeerAddress

_MEBIBYTE = 1 << 20
_RUST_SECONDS = 900
_RUST_KEY = bytes(range(32))
"""The Rust getter's identity: known beforehand, so that our provider can be told to admit it."""
_MEMORY_LIMIT_MIB = 150


async def fetch_rows(setting: Setting, content: Content) -> None:
    """Verified and published by both names, against a bare stream and against the Rust file store."""
    size = content.size
    ours_peaks: list[int] = []
    async with _provider(setting, content) as provider, RawProvider(content) as raw:
        blob = await provider.import_file(content.path, link=True)

        async def ours() -> float:
            seconds, peak = await _our_fetch(setting, provider, blob)
            ours_peaks.append(peak)
            return seconds

        async def bare() -> float:
            return await raw.get(setting.scratch / "raw-copy")

        async def rust() -> float:
            return await _rust_fetch(setting, provider.peer, blob)

        contestants = {"ours": ours, "bare stream": bare, "Rust": rust}
        seconds = await interleaved(setting.rounds_for(size), contestants, setting.console)
        provider_peak = provider.peak_bytes()
    subject = f"fetch {size_text(size)}, verified, to disk"
    report = setting.report
    report.add(speed_row(subject, size, seconds["ours"], seconds["bare stream"], "bare stream", at_least=0.9))
    report.add(
        speed_row(
            subject,
            size,
            seconds["ours"],
            seconds["Rust"],
            "Rust, file store",
            at_least=1.0,
            aim=" (aim 1.2)",
        )
    )
    for side, peak in ("getter", max(ours_peaks)), ("provider", provider_peak):
        subject = f"memory of the {side}, {size_text(size)}, peak"
        report.add(limit_row(subject, peak / _MEBIBYTE, "MiB", under=_MEMORY_LIMIT_MIB))


async def serve_rows(setting: Setting, content: Content) -> None:
    """What a Rust getter gets from us beside what it gets from a Rust provider, both from files."""
    size = content.size
    store = setting.scratch / "rust-provider"
    async with _provider(setting, content) as provider, await AsterPeer.start(store) as peer:
        blob = await provider.import_file(content.path, link=True)
        await peer.add_file(content.path)

        async def from_ours() -> float:
            return await _rust_fetch(setting, provider.peer, blob)

        async def from_rust() -> float:
            return await _rust_fetch(setting, peer.address, blob)

        contestants = {"ours": from_ours, "Rust": from_rust}
        seconds = await interleaved(setting.rounds_for(size), contestants, setting.console)
    await asyncio.to_thread(shutil.rmtree, store)
    subject = f"serve {size_text(size)} to a Rust getter"
    setting.report.add(
        speed_row(subject, size, seconds["ours"], seconds["Rust"], "Rust provider", at_least=0.95)
    )


async def _our_fetch(setting: Setting, provider: Sidecar, blob: BlobHash) -> tuple[float, int]:
    """Seconds from the call to its answer, with a fresh store; and the getter's peak of memory."""
    async with Sidecar.start(setting.scratch / "getter") as getter:
        await provider.admit(getter.peer)
        started = time.monotonic()
        await getter.fetch_blob(blob, provider.peer)
        seconds = time.monotonic() - started
        peak = getter.peak_bytes()
    await asyncio.to_thread(shutil.rmtree, getter.data_dir)
    return seconds, peak


async def _rust_fetch(setting: Setting, source: PeerAddress, blob: BlobHash) -> float:
    """Seconds until the Rust file store holds the blob; its copy into Python afterwards does not count."""
    store = setting.scratch / "rust-getter"
    async with await AsterPeer.start(store, secret_key=_RUST_KEY) as rust:
        fetched = await rust.get(source, blob, timeout_seconds=_RUST_SECONDS)
    await asyncio.to_thread(shutil.rmtree, store)
    return fetched.wire_seconds


def _provider(setting: Setting, content: Content) -> AbstractAsyncContextManager[Sidecar]:
    key = Ed25519PrivateKey.from_private_bytes(_RUST_KEY).public_key().public_bytes_raw()
    return Sidecar.start(
        setting.scratch / "provider", import_roots=[content.path.parent], allow=[EndpointId(key)]
    )
