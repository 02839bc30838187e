"""Power is lost after every single operation of a working store, in every way that a disk may show it.

Each state must open, give out no wrong byte, still hold what `finish` had promised, keep the progress of the
last checkpoint, and work on.
"""

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.packages import Descriptor
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store import PartialBlob, Store, StoredPackage
from tests.support.power_loss import KINDS, PowerLossDisk, QuickDisk
from tests.support.real_files import real_bytes
from tests.support.verified_pieces import tree_of, verified_pieces

INDEXES = ("none", "first", "last", "damaged")
"""What became of index.db: lost, as it was in the beginning, ahead of the files, unreadable."""
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass
class Story:
    """What happened, and everything that is needed to look at any moment of it."""

    disk: PowerLossDisk
    known: dict[BlobHash, bytes]
    """The right bytes of every blob there ever was."""
    indexes: dict[str, bytes]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A life of a store: small blobs, a download with a break, an import, a partial blob, a package."""
    root = tmp_path_factory.mktemp("power") / "data"
    disk = PowerLossDisk(root)
    store = Store.open(root, disk=disk)
    known: dict[BlobHash, bytes] = {}
    indexes = {"first": _index_bytes(root)}
    _put_small(store, disk, known)
    _download(store, disk, known)
    _import(store, disk, known, root.parent / "source")
    _fetch(store, disk, known)
    _package(store, disk, known)
    store.close()
    indexes["last"] = _index_bytes(root)
    return Story(disk, known, indexes)


@pytest.mark.parametrize("kind", KINDS)
def test_every_moment_recovers(story: Story, kind: str, tmp_path: Path) -> None:
    for moment in story.disk.moments:
        state = tmp_path / "state"
        story.disk.materialise(moment, kind, state)
        _place_index(story, INDEXES[moment % len(INDEXES)], state)
        try:
            _check(story, state, story.disk.marks(moment))
        except BaseException as error:
            last = story.disk.journal[moment - 1] if moment else None
            error.add_note(f"power lost at {moment} ({kind}), after {str(last)[:200]}")
            raise


@pytest.mark.parametrize("index", INDEXES)
def test_publishing_recovers_whatever_the_index_is(story: Story, index: str, tmp_path: Path) -> None:
    """Around the renames each state is looked at with every index, and with several mixtures."""
    names = [at for at in story.disk.moments if at and story.disk.journal[at - 1][0] == "names"]
    for moment in names:
        for seed in range(2):
            state = tmp_path / "state"
            story.disk.materialise(moment, "mixed", state, seed=seed)
            _place_index(story, index, state)
            _check(story, state, story.disk.marks(moment))


def _check(story: Story, state: Path, promised: list[str]) -> None:
    with Store.open(state, disk=QuickDisk()) as store:
        _check_layout(store)
        for info in store.blobs(limit=1000):
            _check_bytes(store, info.hash, story.known[info.hash])
        for promise in promised:
            what, _, rest = promise.partition(" ")
            if what == "published":
                info_now = store.find(BlobHash.parse(rest))
                assert info_now is not None
                assert info_now.complete
            elif what == "package":
                assert store.package(rest) is not None
        _check_progress(store, promised)
        _work_on(store, story)


def _check_layout(store: Store) -> None:
    assert json.loads((store.directory / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    listed = json.loads((store.directory / "index.json").read_bytes())["manifests"]
    assert len(listed) == len(store.packages())
    for entry in listed:
        digest = Digest.parse(entry["digest"])
        assert hashlib.sha256((store.directory / digest.path).read_bytes()).hexdigest() == digest.hex


def _check_bytes(store: Store, blob_hash: BlobHash, right: bytes) -> None:
    """Nothing that is served is wrong, neither data nor tree."""
    with store.reader(blob_hash) as reader:
        have = reader.have.clamp(len(right)) if reader.have else reader.have
        for start, end in have.intervals():
            assert end is not None
            data = reader.read(start * 1024, (end - start) * 1024)
            assert data == right[start * 1024 : end * 1024]
        for piece in verified_pieces(right, tree_of(right)[1], have) if have else ():
            for offset, pairs in piece.outboard:
                assert reader.outboard(offset, len(pairs)) == pairs


def _check_progress(store: Store, promised: list[str]) -> None:
    """What the last checkpoint had is there, unless the blob was finished or thrown away since."""
    checkpoints = [promise.split() for promise in promised if promise.startswith("checkpoint")]
    if checkpoints:
        _, name, present = checkpoints[-1]
        info = store.find(BlobHash.parse(name))
        assert info is not None
        assert info.present >= int(present)


def _work_on(store: Store, story: Story) -> None:
    """Every partial blob can be finished, and new blobs come in."""
    for info in store.blobs(complete=False):
        right = story.known[info.hash]
        pairs = tree_of(right)[1]
        with store.partial(info.hash, len(right)) as partial:
            missing = ChunkRanges.all() - partial.have
            _check_bytes(store, info.hash, right)
            for piece in verified_pieces(right, pairs, missing) if not partial.complete else ():
                partial.write(piece)
            partial.finish()
        _check_bytes(store, info.hash, right)
    right = real_bytes(40_000, skip_bytes=500_000)
    assert store.put(right).hash == tree_of(right)[0]
    _check_bytes(store, tree_of(right)[0], right)


def _place_index(story: Story, index: str, state: Path) -> None:
    if index in story.indexes:
        (state / "index.db").write_bytes(story.indexes[index])
    elif index == "damaged":
        (state / "index.db").write_bytes(story.indexes["last"][:5000].replace(b"SQLite", b"Damage"))


def _index_bytes(root: Path) -> bytes:
    """The database as one file, its log folded in."""
    copy = root.parent / "index.copy"
    for ending in ("", "-wal"):
        if (source := root / f"index.db{ending}").exists():
            shutil.copy(source, f"{copy}{ending}")
    database = sqlite3.connect(copy)
    database.execute("PRAGMA journal_mode = DELETE")
    database.close()
    return copy.read_bytes()


def _put_small(store: Store, disk: PowerLossDisk, known: dict[BlobHash, bytes]) -> None:
    for data, expected in (
        (b"a small blob", None),
        (real_bytes(20_000), Digest("sha512", hashlib.sha512(real_bytes(20_000)).hexdigest())),
    ):
        known[tree_of(data)[0]] = data
        info = store.put(data, expected=expected)
        disk.mark(f"published {info.hash}")
    many = [real_bytes(900, skip_bytes=start) for start in (0, 2000)]
    known.update({tree_of(data)[0]: data for data in many})
    for info in store.put_many([(data, None, None) for data in many]):
        disk.mark(f"published {info.hash}")


def _download(store: Store, disk: PowerLossDisk, known: dict[BlobHash, bytes]) -> None:
    data = real_bytes(70_000, skip_bytes=10_000)
    known[tree_of(data)[0]] = data
    expected = Digest("sha256", hashlib.sha256(data).hexdigest())
    with store.writer(len(data), expected=expected, resume=True) as writer:
        writer.write(data[:30_000])
    with store.writer(len(data), expected=expected, resume=True) as writer:
        writer.write(data[writer.offset :])
        disk.mark(f"published {writer.finish().hash}")


def _import(store: Store, disk: PowerLossDisk, known: dict[BlobHash, bytes], source: Path) -> None:
    data = real_bytes(50_000, skip_bytes=100_000)
    known[tree_of(data)[0]] = data
    source.write_bytes(data)
    with source.open("rb") as file:
        disk.mark(f"published {store.import_file(file.fileno()).hash}")


def _fetch(store: Store, disk: PowerLossDisk, known: dict[BlobHash, bytes]) -> None:
    """Out of order, with checkpoints, over two openings."""
    data = real_bytes(210_001, skip_bytes=200_000)
    blob_hash, pairs = tree_of(data)
    known[blob_hash] = data
    expected = Digest("sha256", hashlib.sha256(data).hexdigest())

    def write(partial: PartialBlob, ranges: ChunkRanges) -> Iterator[None]:
        for piece in verified_pieces(data, pairs, ranges, 16):
            partial.write(piece)
            yield

    with store.partial(blob_hash, len(data), expected=expected) as partial:
        list(write(partial, ChunkRanges.of(64, 128)))
        partial.checkpoint()
        disk.mark(f"checkpoint {blob_hash} {partial.present}")
        list(write(partial, ChunkRanges.of(0, 48)))
    disk.mark(f"checkpoint {blob_hash} {partial.present}")
    with store.partial(blob_hash) as partial:
        list(write(partial, ChunkRanges.all() - partial.have))
        disk.mark(f"published {partial.finish().hash}")


def _package(store: Store, disk: PowerLossDisk, known: dict[BlobHash, bytes]) -> None:
    layer = store.put(known_layer := real_bytes(1000, skip_bytes=7))
    config = store.put(b"{}")
    known.update({layer.hash: known_layer, config.hash: b"{}"})
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _described(config.proven_digest, 2, "application/vnd.oci.image.config.v1+json"),
            "layers": [_described(layer.proven_digest, 1000, "application/vnd.oci.image.layer.v1.tar")],
        }
    ).encode()
    root = store.put(manifest)
    known[root.hash] = manifest
    digests = (root.proven_digest, config.proven_digest, layer.proven_digest)
    descriptor = Descriptor(MANIFEST, root.proven_digest, len(manifest))
    for name in ("registry.example/team/app:v1", "registry.example/team/app:v2"):
        store.add_package(StoredPackage(name, descriptor, config.hash, digests, len(manifest) + 1002))
        disk.mark(f"package {name}")


def _described(digest: Digest, size: int, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(digest), "size": size}
