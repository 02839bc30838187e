"""Two real daemons: from registry to registry, killed and restarted in the middle, refused, stopped, full."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tests.end_to_end.test_disk_full as disk_full
from demo.compare import LayoutCopy, RegistryCopy, compare
from tests.support.images import build_image
from tests.support.registry import registry, skopeo, skopeo_pull, skopeo_push
from tools.sidecar import Moved, Sidecar, SidecarError

from peat_sidecar.ids import BlobHash

SIZE_MB = 240
"""Of the image that is fetched under kills: on loopback more than a second's work."""
KILLS = 6
LOST_BYTES = 16 << 20
"""What a kill may cost: bytes that were under way, in buffers, or not yet verified."""
WAIT_SECONDS = 60

small = disk_full.small


@dataclass(frozen=True)
class Image:
    """An image layout with one image."""

    layout: Path
    root: str
    """Digest of its manifest."""


def make_image(folder: Path, size_mb: float, **options: Any) -> Image:
    return Image(folder, build_image(folder, size_mb, **options))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return make_image(tmp_path_factory.mktemp("large") / "image", SIZE_MB, layers=3, gzip_level=0)


@asynccontextmanager
async def two_sidecars(
    folder: Path, image: Image, data_dir: Path | None = None
) -> AsyncIterator[tuple[Sidecar, Sidecar]]:
    """A provider that imports from the image's folder, and a getter that it admits."""
    (folder / "out").mkdir(exist_ok=True)
    async with (
        Sidecar.start(folder / "one", import_roots=[image.layout.parent]) as one,
        start_getter(folder, data_dir) as two,
    ):
        await one.admit(two.peer)
        yield one, two


@asynccontextmanager
async def start_getter(folder: Path, data_dir: Path | None = None) -> AsyncIterator[Sidecar]:
    async with Sidecar.start(data_dir or folder / "two", export_roots=[folder / "out"]) as getter:
        yield getter


async def import_linked(provider: Sidecar, image: Image) -> BlobHash:
    return await provider.import_layout(image.layout, link=True)


async def export_and_compare(getter: Sidecar, collection: BlobHash, folder: Path, image: Image) -> None:
    await getter.call("ExportBlob", package=str(collection), layout=str(folder / "out/copy"), wait=True)
    equal = compare(LayoutCopy(image.layout), LayoutCopy(folder / "out/copy"))
    assert equal.root_digest == image.root


async def first_that(sidecar: Sidecar, fetch: Moved, holds: Callable[[Moved], bool]) -> Moved:
    """The first state of a transfer of which that is true."""
    async with asyncio.timeout(WAIT_SECONDS):
        async for state in sidecar.watch(fetch.id):
            if holds(state):
                return state
    raise AssertionError("the transfer has ended, and was never in that state")


async def test_from_registry_to_registry(tmp_path: Path) -> None:
    image = make_image(tmp_path / "app", 30)
    (tmp_path / "out").mkdir()
    with registry(tmp_path / "upstream") as upstream, registry(tmp_path / "edge") as edge:
        source, target = f"{upstream.address}/team/app:v1", f"{edge.address}/mirror/app:v1"
        skopeo_push(image.layout, "v1", source)
        async with two_sidecars(tmp_path, image) as (one, two):
            imported = await one.call("ImportBlob", reference=source, wait=True)
            ticket = imported["transfer"]["package"]["ticket"]
            await two.call("FetchBlob", ticket=ticket, listAs=source, wait=True)
            await two.call("ExportBlob", package=source, reference=target, wait=True)
            left = RegistryCopy(f"http://{upstream.address}/v2/team/app", "v1")
            right = RegistryCopy(f"http://{edge.address}/v2/mirror/app", "v1")
            assert compare(left, right).root_digest == image.root
            assert raw_manifest(source) == raw_manifest(target)
            skopeo_pull(target, tmp_path / "pulled", "v1")
            compare(LayoutCopy(image.layout), LayoutCopy(tmp_path / "pulled"))


def raw_manifest(reference: str) -> str:
    return skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{reference}")


async def test_the_store_is_a_layout_while_the_daemon_runs(tmp_path: Path) -> None:
    image = make_image(tmp_path / "app", 3)
    async with two_sidecars(tmp_path, image) as (one, two):
        collection = await import_linked(one, image)
        await two.fetch_package(collection, one.peer, listAs="registry.example/team/app:v1")
        store = two.data_dir / "oci"
        (entry,) = json.loads((store / "index.json").read_text())["manifests"]
        name = entry["annotations"]["org.opencontainers.image.ref.name"]
        told = json.loads(await asyncio.to_thread(skopeo, "inspect", f"oci:{store}:{name}"))
        assert told["Digest"] == image.root
        compare(LayoutCopy(image.layout), LayoutCopy(store))


async def test_the_getter_is_killed_at_random_instants(tmp_path: Path, large: Image) -> None:
    """What was on disk is not fetched again, and every byte is right at the end."""
    choose = random.Random(7)
    async with two_sidecars(tmp_path, large) as (one, undisturbed):
        collection = await import_linked(one, large)
        started = time.monotonic()
        await undisturbed.fetch_package(collection, one.peer)
        whole_seconds = time.monotonic() - started
        whole_bytes = await one.metric("provider_sent_bytes_total")

        had = 0
        for _ in range(KILLS):
            async with start_getter(tmp_path, tmp_path / "killed") as getter:
                await one.admit(getter.peer)
                await getter.fetch_package(collection, one.peer, wait=False)
                await asyncio.sleep(choose.uniform(0.05, 0.3) * whole_seconds)
                had = await stored_bytes(getter)
                await getter.kill()
        assert had > 0
        async with start_getter(tmp_path, tmp_path / "killed") as getter:
            fetched = await getter.fetch_package(collection, one.peer)
            assert fetched.done_bytes == fetched.total_bytes
            await export_and_compare(getter, collection, tmp_path, large)
        twice = await one.metric("provider_sent_bytes_total") - 2 * whole_bytes
        assert twice < KILLS * LOST_BYTES


async def stored_bytes(sidecar: Sidecar) -> int:
    """Of complete and of partial blobs."""
    store = (await sidecar.call("GetStatus"))["store"]
    return int(store.get("bytes", 0)) + int(store.get("partialBytes", 0))


async def test_the_provider_is_killed_and_comes_back(tmp_path: Path, large: Image) -> None:
    """On the same port: the fetch says what it waits for, and goes on by itself."""
    (tmp_path / "out").mkdir()
    async with start_getter(tmp_path) as getter:
        allow, roots = [getter.peer.endpoint_id], [large.layout.parent]
        async with Sidecar.start(tmp_path / "one", import_roots=roots, allow=allow) as one:
            peer = one.peer
            collection = await import_linked(one, large)
            fetch = await getter.fetch_package(collection, peer, wait=False)
            moving = await first_that(getter, fetch, lambda state: state.done_bytes > 1_000_000)
            await one.kill()
        waiting = await first_that(getter, fetch, lambda state: state.waiting_for != "")
        assert moving.done_bytes <= waiting.done_bytes < waiting.total_bytes
        async with Sidecar.start(tmp_path / "one", allow=allow, bind=peer.addresses[0]):
            done = await first_that(getter, fetch, lambda state: state.state != "RUNNING")
        assert (done.state, done.error) == ("DONE", "")
        await export_and_compare(getter, collection, tmp_path, large)


async def test_a_second_daemon_on_the_same_data_directory(tmp_path: Path) -> None:
    async with Sidecar.start(tmp_path / "one") as one:
        with pytest.raises(SidecarError, match=r"(?s)status 2:.*in use by the process \d+; stop that one"):
            async with Sidecar.start(tmp_path / "one"):
                pass
        assert (await one.call("GetStatus"))["phase"] == "NODE_PHASE_READY"


async def test_a_getter_that_is_not_admitted(tmp_path: Path) -> None:
    image = make_image(tmp_path / "app", 1)
    async with two_sidecars(tmp_path, image) as (one, two):
        collection = await import_linked(one, image)
        await one.call("DisconnectPeer", endpointId=str(two.peer.endpoint_id))
        with pytest.raises(SidecarError, match=r"does not admit") as caught:
            await two.fetch_package(collection, one.peer)
        assert caught.value.code == "unavailable"
        assert "has to allow" in str(caught.value)
        await one.admit(two.peer)
        await two.fetch_package(collection, one.peer)


async def test_a_signal_stops_both_in_the_middle_of_a_fetch(tmp_path: Path, large: Image) -> None:
    for first in (0, 1):
        async with two_sidecars(tmp_path, large, tmp_path / f"getter{first}") as both:
            collection = await import_linked(both[0], large)
            fetch = await both[1].fetch_package(collection, both[0].peer, wait=False)
            await first_that(both[1], fetch, lambda state: state.done_bytes > 0)
            for sidecar in (both[first], both[1 - first]):
                started = time.monotonic()
                assert await sidecar.stop() == 0
                assert time.monotonic() - started < 10


async def test_a_full_disk(small: Path, tmp_path: Path) -> None:
    """What does not fit fails and says so, the daemon lives, and the same call works once there is room."""
    image = make_image(tmp_path / "app", 8)
    filler = disk_full.Filler(small)
    async with two_sidecars(tmp_path, image, small / "data") as (one, two):
        collection = await import_linked(one, image)
        filler.leave(3_000_000)
        with pytest.raises(SidecarError, match=r"bytes") as caught:
            await two.fetch_package(collection, one.peer)
        assert caught.value.code == "resource_exhausted"
        assert str(small) in str(caught.value)
        assert (await two.call("GetStatus"))["phase"] == "NODE_PHASE_READY"
        filler.clear()
        await two.fetch_package(collection, one.peer)
        await export_and_compare(two, collection, tmp_path, image)


async def test_an_import_to_a_full_disk(small: Path, tmp_path: Path) -> None:
    image = make_image(tmp_path / "app", 8)
    filler = disk_full.Filler(small)
    roots = [tmp_path]
    async with Sidecar.start(small / "data", import_roots=roots, export_roots=roots) as sidecar:
        filler.leave(3_000_000)
        with pytest.raises(SidecarError, match=r"bytes") as caught:
            await sidecar.import_layout(image.layout)
        assert caught.value.code == "resource_exhausted"
        assert str(small) in str(caught.value)
        assert (await sidecar.call("GetStatus"))["phase"] == "NODE_PHASE_READY"
        filler.clear()
        collection = await sidecar.import_layout(image.layout)
        (tmp_path / "out").mkdir()
        await export_and_compare(sidecar, collection, tmp_path, image)
