"""The order in which packages are written, what is not written again, and exports that cannot be right."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from peat_sidecar.confined import Directory
from peat_sidecar.errors import IntegrityError, NotFound, SourceError
from peat_sidecar.ids import Digest
from peat_sidecar.oci import ArchiveTarget, LayoutSource, LayoutTarget, ReadBlob
from peat_sidecar.packages import Descriptor
from peat_sidecar.store import Store, StoredPackage
from peat_sidecar.transfer import Exporter, Importer, Progress
from peat_sidecar.transfer.exporter import BLOBS_AT_ONCE
from tests.support.images import ImageLayout
from tests.support.nodes import bounded, content, until
from tests.support.real_files import real_bytes

LAYER = "application/vnd.oci.image.layer.v1.tar"


class Recording:
    """A target that takes note, and asks for every blob in pieces."""

    name = "recording"

    def __init__(self) -> None:
        self.there: set[Digest] = set()
        self.blobs: dict[Digest, bytes] = {}
        self.manifests: list[tuple[Digest, str | None]] = []
        self.finished: list[tuple[Digest, str | None]] = []
        self.failing: Digest | None = None
        self.at_once = self.most_at_once = 0
        self.mounts: set[str] = set()
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def has_blob(self, descriptor: Descriptor) -> bool:
        return descriptor.digest in self.there

    async def push_blob(
        self, descriptor: Descriptor, read: ReadBlob, *, mount_from: Sequence[str] = ()
    ) -> None:
        assert not self.manifests, "a manifest came before a blob"
        self.mounts |= set(mount_from)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            data = b""
            for offset in range(0, descriptor.size, 50_000):
                data += await asyncio.to_thread(read, offset, min(50_000, descriptor.size - offset))
                self.reached.set()
                await self.go_on.wait()
                if descriptor.digest == self.failing:
                    raise SourceError("the target is gone")
            # begun anew, as an upload does that was lost: progress counts no byte twice
            await asyncio.to_thread(read, 0, min(50_000, descriptor.size))
            self.blobs[descriptor.digest] = data
        finally:
            self.at_once -= 1

    async def push_manifest(self, descriptor: Descriptor, raw: bytes, tag: str | None = None) -> None:
        self.manifests.append((descriptor.digest, tag))

    async def finish(self, root: Descriptor, name: str | None = None) -> None:
        self.finished.append((root.digest, name))

    async def close(self) -> None:
        return


class Workshop:
    """A store, and a package in it: two images that share a layer, in an index, in an index."""

    def __init__(self, store: Store, layout: Path) -> None:
        self.store = store
        self.layout = ImageLayout(layout)
        layers = [
            self.layout.blob(real_bytes(200_000, skip_bytes=200_000 * number), LAYER) for number in range(7)
        ]
        self.layers = [Digest.parse(layer["digest"]) for layer in layers]
        self.one = self.layout.image(layers[:5])
        self.other = self.layout.image(layers[3:], architecture="arm64")
        self.inner = self.layout.index([self.one, self.other])
        self.outer = self.layout.tag(self.layout.index([self.one, self.inner]), "v1")

    async def bring(self, *, link: bool = False) -> StoredPackage:
        source = LayoutSource(Directory.open(self.layout.directory))
        try:
            importer = Importer(self.store)
            return (await bounded(importer.import_package(source, Progress(), link=link))).package
        finally:
            await source.close()


@pytest.fixture
async def workshop(tmp_path: Path) -> AsyncIterator[Workshop]:
    with Store.open(tmp_path / "store") as store:
        yield Workshop(store, tmp_path / "layout")


async def test_blobs_then_documents_children_first_then_the_tag(workshop: Workshop) -> None:
    package = await workshop.bring()
    target, progress = Recording(), Progress()
    exporter = Exporter(workshop.store)
    await bounded(exporter.export_package(package, target, progress, tag="v7", mount_from=["team/base"]))
    names = [(str(digest), tag) for digest, tag in target.manifests]
    assert names == [
        (workshop.one["digest"], None),
        (workshop.other["digest"], None),
        (workshop.inner["digest"], None),
        (workshop.outer["digest"], "v7"),
    ]
    assert target.finished == [(package.root.digest, "v7")]
    assert set(target.blobs) == set(package.blobs) - {digest for digest, _ in target.manifests}
    for digest, data in target.blobs.items():
        assert data == workshop.layout.path(str(digest)).read_bytes()
    assert 1 < target.most_at_once <= BLOBS_AT_ONCE
    assert target.mounts == {"team/base"}
    assert progress.done_bytes == progress.total_bytes == package.bytes
    assert progress.done_blobs == progress.total_blobs == len(package.blobs)


async def test_what_is_there_is_not_written_again(workshop: Workshop) -> None:
    package = await workshop.bring()
    target, progress = Recording(), Progress()
    target.there = set(workshop.layers[:4])
    await bounded(Exporter(workshop.store).export_package(package, target, progress, tag=None))
    assert not target.there & set(target.blobs)
    assert progress.skipped_bytes == 4 * 200_000
    assert progress.done_bytes == progress.total_bytes
    assert target.finished == [(package.root.digest, None)]


async def test_an_error_ends_all_and_nothing_becomes_visible(workshop: Workshop) -> None:
    package = await workshop.bring()
    target = Recording()
    target.failing = workshop.layers[2]
    files = len(os.listdir("/proc/self/fd"))
    with pytest.raises(SourceError, match="gone"):
        await bounded(Exporter(workshop.store).export_package(package, target, Progress(), tag="v1"))
    assert (target.manifests, target.finished, target.at_once) == ([], [], 0)
    await until(lambda: len(os.listdir("/proc/self/fd")) == files)  # this target leaves reads behind


async def test_a_cancelled_export_lets_go(workshop: Workshop) -> None:
    package = await workshop.bring()
    target = Recording()
    target.go_on.clear()
    files = len(os.listdir("/proc/self/fd"))
    exporting = asyncio.create_task(
        Exporter(workshop.store).export_package(package, target, Progress(), tag="v1")
    )
    await bounded(target.reached.wait())
    exporting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bounded(exporting)
    assert (target.manifests, target.finished, target.at_once) == ([], [], 0)
    await until(lambda: len(os.listdir("/proc/self/fd")) == files)  # this target leaves reads behind


async def test_a_blob_that_is_gone_is_named(workshop: Workshop) -> None:
    package = await workshop.bring()
    (workshop.store.directory / workshop.layers[3].path).unlink()
    target = Recording()
    with pytest.raises(NotFound, match=str(workshop.layers[3])):
        await bounded(Exporter(workshop.store).export_package(package, target, Progress(), tag="v1"))
    assert target.finished == []


@pytest.mark.parametrize("link", [False, True], ids=["copied", "linked"])
@pytest.mark.parametrize("kind", ["layout", "archive"])
async def test_a_linked_layer_that_was_changed_is_not_exported(
    workshop: Workshop, tmp_path: Path, kind: str, link: bool
) -> None:
    package = await workshop.bring(link=True)
    info = workshop.store.find(workshop.layers[3])
    assert info is not None
    data = content(workshop.store, info.hash)
    file = workshop.layout.path(str(workshop.layers[3]))
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    os.utime(file, (1, 1))
    (tmp_path / "out").mkdir()
    directory = Directory.open(tmp_path / "out")
    target = LayoutTarget(directory) if kind == "layout" else ArchiveTarget(directory, "a.tar")
    export = Exporter(workshop.store).export_package(package, target, Progress(), tag="v1", link=link)
    if info.linked:
        with pytest.raises(IntegrityError, match=str(workshop.layers[3])):
            await bounded(export)
        assert not (tmp_path / "out" / workshop.layers[3].path).exists()
        assert not (tmp_path / "out" / "index.json").exists()
    else:  # the disk has made a copy of its own
        await bounded(export)
    await target.close()
    if info.linked and kind == "archive":
        assert list((tmp_path / "out").iterdir()) == []


async def test_linked_exports_share_the_files(workshop: Workshop, tmp_path: Path) -> None:
    package = await workshop.bring()
    (tmp_path / "out").mkdir()
    target = LayoutTarget(Directory.open(tmp_path / "out"))
    exporter = Exporter(workshop.store)
    await bounded(exporter.export_package(package, target, Progress(), tag="v1", link=True))
    await target.close()
    for digest in package.blobs:
        exported = tmp_path / "out" / digest.path
        assert exported.read_bytes() == workshop.layout.path(str(digest)).read_bytes()
    layer = workshop.layers[0]
    info = workshop.store.find(layer)
    assert info is not None
    if info.linked:  # a hard link: what is done to the copy is noticed here
        os.chmod(tmp_path / "out" / layer.path, 0o644)
        (tmp_path / "out" / layer.path).write_bytes(b"changed")
        with pytest.raises(IntegrityError, match=str(layer)):
            workshop.store.reader(info.hash)


@pytest.mark.parametrize("link", [False, True], ids=["copied", "linked"])
async def test_blobs_as_files(workshop: Workshop, tmp_path: Path, link: bool) -> None:
    await workshop.bring()
    layer, progress = workshop.layers[1], Progress()
    (tmp_path / "layer.tar").write_bytes(b"what was there before")
    exporter = Exporter(workshop.store)
    with Directory.open(tmp_path) as directory:
        info = await bounded(exporter.export_blob(layer, directory, "layer.tar", progress, link=link))
        assert (tmp_path / "layer.tar").read_bytes() == workshop.layout.path(str(layer)).read_bytes()
        assert (progress.total_bytes, progress.done_bytes) == (info.size, info.size)
        assert progress.done_blobs == progress.total_blobs == 1
        by_hash = await bounded(exporter.export_blob(info.hash, directory, "again", Progress(), link=link))
        assert by_hash.digest == layer
        absent = Digest("sha256", "0" * 64)
        with pytest.raises(NotFound, match="0000"):
            await bounded(exporter.export_blob(absent, directory, "absent", Progress(), link=link))
    assert sorted(os.listdir(tmp_path)) == ["again", "layer.tar", "layout", "store"]
