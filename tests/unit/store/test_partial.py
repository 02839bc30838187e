"""Blobs that come in parts: any order, any break, and never a claim that is not on disk."""

import hashlib
import threading
from pathlib import Path

import pytest

from peat_sidecar.bao import CHUNK_SIZE, GROUP_CHUNKS, chunk_count
from peat_sidecar.errors import IntegrityError, NotFound, Refused
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store import PartialBlob, Store
from peat_sidecar.store.have import HaveMap, encode_have, parse_have
from tests.support.real_files import real_bytes
from tests.support.verified_pieces import tree_of, verified_pieces

DATA = real_bytes(3_333_333)
HASH, PAIRS = tree_of(DATA)
SHA256 = Digest("sha256", hashlib.sha256(DATA).hexdigest())


def write(partial: PartialBlob, ranges: ChunkRanges, run_chunks: int = 64) -> None:
    for piece in verified_pieces(DATA, PAIRS, ranges, run_chunks):
        partial.write(piece)


def groups(start: int, end: int) -> ChunkRanges:
    return ChunkRanges.of(start * GROUP_CHUNKS, min(end * GROUP_CHUNKS, chunk_count(len(DATA))))


def served(store: Store) -> bytes:
    with store.reader(HASH) as reader:
        assert reader.outboard(0, len(PAIRS)) == PAIRS
        return reader.read(0, len(DATA))


def test_in_order(store: Store) -> None:
    with store.partial(HASH, len(DATA), expected=SHA256, media_type="a/b") as partial:
        write(partial, ChunkRanges.all(), 1024)
        assert partial.complete
        assert partial.size_proven
        info = partial.finish()
    assert info == store.find(SHA256)
    assert (info.digest, info.media_type, info.complete) == (SHA256, "a/b", True)
    assert served(store) == DATA
    assert list((store.directory.parent / "partial").iterdir()) == []


def test_out_of_order_with_breaks_and_restarts(data_dir: Path) -> None:
    parts = [groups(150, 204), groups(3, 9), groups(60, 150), groups(0, 3), groups(9, 60)]
    have = ChunkRanges.none()
    for part in parts:
        with Store.open(data_dir) as store, store.partial(HASH, len(DATA), expected=SHA256) as partial:
            assert partial.have == have
            write(partial, part)
            have = have | part
            assert partial.have == have
            assert store.find(HASH) == store.find(SHA256)
    with Store.open(data_dir) as store:
        info = store.find(HASH)
        assert info is not None
        assert (info.complete, info.present) == (False, len(DATA))
        with store.partial(HASH) as partial:
            assert partial.complete
            partial.finish()
        assert served(store) == DATA


def test_sha512_is_proven_and_named(store: Store) -> None:
    expected = Digest("sha512", hashlib.sha512(DATA).hexdigest())
    with store.partial(HASH, len(DATA), expected=expected) as partial:
        write(partial, ChunkRanges.all())
        info = partial.finish()
    assert (info.sha512, info.digest) == (expected, SHA256)
    assert (store.directory / expected.path).read_bytes() == DATA


def test_wrong_digest_drops_all(store: Store) -> None:
    expected = Digest("sha256", "0" * 64)
    with store.partial(HASH, len(DATA), expected=expected) as partial:
        write(partial, ChunkRanges.all())
        with pytest.raises(IntegrityError, match=str(expected)):
            partial.finish()
    assert store.find(HASH) is None
    assert list((store.directory.parent / "partial").iterdir()) == []


def test_not_complete(store: Store) -> None:
    with store.partial(HASH, len(DATA)) as partial:
        write(partial, groups(0, 10))
        with pytest.raises(NotFound, match=str(len(DATA) - 10 * 16384)):
            partial.finish()


def test_one_writer_at_a_time(store: Store) -> None:
    with store.partial(HASH, len(DATA)), pytest.raises(Refused, match="already being fetched"):
        store.partial(HASH, len(DATA))
    store.partial(HASH).close()
    store.put(DATA)
    with pytest.raises(Refused, match="complete already"):
        store.partial(HASH)


def test_size_is_learnt_and_proven(store: Store) -> None:
    with store.partial(HASH, None) as partial:
        assert (partial.size, partial.size_proven) == (None, False)
        partial.set_size(len(DATA) + 5000)
        partial.set_size(len(DATA))
        write(partial, ChunkRanges.of(chunk_count(len(DATA)) - 1, None))
        assert partial.size_proven
        assert not partial.have  # a chunk of a group is not a group
        with pytest.raises(IntegrityError, match=str(len(DATA))):
            partial.set_size(len(DATA) + 1)
    with store.partial(HASH) as partial:
        assert (partial.size, partial.size_proven) == (len(DATA), True)


@pytest.mark.parametrize("size", [0, 1, 1024, 16384, 16385])
def test_small_blobs(store: Store, size: int) -> None:
    data = DATA[:size]
    blob_hash, pairs = tree_of(data)
    with store.partial(blob_hash, size) as partial:
        before = partial.complete
        assert not before
        for piece in verified_pieces(data, pairs, ChunkRanges.all()):
            partial.write(piece)
        assert partial.complete
        info = partial.finish()
    assert (info.size, info.digest) == (size, Digest("sha256", hashlib.sha256(data).hexdigest()))
    with store.reader(blob_hash) as reader:
        assert reader.read(0, size) == data


def test_readers_follow(store: Store) -> None:
    heard: list[ChunkRanges] = []
    seen: list[ChunkRanges] = []
    store.subscribe(HASH, lambda size, fresh: heard.append(fresh))
    with store.partial(HASH, len(DATA)) as partial:
        partial.on_change.append(seen.append)
        reader = store.reader(HASH)
        assert not reader.have
        write(partial, groups(4, 8))
        assert reader.have == groups(4, 8)
        assert reader.read(4 * 16384, 16384) == DATA[4 * 16384 : 5 * 16384]
        write(partial, groups(4, 8))
        assert seen == heard == [groups(4, 8)]
        write(partial, ChunkRanges.all() - partial.have)
        partial.finish()
    assert reader.have.is_all  # opened before, goes on after
    assert reader.read(0, len(DATA)) == DATA
    assert reader.outboard(0, len(PAIRS)) == PAIRS
    reader.close()
    assert heard[-1].is_all


def test_many_writers_and_readers_at_once(store: Store) -> None:
    partial = store.partial(HASH, len(DATA), expected=SHA256)
    wrong: list[int] = []
    done = threading.Event()

    def read() -> None:
        with store.reader(HASH) as reader:
            while not done.is_set():
                for start, end in reader.have.intervals():
                    last = len(DATA) if end is None else end * CHUNK_SIZE
                    if (
                        reader.read(start * CHUNK_SIZE, last - start * CHUNK_SIZE)
                        != DATA[start * CHUNK_SIZE : last]
                    ):
                        wrong.append(start)

    parts = [groups(at, at + 20) for at in range(0, 204, 20)]
    writers = [threading.Thread(target=write, args=(partial, part, 32)) for part in parts]
    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in writers + readers:
        thread.start()
    for thread in writers:
        thread.join()
    partial.checkpoint()
    partial.finish()
    done.set()
    for thread in readers:
        thread.join()
    assert not wrong
    assert served(store) == DATA


def test_what_the_map_does_not_claim_is_found_by_hashing(data_dir: Path) -> None:
    """As after kill -9: data and tree are there, the map is from before, or is lost."""
    with Store.open(data_dir) as store, store.partial(HASH, len(DATA), expected=SHA256) as partial:
        write(partial, groups(0, 40))
        partial.checkpoint()
        have_file = data_dir / f"partial/{HASH}.have"
        before = have_file.read_bytes()
        write(partial, groups(100, 140))
    for damage in (before, b"", before[:-1] + b"?", None):
        have_file.unlink()
        if damage is not None:
            have_file.write_bytes(damage)
        with (data_dir / f"partial/{HASH}.data").open("r+b") as file:  # a group that is wrong is not believed
            file.seek(120 * 16384)
            file.write(b"not what it was")
        with Store.open(data_dir) as store, store.partial(HASH, len(DATA)) as partial:
            assert partial.have == groups(0, 40) | groups(100, 120) | groups(121, 140)
            with store.reader(HASH) as reader:
                assert reader.read(100 * 16384, 1000) == DATA[100 * 16384 :][:1000]


def test_killed_while_publishing(data_dir: Path) -> None:
    """The tree has moved, the data has not."""
    with Store.open(data_dir) as store, store.partial(HASH, len(DATA)) as partial:
        write(partial, ChunkRanges.all())
    (data_dir / f"partial/{HASH}.tree").rename(data_dir / f"trees/{HASH}")
    with Store.open(data_dir) as store, store.partial(HASH) as partial:
        assert partial.complete
        partial.finish()
        assert served(store) == DATA


def test_discard_and_delete(store: Store) -> None:
    for end in ("discard", "delete"):
        partial = store.partial(HASH, len(DATA))
        write(partial, groups(0, 5))
        if end == "discard":
            partial.discard()
        else:
            with pytest.raises(Refused):
                store.delete(HASH)
            partial.close()
            store.delete(HASH)
        assert store.find(HASH) is None
        assert list((store.directory.parent / "partial").iterdir()) == []


def test_imported_while_it_is_fetched(store: Store) -> None:
    with store.partial(HASH, len(DATA)) as partial:
        write(partial, groups(0, 200))
        store.put(DATA)
        write(partial, groups(200, 204))
        assert partial.finish().complete
    assert served(store) == DATA


@pytest.mark.parametrize("size", [None, 0, 1, 16385, 3_333_333, 1 << 60])
def test_map_goes_round(size: int | None) -> None:
    have = ChunkRanges.none()
    if size is not None:
        last = ChunkRanges.of(chunk_count(size) - 1, chunk_count(size)).whole_groups(size)
        have = last | ChunkRanges.of(16, 32).clamp(size).whole_groups(size)
    known = HaveMap(size, True, False, SHA256, "a/b", have)
    data = encode_have(known)
    assert len(data) < 300
    assert parse_have(data) == known
    for cut in range(len(data)):
        assert parse_have(data[:cut]) is None
    for at in range(len(data)):
        assert parse_have(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]) is None


def test_a_size_that_is_a_lie_costs_nothing(store: Store) -> None:
    with store.partial(HASH, 1 << 60) as partial:
        write_first = next(verified_pieces(DATA, PAIRS, groups(0, 4)))
        partial.write(write_first)
        partial.checkpoint()
    assert sum(path.stat().st_blocks for path in (store.directory.parent / "partial").iterdir()) < 1000


def test_unknown_blob(store: Store) -> None:
    with pytest.raises(NotFound):
        store.reader(BlobHash(bytes(32)))
