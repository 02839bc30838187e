"""Files that have changed on the disk are found, set aside, and never served again; trees are mended."""

import hashlib
import os
from pathlib import Path

import pytest

from peat_sidecar.errors import NotFound, PeatError
from peat_sidecar.ids import Digest
from peat_sidecar.store import BlobInfo, Store, Verdict
from tests.support.nodes import content
from tests.support.real_files import real_bytes
from tests.support.stored_packages import bring

DATA = real_bytes(3_000_000)


def verify(store: Store, blob: BlobInfo) -> Verdict:
    read: list[int] = []
    verdict = store.verify(blob.hash, read.append)
    assert sum(read) in (0, blob.size)
    return verdict


def put(store: Store, data: bytes = DATA) -> BlobInfo:
    sha512 = Digest("sha512", hashlib.sha512(data).hexdigest())
    return store.put(data, expected=sha512)


def change(path: Path, offset: int) -> None:
    """One bit, without another size; whatever the file's mode."""
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 4]))


@pytest.mark.parametrize("data", [DATA, b"", b"small", real_bytes(16_385)], ids=len)
def test_what_is_sound(store: Store, data: bytes) -> None:
    assert verify(store, put(store, data)) is Verdict.SOUND


@pytest.mark.parametrize("offset", [0, 1_500_000, len(DATA) - 1])
def test_a_bit_that_has_changed(store: Store, data_dir: Path, offset: int) -> None:
    blob = put(store)
    change(store.directory / blob.proven_digest.path, offset)
    assert verify(store, blob) is Verdict.DAMAGED
    assert store.find(blob.hash) is None
    with pytest.raises(NotFound):
        store.reader(blob.hash)
    aside = data_dir / "damaged" / blob.proven_digest.hex
    assert aside.stat().st_size == len(DATA)
    assert blob.sha512 is not None
    assert not (store.directory / blob.sha512.path).exists()
    assert not (data_dir / "trees" / str(blob.hash)).exists()
    assert verify(store, blob) is Verdict.GONE
    assert content(store, put(store).hash) == DATA  # it can be brought again
    assert verify(store, blob) is Verdict.SOUND
    store.close()
    with Store.open(data_dir) as again:
        assert verify(again, blob) is Verdict.SOUND


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("size", [5, len(DATA) + 5])
def test_a_file_of_another_size_is_set_aside(
    store: Store, data_dir: Path, size: int, *, restart: bool
) -> None:
    blob = put(store)
    path = store.directory / blob.proven_digest.path
    path.chmod(0o644)
    os.truncate(path, size)
    if restart:
        store.close()
        store = Store.open(data_dir)
    assert verify(store, blob) is (Verdict.GONE if restart else Verdict.DAMAGED)
    assert store.find(blob.hash) is None
    assert (data_dir / "damaged" / blob.proven_digest.hex).stat().st_size == size
    assert not path.exists()
    assert content(store, put(store).hash) == DATA
    store.close()


@pytest.mark.parametrize("how", ["changed", "short", "gone"])
def test_a_tree_that_is_wrong_is_made_anew(store: Store, data_dir: Path, how: str) -> None:
    blob = put(store)
    tree = data_dir / "trees" / str(blob.hash)
    whole = tree.read_bytes()
    if how == "changed":
        change(tree, 100)
    elif how == "short":
        os.truncate(tree, 64)
    else:
        tree.unlink()
    assert verify(store, blob) is Verdict.TREE_MADE_ANEW
    assert tree.read_bytes() == whole
    assert verify(store, blob) is Verdict.SOUND
    assert not list((data_dir / "partial").iterdir())


def test_a_linked_file_is_let_go_and_left_where_it_is(store: Store, tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    owned.write_bytes(DATA)
    with owned.open("rb") as file:
        blob = store.import_file(file.fileno(), link=True)
    before = owned.stat()
    change(owned, 10)
    os.utime(owned, ns=(before.st_atime_ns, before.st_mtime_ns))  # nothing but hashing can tell
    assert verify(store, blob) is (Verdict.DAMAGED if blob.linked else Verdict.SOUND)
    assert owned.stat().st_size == len(DATA)
    assert (store.find(blob.hash) is None) is blob.linked


def test_it_can_be_ended_at_any_piece(store: Store) -> None:
    blob = put(store)

    def end(_: int) -> None:
        raise PeatError("enough")

    with pytest.raises(PeatError, match="enough"):
        store.verify(blob.hash, end)
    assert verify(store, blob) is Verdict.SOUND


def test_what_packages_take(store: Store) -> None:
    base, own = real_bytes(40_000), b"only one has it"
    one, other = bring(store, "one:v1", base, own), bring(store, "other:v1", base)
    found = {each.package.reference: each for each in store.package_usage()}
    manifests = {each.reference: each.root.size for each in (one, other)}
    assert found["one:v1"].own_bytes == len(own) + manifests["one:v1"]
    assert found["one:v1"].shared_bytes == found["other:v1"].shared_bytes == len(base) + 2
    assert found["other:v1"].own_bytes == manifests["other:v1"]


def test_a_collection_that_is_put_back_after_a_restart(data_dir: Path) -> None:
    """What goes with it is known again, and is not left over."""
    with Store.open(data_dir) as store:
        package = bring(store, "one:v1", b"layer")
        info = store.find(package.collection)
        assert info is not None
        with store.reader(info.hash) as reader:
            collection = reader.read(0, info.size)
        change(data_dir / "oci" / info.proven_digest.path, 5)
        assert verify(store, info) is Verdict.DAMAGED
    with Store.open(data_dir) as store:
        assert not store.is_whole(package)
        with store.hold([package.collection]):
            store.put(collection)
            assert store.is_whole(package)
            store.add_package(package)
        assert store.is_whole(package)
        assert store.orphans(0, ()) == []
        store.remove_package("one:v1")
        assert len(store.orphans(0, ())) == 3 + 4


def test_what_a_package_misses(store: Store, data_dir: Path) -> None:
    package = bring(store, "one:v1", DATA)
    assert store.is_whole(package)
    change(data_dir / "oci" / package.blobs[-1].path, 5)
    info = store.find(package.blobs[-1])
    assert info is not None
    verify(store, info)
    assert not store.is_whole(package)
    assert store.package("one:v1") is not None
