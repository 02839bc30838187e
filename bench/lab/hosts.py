"""What every case needs: a lab with sidecars on its hosts, content to offer, and the time a fetch takes."""

import asyncio
import contextlib
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.network import Lab, Link
from tests.support.real_files import real_bytes
from tools.sidecar import Moved, Sidecar

from bench.layouts import write_layout
from bench.measurement import Report
from peat_sidecar.ids import BlobHash, PeerAddress

MEBIBYTE = 1 << 20
PORT = 4433
_LOOK_SECONDS = 0.05
_MEET_SECONDS = 60
_LEAST_QUEUE_BYTES = 32 << 10
_SEED = 2
"""With 1 the first packet of all is lost, which costs whoever connects a second, and stock Iroh its try."""


@dataclass(frozen=True, slots=True)
class LabSetting:
    """What a case is given."""

    report: Report
    scratch: Path
    """Removed at the end."""
    is_quick: bool
    """Small sizes and short windows: to see whether it runs, not how fast."""

    def sized(self, full: int, quick: int) -> int:
        """Bytes, seconds or a count."""
        return quick if self.is_quick else full


def access_link(rate_bits: float, round_trip_seconds: float, loss: float = 0.0) -> Link:
    """Of one host; its queue holds what is on its way in one round trip, and at least 32 KiB."""
    return Link.both(
        rate_bits=rate_bits,
        delay_seconds=round_trip_seconds / 2,
        loss=loss,
        queue_bytes=max(_LEAST_QUEUE_BYTES, int(rate_bits * round_trip_seconds / 8)),
    )


@dataclass(slots=True)
class Hosts:
    """A lab, and the sidecars that were started in it."""

    lab: Lab
    folder: Path
    """Everything of this lab; files beneath it may be imported."""
    _stack: contextlib.AsyncExitStack
    _key: Path | None = None
    _offered: int = field(default=0)

    async def start(self, host: str, *options: str, peers: Sequence[PeerAddress] = ()) -> Sidecar:
        """A sidecar on a host; it ends with the lab."""
        return await self._stack.enter_async_context(
            Sidecar.start(
                self.folder / host,
                bind=f"{self.lab.address(host)}:{PORT}",
                prefix=self.lab.command(host),
                import_roots=[self.folder],
                peers=peers,
                options=("--no-discover-mdns", *options),
            )
        )

    async def pair(self, *options: str) -> tuple[Sidecar, Sidecar]:
        """A provider on the host `ship`, with options, and a getter on `shore` that it admits."""
        getter = await self.start("shore")
        provider = await self.start("ship", *options)
        await provider.admit(getter.peer)
        return provider, getter

    async def member(self, host: str, knows: Sequence[Sidecar] = ()) -> Sidecar:
        """A sidecar of the formation that all members in this lab are of, once it has met those it knows."""
        if self._key is None:
            self._key = self.folder / "formation.key"
            self._key.touch(0o600)
            self._key.write_text(secrets.token_hex(32))
        options = ("--formation-key-file", str(self._key), "--agent-id", host)
        started = await self.start(host, *options, peers=[each.peer for each in knows])
        async with asyncio.timeout(_MEET_SECONDS):
            while sum(each.get("member", False) for each in await _peers(started)) < len(knows):  # noqa: ASYNC110
                await asyncio.sleep(_LOOK_SECONDS)
        return started

    async def offer(self, provider: Sidecar, size_bytes: int) -> BlobHash:
        """Content that no other offer of this lab has in common with it becomes a blob."""
        path = self.folder / f"offer-{self._offered}"
        await asyncio.to_thread(_write_shifted, path, size_bytes, self._offered)
        self._offered += 1
        return await provider.import_file(path, link=True)

    async def offer_package(self, providers: Sequence[Sidecar], size_bytes: int) -> BlobHash:
        """A package of one layer, which all of them have; its collection."""
        layout = self.folder / "layout"
        await asyncio.to_thread(lambda: write_layout(layout, [real_bytes(size_bytes)]))
        collections = {await each.import_layout(layout) for each in providers}
        return collections.pop()


@contextlib.asynccontextmanager
async def hosts(setting: LabSetting, links: Mapping[str, Link]) -> AsyncIterator[Hosts]:
    """A lab of hosts without sidecars yet."""
    with tempfile.TemporaryDirectory(dir=setting.scratch) as folder, Lab(links, seed=_SEED) as lab:
        async with contextlib.AsyncExitStack() as stack:
            yield Hosts(lab, Path(folder), stack)


async def begin(getter: Sidecar, blob: BlobHash, provider: Sidecar, transfer_class: str = "HIGH") -> str:
    """Begins a fetch; the id of its transfer."""
    name = f"TRANSFER_CLASS_{transfer_class}"
    answer = await getter.call("FetchBlob", blob=str(blob), peer=str(provider.peer), transferClass=name)
    return str(answer["transfer"]["id"])


async def fetch_seconds(getter: Sidecar, blob: BlobHash, provider: Sidecar) -> float:
    """From the call until the blob is verified and published, connecting included."""
    began = time.monotonic()
    await getter.fetch_blob(blob, provider.peer)
    return time.monotonic() - began


async def moved(getter: Sidecar, id: str) -> Moved:
    """How far a transfer is; `RuntimeError` when it has failed."""
    listed = (await getter.call("ListTransfers"))["transfers"]
    found = next(Moved.of(each) for each in listed if each["id"] == id)
    if found.state not in ("RUNNING", "DONE"):
        raise RuntimeError(f"the transfer ended: {found.state} {found.error}")
    return found


async def progress(getter: Sidecar, id: str) -> AsyncIterator[tuple[float, Moved]]:
    """The moment and the transfer, twenty times a second up to its end."""
    while True:
        now = await moved(getter, id)
        yield time.monotonic(), now
        if now.state == "DONE":
            return
        await asyncio.sleep(_LOOK_SECONDS)


async def _peers(sidecar: Sidecar) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await sidecar.call("ListPeers")).get("peers", [])
    return listed


def _write_shifted(path: Path, size_bytes: int, number: int) -> None:
    """The machine's files, each piece after a line of its own, so that no two offers share a chunk."""
    content = real_bytes(min(size_bytes, 16 * MEBIBYTE))
    left = size_bytes
    with path.open("wb") as out:
        turn = 0
        while left > 0:
            data = (f"offer {number} turn {turn}\n".encode() + content)[:left]
            out.write(data)
            left -= len(data)
            turn += 1
