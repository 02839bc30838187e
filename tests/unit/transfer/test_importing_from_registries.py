"""Imports from registries that break off, lie or lack something, and from disks that fill: what came before
is not asked for again.
"""

import dataclasses
import errno
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from peat_sidecar.errors import IntegrityError, NotFound, SourceError, StoreFull
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.oci import RegistryOptions, RegistrySource
from peat_sidecar.store import Disk, Store
from peat_sidecar.transfer import Imported, Importer, Progress
from tests.support.images import OCI_CONFIG, OCI_EMPTY, OCI_LAYER, OCI_MANIFEST, Json
from tests.support.nodes import bounded, content
from tests.support.odd_registry import OddRegistry, Reply, Request
from tests.support.real_files import real_bytes

DATA = real_bytes(900_000)
ONE_TRY = RegistryOptions(
    stall_seconds=5, tries=1, backoff_seconds=0.001, environment={"HOME": "/nonexistent"}
)


@pytest.fixture
async def odd() -> AsyncIterator[OddRegistry]:
    async with OddRegistry() as started:
        yield started


def descriptor(odd: OddRegistry, data: bytes, media_type: str = OCI_LAYER) -> Json:
    return {"mediaType": media_type, "digest": odd.add_blob(data), "size": len(data)}


def publish(odd: OddRegistry, layers: Sequence[Json], tag: str = "v1", **fields: object) -> str:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(odd, b"{}", OCI_CONFIG),
        "layers": list(layers),
    }
    return odd.add_manifest(document | fields, tag=tag)


async def bring(
    store: Store, odd: OddRegistry, progress: Progress | None = None, tag: str = "v1"
) -> Imported:
    source = RegistrySource(Reference.parse(f"{odd.address}/app:{tag}"), ONE_TRY)
    try:
        return await bounded(Importer(store).import_package(source, progress or Progress()))
    finally:
        await source.close()


def blobs_asked_for(odd: OddRegistry) -> list[str]:
    return [request.path.rpartition("/")[2] for request in odd.seen if "/blobs/" in request.path]


async def test_a_lost_connection_costs_nothing_twice(odd: OddRegistry, tmp_path: Path) -> None:
    layer = descriptor(odd, DATA)
    publish(odd, [layer])
    cuts = [300_000, 250_000]

    def cut(request: Request) -> Reply | None:
        reply = odd.behave(request)
        large = len(reply.body) > 100_000 and cuts
        return dataclasses.replace(reply, cut_after=cuts.pop(0)) if large else None

    odd.rules.append(cut)
    for _ in range(2):
        with Store.open(tmp_path) as store, pytest.raises(SourceError, match="lost"):  # other runs each time
            await bring(store, odd)
    with Store.open(tmp_path) as store:
        progress = Progress()
        brought = await bring(store, odd, progress)
        assert progress.done_bytes == progress.total_bytes
        info = store.find(Digest.parse(layer["digest"]))
        assert info is not None
        assert content(store, info.hash) == DATA
        assert store.packages() == [brought.package]
    begins = [
        int(request.headers.get("range", "bytes=0-")[6:-1])
        for request in odd.seen
        if layer["digest"] in request.path
    ]
    assert begins == [0, 300_000, 550_000]
    assert progress.skipped_bytes == 550_000 + 2 + len(odd.manifests["v1"][1])


async def test_small_blobs_that_came_are_not_asked_for_again(odd: OddRegistry, tmp_path: Path) -> None:
    layers = [descriptor(odd, real_bytes(5000, skip_bytes=5000 * number)) for number in range(12)]
    publish(odd, layers)
    broken = layers[7]["digest"]
    odd.rules.append(lambda request: Reply(503) if broken in request.path else None)
    with Store.open(tmp_path) as store:
        with pytest.raises(SourceError):
            await bring(store, odd)
        came = [layer["digest"] for layer in layers[:7]]
        assert all(store.find(Digest.parse(digest)) for digest in came)
        odd.rules.clear()
        odd.seen.clear()
        await bring(store, odd)
        assert blobs_asked_for(odd) == [layer["digest"] for layer in layers[7:]]


async def test_a_thousand_layers(odd: OddRegistry, tmp_path: Path) -> None:
    data = real_bytes(4096 * 1050)
    pieces = {data[start : start + 4096] for start in range(0, len(data), 4096)}
    layers = [descriptor(odd, piece) for piece in sorted(pieces)]
    assert len(layers) >= 1000
    publish(odd, layers)
    with Store.open(tmp_path) as store:
        progress = Progress()
        brought = await bring(store, odd, progress)
        assert len(brought.package.blobs) == len(layers) + 2
        assert progress.done_blobs == progress.total_blobs == len(layers) + 2
        assert progress.done_bytes == progress.total_bytes


async def test_what_a_descriptor_carries_is_not_asked_for(odd: OddRegistry, tmp_path: Path) -> None:
    empty: Json = {
        "mediaType": OCI_EMPTY,
        "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
        "size": 2,
        "data": "e30=",
    }
    publish(odd, [empty], config=empty, artifactType="application/x")
    del odd.blobs[empty["digest"]]
    with Store.open(tmp_path) as store:
        brought = await bring(store, odd)
        assert blobs_asked_for(odd) == []
        assert brought.package.root.artifact_type == "application/x"
        info = store.find(Digest.parse(empty["digest"]))
        assert info is not None
        assert content(store, info.hash) == b"{}"


@pytest.mark.parametrize("size", [9000, 700_000], ids=["small", "large"])
async def test_a_size_that_is_not_that_of_the_blob(odd: OddRegistry, tmp_path: Path, size: int) -> None:
    layer = descriptor(odd, DATA[:size])
    publish(odd, [layer])
    publish(odd, [layer | {"size": size + 5}], "liar")
    with Store.open(tmp_path) as store:
        with pytest.raises(IntegrityError, match=layer["digest"]):  # while nothing is here
            await bring(store, odd, tag="liar")
        honest = await bring(store, odd)
        with pytest.raises(IntegrityError, match=f"{layer['digest']} has {size} bytes"):
            await bring(store, odd, tag="liar")
        assert store.packages() == [honest.package]


async def test_a_blob_that_the_registry_lost(odd: OddRegistry, tmp_path: Path) -> None:
    layer = descriptor(odd, DATA)
    publish(odd, [layer])
    del odd.blobs[layer["digest"]]
    with Store.open(tmp_path) as store:
        with pytest.raises(NotFound, match=layer["digest"]):
            await bring(store, odd)
        assert store.packages() == []


async def test_what_was_kept_and_is_damaged_is_read_once_more(odd: OddRegistry, tmp_path: Path) -> None:
    """As after a power loss, which may leave a file with its length and without its bytes."""
    layer = descriptor(odd, DATA)
    publish(odd, [layer])
    odd.rules.append(
        lambda request: Reply(200, {}, DATA, cut_after=400_000) if layer["digest"] in request.path else None
    )
    with Store.open(tmp_path) as store, pytest.raises(SourceError):
        await bring(store, odd)
    odd.rules.clear()
    (kept,) = (tmp_path / "partial").glob("*.download")
    held = kept.stat().st_size
    assert held > 100_000
    kept.chmod(0o600)
    with kept.open("r+b") as file:
        file.seek(5000)
        file.write(bytes(4096))
    with Store.open(tmp_path) as store:
        progress = Progress()
        brought = await bring(store, odd, progress)
        assert progress.done_bytes == progress.total_bytes
        assert store.packages() == [brought.package]
        info = store.find(Digest.parse(layer["digest"]))
        assert info is not None
        assert content(store, info.hash) == DATA


async def test_a_source_that_is_wrong_is_named_though_something_was_kept(
    odd: OddRegistry, tmp_path: Path
) -> None:
    layer = descriptor(odd, DATA)
    publish(odd, [layer])
    wrong = DATA[:-1] + bytes([DATA[-1] ^ 1])
    odd.blobs[layer["digest"]] = wrong

    def cut(request: Request) -> Reply | None:
        return Reply(200, {}, wrong, cut_after=400_000) if layer["digest"] in request.path else None

    odd.rules.append(cut)
    with Store.open(tmp_path) as store:
        with pytest.raises(SourceError):
            await bring(store, odd)
        odd.rules.clear()
        with pytest.raises(IntegrityError, match=layer["digest"]):
            await bring(store, odd)
        assert store.find(Digest.parse(layer["digest"])) is None
    assert list((tmp_path / "partial").iterdir()) == []


class FillingDisk(Disk):
    """Has room for so many bytes of data."""

    room = 1 << 62

    def write_pieces(self, fd: int, pieces: Sequence[bytes | memoryview], offset: int) -> None:
        self.room -= sum(map(len, pieces))
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().write_pieces(fd, pieces, offset)


async def test_a_disk_that_fills_keeps_what_came(odd: OddRegistry, tmp_path: Path) -> None:
    data = real_bytes(6 << 20)
    layer = descriptor(odd, data)
    publish(odd, [layer])
    disk = FillingDisk()
    with Store.open(tmp_path, disk=disk) as store:
        disk.room = 4 << 20
        with pytest.raises(StoreFull):
            await bring(store, odd)
        assert store.packages() == []
        disk.room = 1 << 62
        progress = Progress()
        await bring(store, odd, progress)
        assert progress.done_bytes == progress.total_bytes
        assert progress.skipped_bytes > 2 << 20
        info = store.find(Digest.parse(layer["digest"]))
        assert info is not None
        assert content(store, info.hash) == data
