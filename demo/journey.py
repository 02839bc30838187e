"""The way of the image: imported here, fetched there with a kill in the middle, written out again."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.sidecar import Moved, Sidecar, SidecarError

from demo.ends import Ends
from demo.story import Story
from peat_sidecar.ids import BlobHash, PeerAddress

_KILL_SHARE = 0.25
"""Of the content, after which the getter is killed."""
_GROUP_BYTES = 16384
_PAIR_BYTES = 64
_SIZE_BYTES = 8
"""What the protocol adds to a blob: its size, and one pair of hashes less than it has groups."""


@dataclass(frozen=True, slots=True)
class _Package:
    collection: BlobHash
    bytes: int
    blobs: int


async def travel(story: Story, folder: Path, both: Ends, sizes: Sequence[int]) -> None:
    """From one end to the other. `sizes` are those of all blobs, to tell what came twice."""
    async with AsyncExitStack() as stack:
        story.step("Two sidecars, each a process with a key of its own")
        provider = await stack.enter_async_context(Sidecar.start(folder / "one", import_roots=[folder]))
        getter = await stack.enter_async_context(_getter(folder))
        await provider.admit(getter.peer)
        for name, sidecar in ("first ", provider), ("second", getter):
            story.fact(f"{name} {sidecar.peer.endpoint_id.short}... at {sidecar.peer.addresses[0]}")
        story.fact("The first admits the second; anyone else is refused at the connection.")

        package = await _import(story, provider, both)
        if await _fetch_and_kill(story, getter, package, provider.peer):
            getter = await stack.enter_async_context(_getter(folder))
            await provider.admit(getter.peer)
            await _fetch_the_rest(story, getter, package, provider.peer)
        await _tell_cost(story, provider, sizes)

        story.step("The second writes it out")
        started = time.monotonic()
        await getter.call("ExportBlob", package=str(package.collection), **both.target, wait=True)
        story.fact(f"blobs first, tag last: {time.monotonic() - started:.1f} s")


@asynccontextmanager
async def _getter(folder: Path) -> AsyncIterator[Sidecar]:
    async with Sidecar.start(folder / "two", export_roots=[folder]) as getter:
        yield getter


async def _import(story: Story, provider: Sidecar, both: Ends) -> _Package:
    story.step("The first imports it: digest, BLAKE3 hash and its tree in one pass")
    started = time.monotonic()
    answer = await provider.call("ImportBlob", **both.source, wait=True)
    seconds = time.monotonic() - started
    info = answer["transfer"]["package"]
    package = _Package(BlobHash.parse(info["collection"]), int(info["bytes"]), info["blobs"])
    story.fact(f"{package.blobs} blobs, {package.bytes / 1e6:.1f} MB in {seconds:.1f} s")
    story.fact(f"collection {package.collection}")
    return package


async def _fetch_and_kill(story: Story, getter: Sidecar, package: _Package, peer: PeerAddress) -> bool:
    """Whether it was killed before it was through."""
    story.step("The second fetches it, and is killed by SIGKILL in the middle")
    fetch = await getter.fetch_package(package.collection, peer, wait=False)
    killed_at = 0
    with story.bar("fetching", package.bytes) as show:
        async for state in getter.watch(fetch.id):
            _check(state)
            show(state.done_bytes)
            if package.bytes * _KILL_SHARE <= state.done_bytes < package.bytes:
                killed_at = state.done_bytes
                await getter.kill()
                break
    if not killed_at:
        story.fact("It was through before it could be killed; try a larger image:")
        story.fact("python -m demo --size 1000")
        return False
    story.fact(f"Killed at {killed_at / package.bytes:.0%}; {_on_disk(getter) / 1e6:.1f} MB are on its disk.")
    return True


async def _fetch_the_rest(story: Story, getter: Sidecar, package: _Package, peer: PeerAddress) -> None:
    story.step("It is started again, and goes on where it was")
    fetch = await getter.fetch_package(package.collection, peer, wait=False)
    with story.bar("fetching", package.bytes) as show:
        async for state in getter.watch(fetch.id):
            _check(state)
            show(state.done_bytes)
            fetch = state
    kept = max(0, package.bytes - fetch.wire_bytes)
    story.fact(f"{kept / 1e6:.1f} MB were still there; {fetch.wire_bytes / 1e6:.1f} MB came over the wire.")


async def _tell_cost(story: Story, provider: Sidecar, sizes: Sequence[int]) -> None:
    """What went over the wire, beside what has to."""
    sent = int(await provider.metric("provider_sent_bytes_total"))
    content = sum(sizes)
    proof = sum(_SIZE_BYTES + _PAIR_BYTES * ((size - 1) // _GROUP_BYTES) for size in sizes)
    twice = max(0, sent - content - proof)
    story.fact(f"Sent in all: {sent:,} bytes, for {content:,} of content")
    story.fact(f"and {proof:,} of proof. Sent twice: {twice / 1e6:.1f} MB, or {twice / content:.1%}.")


def _on_disk(getter: Sidecar) -> int:
    """Blocks that the file system has given to blobs, complete or not."""
    files = [*(getter.data_dir / "partial").glob("*.data"), *(getter.data_dir / "oci/blobs").rglob("*")]
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file())


def _check(state: Moved) -> None:
    if state.state in ("FAILED", "CANCELLED"):
        raise SidecarError(f"the fetch has {state.state.lower()}: {state.error}")
