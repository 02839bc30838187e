"""Index and files are made to agree at start, whatever happened to either."""

import hashlib
import json
import os
import sqlite3
import subprocess
from pathlib import Path

import pytest

from peat_sidecar.errors import NotFound, Refused
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.packages import Descriptor
from peat_sidecar.store import BlobInfo, Store, StoredPackage
from tests.support.real_files import real_bytes

NAME = "registry.example:5000/team/app:v1"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
COLLECTION = BlobHash(bytes(range(32)))


def add_package(store: Store, reference: str | None = NAME, *, content: bytes = b"") -> StoredPackage:
    """A small image that OCI tools accept."""
    layer = store.put(content or real_bytes(30_000))
    diff = str(layer.digest)
    system = {"architecture": "amd64", "os": "linux", "config": {}}
    config = store.put(json.dumps(system | {"rootfs": {"type": "layers", "diff_ids": [diff]}}).encode())
    described = [
        {"mediaType": kind, "digest": str(info.digest), "size": info.size}
        for kind, info in ((CONFIG, config), (LAYER, layer))
    ]
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described[0], "layers": described[1:]}
    root = store.put(json.dumps(document).encode())
    digests = tuple(info.proven_digest for info in (root, config, layer))
    size = root.size + config.size + layer.size
    descriptor = Descriptor(MANIFEST, root.proven_digest, root.size)
    package = StoredPackage(reference, descriptor, COLLECTION, digests, size)
    store.add_package(package)
    return package


def skopeo(store: Store, reference: str) -> dict[str, object]:
    command = ["skopeo", "inspect", f"oci:{store.directory}:{reference}"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    return dict(json.loads(done.stdout))


@pytest.fixture
def filled(data_dir: Path) -> list[BlobInfo]:
    """Blobs small and big, one of them with a sha512 name, and a package."""
    data = real_bytes(200_000)
    with Store.open(data_dir) as store:
        store.put(data, expected=Digest("sha512", hashlib.sha512(data).hexdigest()))
        store.put_many([(bytes([at]), None, "a/b") for at in range(10)])
        add_package(store)
        return store.blobs()


def same(store: Store, blobs: list[BlobInfo], *, types: bool = True) -> None:
    found = store.blobs()
    assert [(info.hash, info.digest, info.size) for info in found] == [
        (info.hash, info.digest, info.size) for info in blobs
    ]
    if types:
        assert found == blobs
    for info in blobs:
        with store.reader(info.hash) as reader:
            assert hashlib.sha256(reader.read(0, info.size)).hexdigest() == info.proven_digest.hex
            reader.outboard(0, 64)


def test_skopeo_reads_the_layout_while_the_store_is_open(store: Store) -> None:
    package = add_package(store)
    found = skopeo(store, NAME)
    assert found["Digest"] == str(package.root.digest)
    assert found["Architecture"] == "amd64"
    other = add_package(store, "registry.example/other:v2", content=b"another layer")
    assert skopeo(store, "registry.example/other:v2")["Digest"] == str(other.root.digest)
    store.remove_package(NAME)
    assert skopeo(store, "registry.example/other:v2")["Digest"] == str(other.root.digest)


def test_layout_is_valid_from_the_start(store: Store) -> None:
    assert json.loads((store.directory / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((store.directory / "index.json").read_bytes())
    assert (index["schemaVersion"], index["manifests"]) == (2, [])


def test_packages_come_and_go(store: Store) -> None:
    package = add_package(store)
    bare = add_package(store, None)
    assert store.packages() == [bare, package]
    assert store.package(NAME) == package
    assert store.package(package.root.digest) in (bare, package)
    assert store.package(COLLECTION) in (bare, package)
    assert store.package("registry.example/none:v1") is None
    listed = json.loads((store.directory / "index.json").read_bytes())["manifests"]
    names = [entry["annotations"].get("org.opencontainers.image.ref.name") for entry in listed]
    assert sorted(names, key=str) == [None, NAME]
    assert {info.digest for info in store.blobs(package=package.root.digest)} == set(package.blobs)
    root = store.find(package.root.digest)
    assert root is not None
    with pytest.raises(Refused, match=NAME):
        store.delete(root.hash)
    newer = add_package(store, content=b"a newer layer")
    assert store.package(NAME) == newer
    assert store.remove_package(NAME) == [newer]
    assert store.packages() == [bare]
    assert store.remove_package(NAME) == []


def test_package_needs_its_blobs(store: Store) -> None:
    package = add_package(store)
    missing = Digest("sha256", "5" * 64)
    with pytest.raises(NotFound, match=str(missing)):
        store.add_package(StoredPackage("x", package.root, COLLECTION, (*package.blobs, missing), 1))
    assert store.packages() == [package]


@pytest.mark.parametrize("damage", ["missing", "garbage", "cut", "zeros", "rows", "version", "empty"])
def test_index_is_rebuilt(data_dir: Path, filled: list[BlobInfo], damage: str) -> None:
    path = data_dir / "index.db"
    size = path.stat().st_size
    match damage:
        case "missing":
            path.unlink()
        case "garbage":
            path.write_bytes(real_bytes(size))
        case "cut":
            os.truncate(path, size // 2 + 100)
        case "zeros":
            with path.open("r+b") as file:
                file.seek(4096)
                file.write(bytes(size - 4096))
        case "empty":
            path.write_bytes(b"")
        case _:
            database = sqlite3.connect(path)
            if damage == "rows":
                database.execute("UPDATE blobs SET hash = x'00', sha256 = 'nonsense' WHERE size = 200000")
            else:
                database.execute("PRAGMA user_version = 999")
            database.commit()
            database.close()
    with Store.open(data_dir) as store:
        same(store, filled, types=False)
        package = store.package(NAME)
        assert package is not None
        assert (package.collection, len(package.blobs)) == (COLLECTION, 3)
        manifest = store.find(package.root.digest)
        assert manifest is not None
        assert manifest.media_type == MANIFEST
        sha512 = Digest("sha512", hashlib.sha512(real_bytes(200_000)).hexdigest())
        assert store.find(sha512) is not None
        kept = list(data_dir.glob("index.db.damaged-*"))
        assert bool(kept) is (damage not in ("missing", "empty"))
    with Store.open(data_dir) as store:
        same(store, filled, types=False)


def test_files_that_vanish_or_change_their_size_are_dropped(data_dir: Path, filled: list[BlobInfo]) -> None:
    oci = data_dir / "oci"
    small = [info for info in filled if info.media_type == "a/b"]
    (oci / small[0].proven_digest.path).unlink()
    (oci / small[1].proven_digest.path).unlink()
    (oci / small[1].proven_digest.path).write_bytes(b"longer")
    with Store.open(data_dir) as store:
        left = [info for info in filled if info not in small[:2]]
        same(store, left)
        for info, data in ((small[0], None), (small[1], None)):
            assert store.find(info.hash) is data
    with Store.open(data_dir) as store:
        same(store, left)


def test_trees_are_made_again(data_dir: Path, filled: list[BlobInfo]) -> None:
    trees = list((data_dir / "trees").iterdir())
    right = {path: path.read_bytes() for path in trees}
    trees[0].unlink()
    trees[1].write_bytes(b"short")
    (data_dir / "trees" / ("0" * 64)).write_bytes(b"of no blob")
    with Store.open(data_dir) as store:
        same(store, filled)
    assert {path: path.read_bytes() for path in (data_dir / "trees").iterdir()} == right


def test_strange_files_are_left_alone(data_dir: Path, filled: list[BlobInfo]) -> None:
    blobs = data_dir / "oci/blobs/sha256"
    (blobs / "notes.txt").write_bytes(b"of the operator")
    (blobs / ("a" * 64)).write_bytes(b"not what the name says")
    (blobs / ("b" * 64)).mkdir()
    (blobs / ("c" * 64)).symlink_to("nowhere")
    unknown = real_bytes(60_000, skip_bytes=99)
    digest = Digest("sha256", hashlib.sha256(unknown).hexdigest())
    (blobs / digest.hex).write_bytes(unknown)
    for _ in range(2):
        with Store.open(data_dir) as store:
            info = store.find(digest)
            assert info is not None
            with store.reader(info.hash) as reader:
                assert reader.read(0, info.size) == unknown
            same(store, sorted([*filled, info], key=lambda each: each.hash))
    assert (blobs / "notes.txt").read_bytes() == b"of the operator"
    assert (blobs / ("a" * 64)).read_bytes() == b"not what the name says"


def test_leftovers_are_removed(data_dir: Path, filled: list[BlobInfo]) -> None:
    partial = data_dir / "partial"
    done = filled[0]
    (partial / "0123.data.temp").write_bytes(b"x")
    for kind in ("data", "tree", "have"):
        (partial / f"{done.hash}.{kind}").write_bytes(b"of a blob that was published")
    (partial / f"sha256-{done.proven_digest.hex}.download").write_bytes(b"of a blob that is here")
    (partial / f"{'f' * 64}.have").write_bytes(b"without data")
    with Store.open(data_dir) as store:
        same(store, filled)
    assert list(partial.iterdir()) == []


def test_sha512_name_comes_back(data_dir: Path, filled: list[BlobInfo]) -> None:
    (name,) = (data_dir / "oci/blobs/sha512").iterdir()
    name.unlink()
    with Store.open(data_dir) as store:
        same(store, filled)
    assert hashlib.sha512(name.read_bytes()).hexdigest() == name.name


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"manifests":[{"digest":1}]}', b"[" * 100_000])
def test_index_json_is_written_again(data_dir: Path, filled: list[BlobInfo], damage: bytes) -> None:
    path = data_dir / "oci/index.json"
    right = path.read_bytes()
    path.write_bytes(damage)
    (data_dir / "oci/oci-layout").unlink()
    with Store.open(data_dir) as store:
        same(store, filled)
    assert path.read_bytes() == right
    assert (data_dir / "oci/oci-layout").exists()


def test_package_without_its_manifest_is_dropped(data_dir: Path) -> None:
    with Store.open(data_dir) as store:
        package = add_package(store)
    (data_dir / "oci" / package.root.digest.path).unlink()
    with Store.open(data_dir) as store:
        assert store.packages() == []
        assert json.loads((store.directory / "index.json").read_bytes())["manifests"] == []
