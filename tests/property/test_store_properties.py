"""Any sequence of what callers do to a store, against a model of a few dictionaries."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.power_loss import QuickDisk
from tests.support.real_files import real_bytes
from tests.support.verified_pieces import tree_of, verified_pieces

from peat_sidecar.bao import GROUP_CHUNKS, chunk_count
from peat_sidecar.ids import Digest
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store import PartialBlob, Store
from peat_sidecar.store.have import HaveMap, encode_have, parse_have

_CONTENT = real_bytes(400_000)
SIZES = (0, 1, 16_384, 16_385, 70_001, 300_000)
BLOBS = [_CONTENT[number : number + size] for number, size in enumerate(SIZES)]
TREES = [tree_of(data) for data in BLOBS]
_blob = st.integers(0, len(BLOBS) - 1)
_groups = st.tuples(st.integers(0, 18), st.integers(1, 19))


class StoreMachine(RuleBasedStateMachine):
    """What the store says is what the model says, after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.store = Store.open(self.root / "data", disk=QuickDisk())
        self.complete: set[int] = set()
        self.parts: dict[int, ChunkRanges] = {}
        self.open: dict[int, PartialBlob] = {}
        self.downloads: dict[int, int] = {}

    def teardown(self) -> None:
        self.store.close()
        shutil.rmtree(self.root)

    def _came(self, blob: int) -> None:
        self.complete.add(blob)
        if blob not in self.open:
            self.parts.pop(blob, None)

    @rule(blob=_blob, sha512=st.booleans())
    def put(self, blob: int, sha512: bool) -> None:
        algorithm = "sha512" if sha512 else "sha256"
        expected = Digest(algorithm, hashlib.new(algorithm, BLOBS[blob]).hexdigest())
        assert self.store.put(BLOBS[blob], expected=expected).hash == TREES[blob][0]
        self._came(blob)

    @rule(blob=_blob, link=st.booleans())
    def import_file(self, blob: int, link: bool) -> None:
        source = self.root / f"source{blob}"
        if not source.exists():
            source.write_bytes(BLOBS[blob])
        with source.open("rb") as file:
            self.store.import_file(file.fileno(), link=link)
        self._came(blob)

    @rule(blob=_blob, more=st.integers(0, 200_000))
    def download(self, blob: int, more: int) -> None:
        data = BLOBS[blob]
        expected = Digest("sha256", hashlib.sha256(data).hexdigest())
        with self.store.writer(len(data), expected=expected, resume=True) as writer:
            assert writer.offset == self.downloads.pop(blob, 0)
            writer.write(data[writer.offset : writer.offset + more])
            if writer.offset == len(data):
                writer.finish()
                self._came(blob)
            else:
                self.downloads[blob] = writer.offset

    @rule(blob=_blob)
    def begin(self, blob: int) -> None:
        if blob in self.complete or blob in self.open:
            return
        self.open[blob] = self.store.partial(TREES[blob][0], len(BLOBS[blob]))
        self.parts.setdefault(blob, ChunkRanges.none())

    @precondition(lambda self: self.open)
    @rule(data=st.data(), groups=_groups)
    def write(self, data: st.DataObject, groups: tuple[int, int]) -> None:
        blob = data.draw(st.sampled_from(sorted(self.open)))
        first, last = min(groups), max(groups) + 1
        chunks = chunk_count(len(BLOBS[blob]))
        ranges = ChunkRanges.of(first * GROUP_CHUNKS, last * GROUP_CHUNKS) & ChunkRanges.of(0, chunks)
        if not ranges:
            return
        for piece in verified_pieces(BLOBS[blob], TREES[blob][1], ranges):
            self.open[blob].write(piece)
        self.parts[blob] = self.parts[blob] | ranges

    @precondition(lambda self: self.open)
    @rule(data=st.data(), end=st.sampled_from(["checkpoint", "close", "finish", "discard"]))
    def end(self, data: st.DataObject, end: str) -> None:
        blob = data.draw(st.sampled_from(sorted(self.open)))
        partial = self.open[blob]
        if end == "checkpoint":
            partial.checkpoint()
            return
        if end == "finish":
            if not partial.complete:
                return
            partial.finish()
            self._came(blob)
        elif end == "discard":
            partial.discard()
        partial.close()
        del self.open[blob]
        if end != "close" or blob in self.complete:
            self.parts.pop(blob, None)

    @rule(blob=_blob)
    def delete(self, blob: int) -> None:
        if blob in self.complete:
            self.store.delete(TREES[blob][0])
            self.complete.discard(blob)

    @rule(lose_index=st.booleans(), killed=st.booleans())
    def restart(self, lose_index: bool, killed: bool) -> None:
        """Killed: everything goes on with a copy of what is on disk at this moment."""
        if killed:
            copy = self.root / "copy"
            shutil.copytree(self.root / "data", copy)
        self.store.close()
        if killed:
            shutil.rmtree(self.root / "data")
            copy.rename(self.root / "data")
        if lose_index:
            for path in (self.root / "data").glob("index.db*"):
                path.unlink()
        self.open.clear()
        self.store = Store.open(self.root / "data", disk=QuickDisk())
        for blob in list(self.parts):
            if blob in self.complete:  # a complete blob needs no parts
                del self.parts[blob]
        for blob in list(self.downloads):
            if blob in self.complete:
                del self.downloads[blob]

    @invariant()
    def agrees(self) -> None:
        found = {info.hash: info for info in self.store.blobs(limit=100)}
        for blob, (blob_hash, pairs) in enumerate(TREES):
            info = found.pop(blob_hash, None)
            if blob in self.complete:
                assert info is not None
                assert info.complete
                with self.store.reader(blob_hash) as reader:
                    assert reader.read(0, 1 << 20) == BLOBS[blob]
                    assert reader.outboard(0, 1 << 20) == pairs
            elif blob in self.parts:
                assert info is not None
                self._check_part(blob)
            else:
                assert info is None
        assert not found

    def _check_part(self, blob: int) -> None:
        data = BLOBS[blob]
        with self.store.reader(TREES[blob][0]) as reader:
            assert not reader.have - self.parts[blob]
            if blob in self.open:
                assert reader.have == self.parts[blob]
            for start, end in reader.have.intervals():
                assert end is not None
                assert reader.read(start * 1024, (end - start) * 1024) == data[start * 1024 : end * 1024]


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


@given(st.integers(0, 1 << 40), st.sets(st.integers(0, 300)), st.booleans())
def test_map_of_any_groups(size: int, groups: set[int], settled: bool) -> None:
    have = ChunkRanges.none()
    for group in groups:
        have = have | (ChunkRanges.of(group * 16, group * 16 + 16) & ChunkRanges.of(0, chunk_count(size)))
    known = HaveMap(size, False, settled, None, None, have)
    assert parse_have(encode_have(known)) == known


@given(st.binary(max_size=200))
def test_no_bytes_break_the_map(data: bytes) -> None:
    assert parse_have(data) is None
    assert parse_have(b"PEATHAVE\x01\x00" + data) is None
