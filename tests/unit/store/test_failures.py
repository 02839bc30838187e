"""Every single operation on the disk fails once, in every way in: a clear error, nothing half-written, and
the same call works afterwards.
"""

import errno
import hashlib
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from peat_sidecar.errors import ConfigError, PeatError, StoreFailed, StoreFull
from peat_sidecar.ids import Digest
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store import Disk, Store
from peat_sidecar.store.failures import require_room, translated
from tests.support.real_files import real_bytes
from tests.support.verified_pieces import tree_of, verified_pieces
from tests.unit.store.test_recovery import add_package

DATA = real_bytes(150_000)
HASH, PAIRS = tree_of(DATA)
SHA256 = Digest("sha256", hashlib.sha256(DATA).hexdigest())


class FailingDisk(Disk):
    """Fails the n-th operation that changes something."""

    def __init__(self) -> None:
        self.fail_at = 0
        self.code = errno.ENOSPC
        self.count = 0
        self._counting = threading.Lock()

    def arm(self, fail_at: int, code: int) -> None:
        self.fail_at, self.code, self.count = fail_at, code, 0

    @property
    def has_failed(self) -> bool:
        return 0 < self.fail_at <= self.count

    def _step(self) -> None:
        with self._counting:
            self.count += 1
            fails = self.count == self.fail_at
        if fails:
            raise OSError(self.code, os.strerror(self.code))

    def open(self, path: Path, *, create: bool = False, write: bool = False) -> int:
        if create:
            self._step()
        return super().open(path, create=create, write=write)

    def write(self, fd: int, data: Any, offset: int) -> None:
        self._step()
        super().write(fd, data, offset)

    def write_pieces(self, fd: int, pieces: Any, offset: int) -> None:
        self._step()
        super().write_pieces(fd, pieces, offset)

    def truncate(self, fd: int, size: int) -> None:
        self._step()
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        self._step()

    def sync_folder(self, path: Path) -> None:
        self._step()

    def rename(self, source: Path, target: Path) -> None:
        self._step()
        super().rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        self._step()
        super().link(source, target)

    def clone(self, source: int, target: int) -> bool:
        return False


def put(store: Store, tmp_path: Path) -> None:
    store.put_many([(DATA, SHA256, None), (b"small", None, None)])


def put_sha512(store: Store, tmp_path: Path) -> None:
    store.put(DATA, expected=Digest("sha512", hashlib.sha512(DATA).hexdigest()))


def import_file(store: Store, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(DATA)
    with (tmp_path / "source").open("rb") as file:
        store.import_file(file.fileno())


def download(store: Store, tmp_path: Path) -> None:
    with store.writer(len(DATA), expected=SHA256, resume=True) as writer:
        writer.write(DATA[writer.offset : 100_000])
        writer.write(DATA[writer.offset :])
        writer.finish()


def fetch(store: Store, tmp_path: Path) -> None:
    with store.partial(HASH, len(DATA), expected=SHA256) as partial:
        for piece in verified_pieces(DATA, PAIRS, ChunkRanges.all() - partial.have, 16):
            partial.write(piece)
            partial.checkpoint()
        partial.finish()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("work", [put, put_sha512, import_file, download, fetch])
def test_each_operation_fails_once(
    data_dir: Path, tmp_path: Path, work: Callable[[Store, Path], None], code: int
) -> None:
    disk = FailingDisk()
    fail_at = 0
    store = Store.open(data_dir, disk=disk)
    while True:
        fail_at += 1
        disk.arm(fail_at, code)
        if (error := _error_of(work, store, tmp_path)) is None:
            if not disk.has_failed:
                break
        else:
            assert isinstance(error, StoreFailed if code == errno.EIO else StoreFull)
            assert str(data_dir) in str(error)
            assert code == errno.EIO or "bytes" in str(error)
        disk.arm(0, 0)
        _nothing_half_written(store)
        work_again = store.find(HASH)
        if work_again is None or not work_again.complete:
            work(store, tmp_path)
        _check(store)
        for info in store.blobs():
            store.delete(info.hash)
    assert fail_at > 5
    store.close()
    Store.open(data_dir).close()


def _error_of(work: Callable[[Store, Path], None], store: Store, tmp_path: Path) -> PeatError | None:
    try:
        work(store, tmp_path)
    except (StoreFull, StoreFailed) as error:
        return error
    return None


def _nothing_half_written(store: Store) -> None:
    for name in (store.directory / "blobs/sha256").iterdir():
        assert hashlib.sha256(name.read_bytes()).hexdigest() == name.name
        assert store.find(Digest("sha256", name.name)) is not None
    for path in (store.directory.parent / "partial").iterdir():
        assert path.suffix in (".data", ".tree", ".have", ".download"), path


def _check(store: Store) -> None:
    with store.reader(HASH) as reader:
        assert reader.read(0, len(DATA)) == DATA
        assert reader.outboard(0, len(PAIRS)) == PAIRS


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_index_json_fails(data_dir: Path, code: int) -> None:
    disk = FailingDisk()
    with Store.open(data_dir, disk=disk) as store:
        old = add_package(store)
        before = (store.directory / "index.json").read_bytes()
        new = add_package(store, "other", content=b"new layer")
        store.remove_package("other")
        for fail_at in range(1, 5):
            disk.arm(fail_at, code)
            with pytest.raises((StoreFull, StoreFailed)):
                store.add_package(new)
            disk.arm(0, 0)
            if fail_at < 4:  # at the fourth it is written, but perhaps not for ever
                assert (store.directory / "index.json").read_bytes() == before
            assert store.packages() == [old]
        store.add_package(new)
        assert store.packages() == [new, old]


@pytest.mark.parametrize("fail_at", range(1, 10))
def test_opening_fails_and_works_again(data_dir: Path, fail_at: int) -> None:
    disk = FailingDisk()
    disk.arm(fail_at, errno.ENOSPC)
    with suppress(StoreFull):
        Store.open(data_dir, disk=disk).close()
    with Store.open(data_dir) as store:
        store.put(b"works")


def test_sqlite_errors_are_translated(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "db")
    database.execute("PRAGMA max_page_count = 2")
    database.execute("CREATE TABLE t (a)")
    with pytest.raises(StoreFull, match="db"), translated(tmp_path / "db"):
        database.execute("INSERT INTO t VALUES (zeroblob(100000))")
    with pytest.raises(StoreFailed, match="nonsense"), translated(tmp_path / "db"):
        database.execute("SELECT nonsense")
    database.close()


def test_too_big_is_said_before_any_work(store: Store) -> None:
    with pytest.raises(StoreFull, match=str(1 << 60)):
        store.writer(1 << 60)
    with pytest.raises(StoreFull):
        require_room(store.directory, 1 << 60)
    assert list((store.directory.parent / "partial").iterdir()) == []


def test_unusable_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PeatError, match="file"):
        Store.open(tmp_path / "file")
    with pytest.raises(ConfigError, match="in use"), Store.open(tmp_path / "a"):
        Store.open(tmp_path / "a")
