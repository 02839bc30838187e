"""Blobs go in by every way and come out the same, under each of their names."""

import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from blake3 import blake3

from peat_sidecar.bao import outboard_size
from peat_sidecar.errors import ConfigError, IntegrityError, NotFound, Refused, StoreFailed
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store import BlobInfo, Disk, Store
from tests.support.real_files import real_bytes, real_file
from tests.support.verified_pieces import tree_of

SIZES = [0, 1, 1023, 1024, 1025, 16383, 16384, 16385, 32769, 1 << 20, (1 << 20) + 1, 3_000_000]
"""Around a chunk, a group, a piece of the pipeline; with and without threads."""


def sha(algorithm: str, data: bytes) -> Digest:
    return Digest(algorithm, hashlib.new(algorithm, data).hexdigest())


def check(store: Store, info: BlobInfo, data: bytes) -> None:
    """Names, data and tree are right, and the file is where OCI tools look."""
    assert info.hash == BlobHash(blake3(data).digest())
    assert info.digest == sha("sha256", data)
    assert (info.size, info.present, info.complete) == (len(data), len(data), True)
    assert store.find(info.hash) == info == store.find(info.proven_digest)
    assert (store.directory / info.proven_digest.path).read_bytes() == data
    with store.reader(info.hash) as reader:
        assert reader.have.is_all
        assert reader.read(0, len(data) + 1) == data
        assert reader.read(5, 10) == data[5:15]
        pairs = reader.outboard(0, outboard_size(len(data)))
        assert pairs == tree_of(data)[1]


@pytest.mark.parametrize("size", SIZES)
def test_put_and_read(store: Store, size: int) -> None:
    data = real_bytes(size)
    check(store, store.put(data, media_type="text/plain"), data)


@pytest.mark.parametrize("size", SIZES)
def test_import_file(store: Store, size: int, tmp_path: Path) -> None:
    real_file(tmp_path / "source", size)
    steps: list[int] = []
    with (tmp_path / "source").open("rb") as file:
        info = store.import_file(file.fileno(), progress=steps.append)
    check(store, info, real_bytes(size))
    assert steps == sorted(steps)
    assert not size or steps[-1] == size
    assert not info.linked


@pytest.mark.parametrize("size", SIZES)
def test_writer_in_odd_pieces(store: Store, size: int) -> None:
    data = real_bytes(size)
    with store.writer(size, expected=sha("sha512", data)) as writer:
        buffer = bytearray(70_001)
        for start in range(0, size, len(buffer)):
            piece = data[start : start + len(buffer)]
            buffer[: len(piece)] = piece  # used again, as callers do
            writer.write(memoryview(buffer)[: len(piece)])
        info = writer.finish()
    check(store, info, data)
    assert info.sha512 == sha("sha512", data)
    assert (store.directory / info.sha512.path).read_bytes() == data
    assert store.find(info.sha512) == info


def test_put_many_is_quick(store: Store) -> None:
    content = real_bytes(4096 * 1000 + 1000)
    blobs = [content[at * 4097 : at * 4097 + 4096] + at.to_bytes(4, "big") for at in range(999)]
    began = time.perf_counter()
    infos = store.put_many([(data, sha("sha256", data), None) for data in blobs])
    took = time.perf_counter() - began
    for info, data in zip(infos, blobs, strict=True):
        assert info.digest == sha("sha256", data)
    check(store, infos[500], blobs[500])
    assert took < 3  # 0.3 s on an idle machine


def test_put_many_is_all_or_nothing(store: Store) -> None:
    items = [(b"right", sha("sha256", b"right"), None), (b"wrong", sha("sha256", b"other"), None)]
    with pytest.raises(IntegrityError, match=str(sha("sha256", b"other"))):
        store.put_many(items)
    assert store.blobs() == []
    assert list((store.directory / "blobs/sha256").iterdir()) == []
    assert list((store.directory.parent / "partial").iterdir()) == []


def test_the_same_blob_again(store: Store) -> None:
    first = store.put(b"twice", media_type="text/plain")
    again = store.put(b"twice", expected=sha("sha512", b"twice"))
    assert again.hash == first.hash
    assert again.media_type == "text/plain"
    assert again.sha512 == sha("sha512", b"twice")
    assert len(store.blobs()) == 1
    both = store.put_many([(b"pair", None, None), (b"pair", None, None)])
    assert both[0] == both[1]


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_wrong_content_is_named_and_not_stored(store: Store, algorithm: str, tmp_path: Path) -> None:
    expected = sha(algorithm, b"what was ordered")
    with pytest.raises(IntegrityError, match=str(expected)):
        store.put(b"what came", expected=expected)
    writer = store.writer(9, expected=expected, resume=True)
    writer.write(b"what came")
    with pytest.raises(IntegrityError, match=str(expected)):
        writer.finish()
    (tmp_path / "file").write_bytes(b"what came")
    with (tmp_path / "file").open("rb") as file, pytest.raises(IntegrityError, match=str(expected)):
        store.import_file(file.fileno(), expected=expected)
    assert store.blobs() == []
    assert list((store.directory.parent / "partial").iterdir()) == []


def test_too_long_and_too_short(store: Store) -> None:
    writer = store.writer(5)
    with pytest.raises(IntegrityError, match="longer"):
        writer.write(b"longer than that")
    writer = store.writer(5)
    writer.write(b"abc")
    with pytest.raises(IntegrityError, match="3 of 5"):
        writer.finish()
    assert list((store.directory.parent / "partial").iterdir()) == []


def test_download_resumes(store: Store) -> None:
    data = real_bytes(3_000_000)
    expected = sha("sha256", data)
    with store.writer(len(data), expected=expected, resume=True) as writer:
        writer.write(data[:1_500_000])
        with pytest.raises(Refused, match="already"):
            store.writer(len(data), expected=expected, resume=True)
    with store.writer(len(data), expected=expected, resume=True) as writer:
        assert writer.offset == 1_500_000
        writer.write(data[writer.offset :])
        check(store, writer.finish(), data)
    assert list((store.directory.parent / "partial").iterdir()) == []


def test_download_resumes_after_restart(data_dir: Path) -> None:
    data = real_bytes(200_000)
    expected = sha("sha512", data)
    with Store.open(data_dir) as store:
        writer = store.writer(len(data), expected=expected, resume=True)
        writer.write(data[:70_000])
        writer.suspend()
    with Store.open(data_dir) as store:
        writer = store.writer(len(data), expected=expected, resume=True)
        assert writer.offset == 70_000
        writer.write(data[70_000:])
        check(store, writer.finish(), data)


def test_aborted_and_unfinished_writers_leave_nothing(store: Store) -> None:
    with store.writer(100) as writer:
        writer.write(b"x")
    writer = store.writer(3, expected=sha("sha256", b"abc"), resume=True)
    writer.write(b"abc")
    writer.abort()
    assert list((store.directory.parent / "partial").iterdir()) == []


def test_pages(store: Store) -> None:
    infos = store.put_many([(bytes([at]), None, "a/b" if at % 2 else "c/d") for at in range(25)])
    by_hash = sorted(infos, key=lambda info: info.hash)
    found: list[BlobInfo] = []
    while page := store.blobs(after=str(found[-1].hash) if found else "", limit=10):
        found += page
    assert found == by_hash
    assert {info.media_type for info in store.blobs(media_type="a/b")} == {"a/b"}
    assert store.blobs(complete=False) == []


def test_pages_hold_partial_blobs(store: Store) -> None:
    store.put_many([(bytes([at]), None, None) for at in range(10)])
    hashes = [BlobHash(bytes([at * 25]) * 32) for at in range(10)]
    for each in hashes:
        store.partial(each, 100, media_type="x/y").close()
    everything = store.blobs()
    assert len(everything) == 20
    assert everything == sorted(everything, key=lambda info: info.hash)
    assert [info.hash for info in store.blobs(complete=False, after=str(hashes[3]), limit=2)] == hashes[4:6]
    assert len(store.blobs(media_type="x/y")) == 10
    assert store.usage().partial_blobs == 10


def test_delete(store: Store) -> None:
    info = store.put(real_bytes(100_000), expected=sha("sha512", real_bytes(100_000)))
    reader = store.reader(info.hash)
    store.delete(info.hash)
    assert store.find(info.hash) is None
    assert reader.read(0, 10) == real_bytes(10)  # who reads goes on reading
    reader.close()
    with pytest.raises(NotFound, match=str(info.hash)):
        store.reader(info.hash)
    with pytest.raises(NotFound):
        store.delete(info.hash)
    left = [path for path in store.directory.parent.rglob("*") if path.is_file()]
    assert {path.name for path in left} <= {
        "oci-layout",
        "index.json",
        "lock",
        "reserve",
        "index.db",
        "index.db-wal",
    }


def test_vanished_file_is_not_found_and_forgotten(store: Store) -> None:
    info = store.put(b"here today")
    (store.directory / info.proven_digest.path).unlink()
    with pytest.raises(NotFound, match="gone"):
        store.reader(info.hash)
    assert store.find(info.hash) is None
    check(store, store.put(b"here today"), b"here today")


def test_listeners_hear_of_every_way_in(store: Store) -> None:
    heard: list[tuple[int, ChunkRanges]] = []
    data = real_bytes(20_000)
    blob_hash = tree_of(data)[0]
    end = store.subscribe(blob_hash, lambda size, fresh: heard.append((size, fresh)))
    store.put(data)
    assert heard == [(20_000, ChunkRanges.all())]
    end()
    store.put(data)
    assert len(heard) == 1


def test_reads_while_another_thread_closes(store: Store) -> None:
    """A closed reader says so; it never reads another file that got its number."""
    info = store.put(real_bytes(50_000))
    right = real_bytes(50_000)[:100]
    for _ in range(20):
        reader = store.reader(info.hash)
        wrong: list[bytes] = []

        def read(reader: object = reader, wrong: list[bytes] = wrong) -> None:
            while True:
                try:
                    data = reader.read(0, 100)  # type: ignore[attr-defined]
                except StoreFailed:  # closed
                    return
                if data != right:
                    wrong.append(data)

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        reader.close()
        for thread in threads:
            thread.join()
        assert not wrong


def test_second_process_is_refused(store: Store, data_dir: Path) -> None:
    code = "import sys, pathlib, peat_sidecar.store as s; s.Store.open(pathlib.Path(sys.argv[1]))"
    ended = subprocess.run(
        [sys.executable, "-c", code, data_dir], capture_output=True, text=True, check=False
    )
    assert ended.returncode != 0
    assert "ConfigError" in ended.stderr
    assert str(data_dir) in ended.stderr
    assert str(os.getpid()) in ended.stderr


def test_lock_ends_with_the_store(data_dir: Path) -> None:
    first = Store.open(data_dir)
    with pytest.raises(ConfigError, match=str(data_dir)):
        Store.open(data_dir)
    first.close()
    first.close()
    Store.open(data_dir).close()


class CountingDisk(Disk):
    """Counts the files that are opened."""

    opened = 0

    def open(self, path: Path, *, create: bool = False, write: bool = False) -> int:
        self.opened += 1
        return super().open(path, create=create, write=write)


def test_ten_thousand_blobs_are_not_read_at_start(data_dir: Path) -> None:
    """0.1 s on an idle machine: folders are listed, the index is read, and no blob is opened."""
    with Store.open(data_dir) as store:
        store.put_many([(at.to_bytes(4, "big"), None, None) for at in range(10_000)])
    disk = CountingDisk()
    with Store.open(data_dir, disk=disk) as store:
        assert disk.opened < 10
        assert store.usage().blobs == 10_000


def test_no_thread_or_descriptor_is_left(data_dir: Path) -> None:
    def one_life() -> None:
        data = real_bytes(2_000_000)
        with Store.open(data_dir) as store:
            with store.writer(len(data)) as writer:
                writer.write(data)
                info = writer.finish()
            store.reader(info.hash).close()
            store.partial(BlobHash(bytes(32)), 100_000).close()
            store.delete(info.hash)

    one_life()
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    one_life()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
