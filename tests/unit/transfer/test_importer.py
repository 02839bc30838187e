"""Packages of every kind from layouts into the store and out again, and sources that break off or lie."""

import asyncio
import hashlib
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest

from peat_sidecar.confined import Directory
from peat_sidecar.errors import IntegrityError, NotFound, SourceError
from peat_sidecar.ids import Digest
from peat_sidecar.oci import LayoutSource, LayoutTarget
from peat_sidecar.packages import Descriptor, Platform
from peat_sidecar.store import Store
from peat_sidecar.transfer import Exporter, Imported, Importer, Progress
from tests.support.images import build_zoo
from tests.support.nodes import bounded, content, sha256_of
from tests.support.packages_by_hand import layout_package
from tests.support.real_files import real_bytes

KINDS = (
    "image",
    "docker",
    "no-layers",
    "zarf",
    "artifact",
    "multi",
    "docker-list",
    "nested",
    "foreign",
    "sha512",
    "sparse",
)
Zoo = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    directory = tmp_path_factory.mktemp("zoo")
    return directory, build_zoo(directory, 150_000)


def source_of(zoo: Zoo, kind: str) -> LayoutSource:
    return LayoutSource(Directory.open(zoo[0]), Digest.parse(zoo[1][kind]["digest"]))


async def bring(
    store: Store, zoo: Zoo, kind: str, progress: Progress | None = None, **options: Any
) -> Imported:
    source = source_of(zoo, kind)
    try:
        return await bounded(Importer(store).import_package(source, progress or Progress(), **options))
    finally:
        await source.close()


def expected_blobs(zoo: Zoo, kind: str) -> dict[str, bytes]:
    """From the layout's files, read by hand."""
    if kind == "sparse":
        image = layout_package(zoo[0], zoo[1]["image"]["digest"])
        index = zoo[1]["sparse"]["digest"]
        return image | {index: (zoo[0] / "blobs" / index.replace(":", "/")).read_bytes()}
    return layout_package(zoo[0], zoo[1][kind]["digest"])


@pytest.mark.parametrize("link", [False, True], ids=["copied", "linked"])
@pytest.mark.parametrize("kind", KINDS)
async def test_in_and_out_again(zoo: Zoo, tmp_path: Path, kind: str, link: bool) -> None:
    expected = expected_blobs(zoo, kind)
    with Store.open(tmp_path / "store") as store:
        progress = Progress()
        brought = await bring(store, zoo, kind, progress, list_as="harbour.example/app:v1", link=link)
        package = brought.package
        assert store.packages() == [package]
        assert str(package.root.digest) == zoo[1][kind]["digest"]
        assert {str(digest) for digest in package.blobs} == set(expected)
        for digest, data in expected.items():
            info = store.find(Digest.parse(digest))
            assert info is not None
            assert content(store, info.hash) == data
        total = sum(map(len, expected.values()))
        assert (progress.total_bytes, progress.done_bytes, progress.skipped_bytes) == (total, total, 0)
        assert progress.done_blobs == progress.total_blobs == len(expected)
        assert [each.size for each in brought.foreign] == ([4711] if kind == "foreign" else [])

        out = tmp_path / "out"
        out.mkdir()
        target = LayoutTarget(Directory.open(out))
        await bounded(Exporter(store).export_package(package, target, Progress(), tag="v1", link=link))
        await target.close()
        written = {path.relative_to(out / "blobs") for path in out.glob("blobs/*/*")}
        assert written == {Path(digest.replace(":", "/")) for digest in expected}
        for digest, data in expected.items():
            assert (out / "blobs" / digest.replace(":", "/")).read_bytes() == data


async def test_the_collection_is_the_same_on_every_node(zoo: Zoo, tmp_path: Path) -> None:
    hashes = []
    for number in range(2):
        with Store.open(tmp_path / str(number)) as store:
            if number:  # something else was there before, and in another order
                store.put(real_bytes(5000))
                await bring(store, zoo, "docker")
            hashes.append((await bring(store, zoo, "multi")).package.collection)
    assert hashes[0] == hashes[1]


async def test_what_is_here_is_not_read_again(zoo: Zoo, tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        first = await bring(store, zoo, "image")
        progress = Progress()
        again = await bring(store, zoo, "image", progress)
        assert again.package.root == first.package.root
        assert progress.skipped_bytes == progress.total_bytes == progress.done_bytes


async def test_platforms(zoo: Zoo, tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        arm = await bring(store, zoo, "multi", platforms=[Platform.parse("linux/arm64")])
        assert len(arm.package.blobs) == 4
        with pytest.raises(NotFound, match="has no manifest for linux/mips"):
            await bring(store, zoo, "multi", platforms=[Platform.parse("linux/mips")])


async def test_referrers_come_on_request(zoo: Zoo, tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        assert (await bring(store, zoo, "image")).referrers == ()
        brought = await bring(store, zoo, "image", referrers=True)
        assert {str(each.root.digest) for each in brought.referrers} == {
            zoo[1]["sbom"]["digest"],
            zoo[1]["signature"]["digest"],
        }
        assert len(store.packages()) == 3
        assert len({each.collection for each in store.packages()}) == 3


class Stream:
    """A source of one blob package, as a registry is: no local files, and faults as told."""

    name = "stream"

    def __init__(self, zoo: Zoo, kind: str) -> None:
        self._inner = source_of(zoo, kind)
        self.read = 0
        self.fault: Callable[[int], None] = lambda _: None
        self.change: Callable[[bytes], bytes] = lambda piece: piece

    async def resolve(self) -> Descriptor:
        return await self._inner.resolve()

    async def read_document(self, descriptor: Descriptor) -> bytes:
        return await self._inner.read_document(descriptor)

    async def blob(self, descriptor: Descriptor, offset: int = 0) -> AsyncGenerator[bytes, None]:
        async for piece in self._inner.blob(descriptor, offset):
            for start in range(0, len(piece), 10_000):
                self.fault(self.read)
                part = self.change(piece[start : start + 10_000])
                self.read += len(part)
                yield part
                await asyncio.sleep(0)

    def local_file(self, descriptor: Descriptor) -> int | None:
        return None

    async def referrers(self, descriptor: Descriptor, artifact_type: str | None = None) -> list[Descriptor]:
        return []

    async def close(self) -> None:
        await self._inner.close()


async def test_a_broken_import_goes_on_where_it_was(zoo: Zoo, tmp_path: Path) -> None:
    total = sum(map(len, expected_blobs(zoo, "image").values()))
    source = Stream(zoo, "image")

    def breaks(read: int) -> None:
        if read > 250_000:
            raise SourceError("the link is gone")

    source.fault = breaks
    with Store.open(tmp_path) as store:
        with pytest.raises(SourceError, match="gone"):
            await bounded(Importer(store).import_package(source, Progress()))
        assert store.packages() == []
    source.fault = lambda _: None
    with Store.open(tmp_path) as store:  # another run of the program
        progress = Progress()
        await bounded(Importer(store).import_package(source, progress))
        assert progress.done_bytes == progress.total_bytes == total
        assert progress.skipped_bytes > 200_000
        assert source.read < total + 50_000
    await source.close()


async def test_wrong_bytes_name_the_blob_and_store_nothing_of_it(zoo: Zoo, tmp_path: Path) -> None:
    source = Stream(zoo, "image")
    source.change = lambda piece: piece[:-1] + bytes([piece[-1] ^ 1])
    with Store.open(tmp_path) as store:
        with pytest.raises(IntegrityError, match=r"sha256:[0-9a-f]{64}") as raised:
            await bounded(Importer(store).import_package(source, Progress()))
        assert store.packages() == []
        named = [digest for digest in expected_blobs(zoo, "image") if digest in str(raised.value)]
        assert named
        assert store.find(Digest.parse(named[0])) is None
        source.change = lambda piece: piece
        await bounded(Importer(store).import_package(source, Progress()))
    await source.close()


async def test_a_kept_beginning_that_was_damaged_is_read_again(zoo: Zoo, tmp_path: Path) -> None:
    """As a power loss may leave it: the length is there, the bytes are not."""
    source = Stream(zoo, "image")

    def breaks(read: int) -> None:
        if read > 250_000:
            raise SourceError("the link is gone")

    source.fault = breaks
    with Store.open(tmp_path) as store, pytest.raises(SourceError):
        await bounded(Importer(store).import_package(source, Progress()))
    source.fault = lambda _: None
    damaged = list((tmp_path / "partial").glob("*.download"))
    assert damaged
    for path in damaged:
        path.write_bytes(bytes(path.stat().st_size))
    with Store.open(tmp_path) as store:
        progress = Progress()
        await bounded(Importer(store).import_package(source, progress))
        assert progress.done_bytes == progress.total_bytes
    await source.close()


async def test_a_cancelled_import_lets_go_and_keeps_what_came(zoo: Zoo, tmp_path: Path) -> None:
    source = Stream(zoo, "image")
    reached = asyncio.Event()
    source.fault = lambda read: reached.set() if read > 200_000 else None
    with Store.open(tmp_path) as store:
        importer = Importer(store)
        importing = asyncio.create_task(importer.import_package(source, Progress()))
        await bounded(reached.wait())
        importing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await importing
        progress = Progress()
        await bounded(importer.import_package(source, progress))
        assert progress.skipped_bytes > 100_000
    await source.close()


async def test_two_imports_of_one_package_read_it_once(zoo: Zoo, tmp_path: Path) -> None:
    source = Stream(zoo, "image")
    total = sum(map(len, expected_blobs(zoo, "image").values()))
    with Store.open(tmp_path) as store:
        importer = Importer(store)
        one, other = await bounded(
            asyncio.gather(
                importer.import_package(source, Progress()), importer.import_package(source, Progress())
            )
        )
        assert one.package == other.package
        assert source.read < total * 1.2
    await source.close()


async def test_files(tmp_path: Path) -> None:
    data = real_bytes(3_000_000)
    path = tmp_path / "file"
    path.write_bytes(data)
    sha512 = Digest("sha512", hashlib.sha512(data).hexdigest())
    with Store.open(tmp_path / "store") as store, path.open("rb") as file:
        importer = Importer(store)
        with pytest.raises(IntegrityError):
            await importer.import_file(
                file.fileno(), Progress(), expected=sha256_of(b""), media_type=None, link=False
            )
        progress = Progress()
        info = await importer.import_file(
            file.fileno(), progress, expected=sha512, media_type="text/plain", link=False
        )
        assert (info.digest, info.sha512, info.media_type) == (sha256_of(data), sha512, "text/plain")
        assert progress.done_bytes == progress.total_bytes == len(data)
        # a file is hashed even where the blob that it should be is here
        path.write_bytes(real_bytes(3_000_000, 11))
        with pytest.raises(IntegrityError):
            await importer.import_file(
                file.fileno(), Progress(), expected=sha512, media_type=None, link=False
            )
        assert content(store, info.hash) == data


async def test_a_thousand_small_layers(tmp_path: Path) -> None:
    from tests.support.images import ImageLayout

    layout = ImageLayout(tmp_path / "layout")
    data = real_bytes(4096 * 600)
    layers = {}
    for start in range(0, len(data), 4096):
        layer = layout.blob(data[start : start + 4096], "application/vnd.oci.image.layer.v1.tar")
        layers[layer["digest"]] = layer
    layout.tag(layout.image(list(layers.values())), "v1")
    with Store.open(tmp_path / "store") as store:
        source = LayoutSource(Directory.open(tmp_path / "layout"))
        brought = await bounded(Importer(store).import_package(source, Progress()))
        await source.close()
        assert len(brought.package.blobs) == len(layers) + 2


async def test_a_linked_file_that_was_changed_is_not_exported(zoo: Zoo, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(real_bytes(300_000))
    out = tmp_path / "out"
    out.mkdir()
    with Store.open(tmp_path / "store") as store, Directory.open(out) as directory:
        with source.open("rb") as file:
            info = await Importer(store).import_file(
                file.fileno(), Progress(), expected=None, media_type=None, link=True
            )
        source.write_bytes(real_bytes(300_000, 7))
        os.utime(source, (1, 1))
        export = Exporter(store).export_blob(info.hash, directory, "copy", Progress(), link=False)
        if info.linked:
            with pytest.raises((IntegrityError, NotFound)):
                await export
            assert list(out.iterdir()) == []
        else:  # the disk has made a copy of its own
            await export
