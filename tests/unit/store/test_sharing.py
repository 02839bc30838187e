"""Files that the store shares with others, going in and coming out."""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peat_sidecar.errors import IntegrityError, NotFound, Refused, SourceError
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.store import BlobInfo, Disk, Store
from tests.support.real_files import real_file


class Without(Disk):
    """A disk that lacks some ways of sharing."""

    def __init__(self, *, links: bool = True) -> None:
        self._links = links

    def clone(self, source: int, target: int) -> bool:
        return False

    def link_open_file(self, fd: int, target: Path) -> None:
        if not self._links:
            raise OSError(errno.EXDEV, "another file system")
        super().link_open_file(fd, target)


class Overtaken(Without):
    """Does something before the next blob is opened."""

    overtake: Callable[[], object] | None = None

    def open(self, path: Path, *, create: bool = False, write: bool = False) -> int:
        overtake, self.overtake = self.overtake, None
        if overtake is not None:
            overtake()
        return super().open(path, create=create, write=write)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    real_file(path, 500_000)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "out").mkdir()
    fd = os.open(tmp_path / "out", os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def take(store: Store, path: Path) -> BlobInfo:
    with path.open("rb") as file:
        return store.import_file(file.fileno(), link=True)


def content(store: Store, blob_hash: BlobHash) -> bytes:
    with store.reader(blob_hash) as reader:
        return reader.read(0, reader.size)


@pytest.mark.parametrize("links", [True, False], ids=["hard link", "symbolic link"])
def test_linked_in_place(data_dir: Path, source: Path, links: bool) -> None:
    right = source.read_bytes()
    with Store.open(data_dir, disk=Without(links=links)) as store:
        info = take(store, source)
        assert info.linked
        assert info.digest == Digest("sha256", hashlib.sha256(right).hexdigest())
        blob = store.directory / info.proven_digest.path
        assert blob.is_symlink() is not links
        assert os.path.samefile(blob, source)
        assert content(store, info.hash) == right
        assert take(store, source) == info
    with Store.open(data_dir) as store:
        assert store.find(info.hash) == info
        assert content(store, info.hash) == right
    (data_dir / "index.db").unlink()
    with Store.open(data_dir) as store:
        assert store.find(info.hash) == info
        store.delete(info.hash)
    assert source.read_bytes() == right  # what others own stays
    assert oct(source.stat().st_mode & 0o777) != oct(0o444)


@pytest.mark.parametrize("links", [True, False], ids=["hard link", "symbolic link"])
@pytest.mark.parametrize("restart", [False, True])
def test_change_is_seen_before_use(data_dir: Path, source: Path, links: bool, restart: bool) -> None:
    disk = Without(links=links)
    store = Store.open(data_dir, disk=disk)
    info = take(store, source)
    reader = store.reader(info.hash)
    if restart:
        reader.close()
        store.close()
    with source.open("r+b") as file:
        file.write(b"changed")
    os.utime(source, ns=(0, source.stat().st_mtime_ns + 1))
    if restart:
        store = Store.open(data_dir, disk=disk)
    else:
        with pytest.raises(IntegrityError, match="changed"):
            reader.read(0, 10)
        with pytest.raises(IntegrityError, match="import or fetch it again"):
            store.reader(info.hash)
        reader.close()
    assert store.find(info.hash) is None
    assert source.read_bytes().startswith(b"changed")
    with pytest.raises(NotFound):
        store.reader(info.hash)
    assert content(store, take(store, source).hash) == source.read_bytes()
    store.close()


def test_symlinked_source_vanishes(data_dir: Path, source: Path) -> None:
    with Store.open(data_dir, disk=Without(links=False)) as store:
        info = take(store, source)
        source.unlink()
        with pytest.raises(NotFound):
            store.reader(info.hash)
        assert store.find(info.hash) is None
        assert list((store.directory / "blobs/sha256").iterdir()) == []


def test_a_copy_replaces_a_link(data_dir: Path, source: Path) -> None:
    with Store.open(data_dir, disk=Without()) as store:
        info = take(store, source)
        assert store.put(source.read_bytes()).hash == info.hash
        found = store.find(info.hash)
        assert found is not None
        assert not found.linked
        right = source.read_bytes()
        source.write_bytes(b"gone")
        assert content(store, info.hash) == right


def test_renamed_or_deleted_source_falls_back_to_a_copy(data_dir: Path, source: Path) -> None:
    with Store.open(data_dir, disk=Without(links=False)) as store, source.open("rb") as file:
        source.unlink()
        info = store.import_file(file.fileno(), link=True)
        assert not info.linked
        assert len(content(store, info.hash)) == 500_000


def test_source_that_changes_meanwhile(store: Store, source: Path) -> None:
    def shorten(done: int) -> None:
        os.truncate(source, 10)

    def touch(done: int) -> None:
        os.utime(source, ns=(0, 0))

    real_file(source, 5_000_000)
    for damage in (touch, shorten):
        with source.open("rb") as file, pytest.raises(SourceError, match="import it again"):
            store.import_file(file.fileno(), progress=damage)
    assert store.blobs() == []
    assert list((store.directory.parent / "partial").iterdir()) == []


def test_only_files_are_imported(store: Store, tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(Refused, match="regular"):
        store.import_file(fd)
    os.close(fd)


def test_export_is_safe(store: Store, source: Path, folder: int, tmp_path: Path) -> None:
    with source.open("rb") as file:
        info = store.import_file(file.fileno())
    right = source.read_bytes()
    assert store.export_file(info.hash, folder, "file") in ("reflink", "copy")
    target = tmp_path / "out/file"
    assert target.read_bytes() == right
    target.write_bytes(b"ruined")
    assert content(store, info.hash) == right
    store.export_file(info.hash, folder, "file")
    assert target.read_bytes() == right
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file"]


def test_linked_export_is_checked(store: Store, source: Path, folder: int, tmp_path: Path) -> None:
    with source.open("rb") as file:
        info = store.import_file(file.fileno())
    assert store.export_file(info.hash, folder, "file", link=True) == "hardlink"
    assert store.export_file(info.hash, folder, "file", link=True) == "hardlink"
    target = tmp_path / "out/file"
    assert target.stat().st_nlink == 2
    target.chmod(0o644)
    with target.open("r+b") as file:
        file.write(b"ruined")
    os.utime(target, ns=(0, 1))
    with pytest.raises(IntegrityError, match="changed"):
        store.reader(info.hash)
    assert store.find(info.hash) is None


def test_failed_export_leaves_the_old_file(store: Store, folder: int, tmp_path: Path) -> None:
    info = store.put(b"new")
    (tmp_path / "out/file").mkdir()
    with pytest.raises(Exception, match="out/file"):
        store.export_file(info.hash, folder, "file")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["file"]
    with pytest.raises(NotFound):
        store.export_file(BlobHash(bytes(32)), folder, "file")


def test_a_reader_leaves_what_was_published_while_it_opened(data_dir: Path, source: Path) -> None:
    """It had found the row of the link; the copy has its name by the time it looks at the file."""
    right = source.read_bytes()
    disk = Overtaken(links=True)
    with Store.open(data_dir, disk=disk) as store:
        info = take(store, source)
        disk.overtake = lambda: store.put(right)
        assert content(store, info.hash) == right
        found = store.find(info.hash)
        assert found is not None
        assert not found.linked
        source.write_bytes(b"gone")
        assert content(store, info.hash) == right
