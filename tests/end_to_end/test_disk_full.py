"""A real small file system that fills up, in each way that the store writes: a clear error, the store lives,
what was there stays right, and the same call works when there is room again.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.images import build_image
from tests.support.nodes import bounded, two_nodes
from tests.support.real_files import real_bytes
from tests.support.stored_packages import bring
from tests.support.verified_pieces import tree_of, verified_pieces
from tests.unit.store.test_recovery import add_package

from peat_sidecar.confined import Directory
from peat_sidecar.errors import StoreFull
from peat_sidecar.ids import Digest
from peat_sidecar.oci import ArchiveTarget, LayoutSource, LayoutTarget, Target
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store import Store
from peat_sidecar.transfer import Exporter, Importer, Progress, remove_package

SIZE = 24 << 20
DATA = real_bytes(5_000_000)
HASH, PAIRS = tree_of(DATA)
SHA256 = Digest("sha256", hashlib.sha256(DATA).hexdigest())
KEPT = real_bytes(700_000, skip_bytes=5_000_000)
ROOM = [0, 4096, 12_288, 40_960, 200_000, 1_000_000, 4_000_000, 4_998_000, 5_010_000, 5_060_000]
"""Bytes left: none, less than each of the files, less than the index needs, and some that nearly do."""


@pytest.fixture(params=["tmpfs", "ext4"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Where the small file system is mounted."""
    place = tmp_path / "small"
    place.mkdir()
    if request.param == "tmpfs":
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place)]
    else:
        image = tmp_path / "image"
        with image.open("wb") as file:
            file.truncate(SIZE + (8 << 20))
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
        command = ["mount", "-o", "loop", str(image), str(place)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.fail(f"cannot mount {request.param}, which takes root: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


class Filler:
    """Takes the room on a file system, and gives it back."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "filler"

    def leave(self, free_bytes: int) -> None:
        self.clear()
        with self._path.open("wb", buffering=0) as file:
            for piece in (1 << 20, 4096):
                try:
                    while True:
                        status = os.statvfs(self._path)
                        if status.f_bavail * status.f_frsize < free_bytes + piece:
                            break
                        file.write(bytes([1]) * piece)
                        os.fsync(file.fileno())
                except OSError:  # full already
                    continue
        if not free_bytes:
            self._take_the_last()

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)

    def _take_the_last(self) -> None:
        with self._path.open("ab", buffering=0) as file:
            for piece in (4096, 512, 1):
                try:
                    while file.write(b"1" * piece) == piece:
                        pass
                except OSError:
                    continue


def put(store: Store, filler: Filler, free_bytes: int) -> None:
    filler.leave(free_bytes)
    store.put_many([(DATA, SHA256, "a/b"), (b"small", None, None)])


def import_file(store: Store, filler: Filler, free_bytes: int) -> None:
    source = store.directory.parents[1].parent / "source"
    source.write_bytes(DATA)
    filler.leave(free_bytes)
    with source.open("rb") as file:
        store.import_file(file.fileno())


def link_file(store: Store, filler: Filler, free_bytes: int) -> None:
    source = store.directory.parents[1].parent / "source"
    source.write_bytes(DATA)
    filler.leave(free_bytes)
    with source.open("rb") as file:
        store.import_file(file.fileno(), link=True)


def download(store: Store, filler: Filler, free_bytes: int) -> None:
    """The room goes while it runs."""
    with store.writer(len(DATA), expected=SHA256, resume=True) as writer:
        filler.leave(free_bytes)
        for start in range(writer.offset, len(DATA), 100_000):
            writer.write(DATA[start : start + 100_000])
        writer.finish()


def fetch(store: Store, filler: Filler, free_bytes: int) -> None:
    with store.partial(HASH, len(DATA), expected=SHA256) as partial:
        filler.leave(free_bytes)
        for number, piece in enumerate(verified_pieces(DATA, PAIRS, ChunkRanges.all() - partial.have)):
            partial.write(piece)
            if number % 20 == 0:
                partial.checkpoint()
        partial.finish()


@pytest.mark.parametrize("work", [put, import_file, link_file, download, fetch])
def test_bringing_in(small: Path, work: Callable[[Store, Filler, int], None]) -> None:
    filler = Filler(small)
    failed = 0
    with Store.open(small / "data") as store:
        kept = store.put(KEPT)
        for free_bytes in ROOM:
            try:
                work(store, filler, free_bytes)
            except StoreFull as error:
                failed += 1
                _says_what_and_how_much(error, small)
            _check(store, kept.hash, KEPT)
            _nothing_half_written(store)
            filler.clear()
            info = store.find(HASH)
            if info is None or not info.complete:
                work(store, filler, SIZE)
            _check(store, HASH, DATA)
            store.delete(HASH)
    assert failed >= (1 if work is link_file else 5)
    with Store.open(small / "data") as store:
        _check(store, kept.hash, KEPT)


def test_room_can_be_made_on_a_full_disk(small: Path) -> None:
    """A package is removed, and what nothing needs is deleted, where not a byte can be written."""
    filler = Filler(small)
    with Store.open(small / "data") as store:
        bring(store, "kept:v1", KEPT)
        bring(store, "removed:v1", DATA)
        orphan = store.put(real_bytes(2_000_000, skip_bytes=9_000_000))
        filler.leave(0)
        assert store.discard([orphan.hash]).bytes == 2_000_000
        filler.leave(0)
        assert remove_package(store, "removed:v1").deleted_bytes > len(DATA)
        assert store.usage().free_bytes > 4_500_000
        listed = (store.directory / "index.json").read_text()
        assert "kept:v1" in listed
        assert "removed:v1" not in listed
        filler.clear()
    with Store.open(small / "data") as store:
        assert [each.reference for each in store.packages()] == ["kept:v1"]
        assert store.find(HASH) is None


async def test_a_blob_that_has_no_room_is_not_begun(small: Path) -> None:
    filler = Filler(small)
    async with two_nodes(small) as (provider, getter, _):
        blob = provider.store.put(DATA).hash
        filler.leave(1_000_000)
        progress = Progress()
        with pytest.raises(StoreFull, match=f"no room for {len(DATA)} bytes"):
            await bounded(getter.getter.fetch_blob(blob, provider.address, progress))
        assert progress.wire_bytes < 100_000
        assert getter.store.find(blob) is None
        filler.clear()
        await bounded(getter.getter.fetch_blob(blob, provider.address, progress))


def test_packages(small: Path) -> None:
    filler = Filler(small)
    with Store.open(small / "data") as store:
        package = add_package(store)
        store.remove_package("registry.example:5000/team/app:v1")
        failed = 0
        for number in range(300):  # until the log of the index is full
            filler.leave(0)
            try:
                store.add_package(
                    type(package)(f"name{number}", package.root, package.collection, package.blobs, 1)
                )
            except StoreFull as error:
                _says_what_and_how_much(error, small)
                failed += 1
            if failed > 2:
                break
        assert failed
        filler.clear()
        store.add_package(package)
        assert store.package("registry.example:5000/team/app:v1") == package
    with Store.open(small / "data") as store:
        assert store.package("registry.example:5000/team/app:v1") == package


def test_export(small: Path, tmp_path: Path) -> None:
    filler = Filler(small)
    (small / "out").mkdir()
    folder = os.open(small / "out", os.O_RDONLY)
    with Store.open(tmp_path / "data") as store:
        info = store.put(DATA)
        for free_bytes in (0, 4096, 1_000_000, 4_900_000):
            filler.leave(free_bytes)
            with pytest.raises(StoreFull, match=str(len(DATA))) as caught:
                store.export_file(info.hash, folder, "file")
            assert str(small / "out/file") in str(caught.value)
            assert list((small / "out").iterdir()) == []
        filler.clear()
        store.export_file(info.hash, folder, "file")
    os.close(folder)
    assert (small / "out/file").read_bytes() == DATA


@pytest.mark.parametrize("kind", ["layout", "archive"])
async def test_export_of_a_package(small: Path, tmp_path: Path, kind: str) -> None:
    """Nothing is there under the package's name before all of it is; the next try is the whole."""
    filler = Filler(small)
    build_image(tmp_path / "package", 3, layers=2)
    with Store.open(tmp_path / "data") as store:
        source = LayoutSource(Directory.open(tmp_path / "package"))
        package = (await Importer(store).import_package(source, Progress())).package
        await source.close()

        async def export() -> None:
            out = small / "out"
            out.mkdir(exist_ok=True)
            target: Target = (
                LayoutTarget(Directory.open(out))
                if kind == "layout"
                else ArchiveTarget(Directory.open(out), "image.tar")
            )
            try:
                await Exporter(store).export_package(package, target, Progress(), tag="v1")
            finally:
                await target.close()

        for free_bytes in (0, 4096, 1_000_000, 2_500_000):
            (small / "out").mkdir(exist_ok=True)
            filler.leave(free_bytes)
            with pytest.raises(StoreFull, match=str(small)):
                await export()
            assert not (small / "out/index.json").exists()
            assert not (small / "out/image.tar").exists()
            shutil.rmtree(small / "out")
        filler.clear()
        await export()
    found = small / "out" / ("index.json" if kind == "layout" else "image.tar")
    assert found.stat().st_size > 0


@pytest.mark.parametrize("free_bytes", [0, 4096, 8192, 16384, 32768, 65536, 200_000])
def test_opening(small: Path, free_bytes: int) -> None:
    filler = Filler(small)
    for there in (False, True):
        filler.leave(free_bytes)
        try:
            Store.open(small / "data").close()
        except StoreFull as error:
            _says_what_and_how_much(error, small)
        filler.clear()
        with Store.open(small / "data") as store:
            if there:
                _check(store, HASH, DATA)
            else:
                store.put(DATA)


def _says_what_and_how_much(error: StoreFull, place: Path) -> None:
    assert str(place) in str(error)
    assert "bytes" in str(error)


def _check(store: Store, blob_hash: object, right: bytes) -> None:
    info = store.find(tree_of(right)[0])
    assert info is not None
    assert info.complete
    assert info.hash == blob_hash
    with store.reader(info.hash) as reader:
        assert reader.read(0, len(right)) == right
        assert reader.outboard(0, len(right)) == tree_of(right)[1]


def _nothing_half_written(store: Store) -> None:
    for name in (store.directory / "blobs/sha256").iterdir():
        assert hashlib.sha256(name.read_bytes()).hexdigest() == name.name
    for path in (store.directory.parent / "partial").iterdir():
        assert path.suffix in (".data", ".tree", ".have", ".download"), path
