"""What docker-registry and containerd keep on disk, imported where it lies, while they run and afterwards."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from peat_sidecar.confined import Directory
from peat_sidecar.errors import ConfigError, IntegrityError, NotFound, PeatError, SourceError
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.oci import (
    ContainerdSource,
    LayoutSource,
    RegistryOptions,
    RegistryStorageSource,
    RegistryTarget,
    Source,
    list_containerd,
    list_registry_storage,
)
from peat_sidecar.store import Store
from peat_sidecar.transfer import Importer, Progress
from tests.support.containerd import running_containerd
from tests.support.daemon import daemon
from tests.support.images import build_zoo
from tests.support.nodes import bounded
from tests.support.packages_by_hand import copy_package, layout_package, read_package
from tests.support.registry import RunningRegistry, registry, skopeo_pull, skopeo_push

KINDS = ["image", "zarf", "artifact", "multi", "foreign"]
"""What skopeo can push."""
LAYER_BYTES = 1_500_000
CLIENT_SECONDS = 60
EXIT_WRONG, EXIT_REFUSED, EXIT_SOURCE = 2, 4, 8


@dataclass(frozen=True)
class Stores:
    """The same images in both stores; nothing runs any more."""

    zoo: Path
    made: dict[str, Any]
    registry: RunningRegistry
    containerd: Path


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    directory = tmp_path_factory.mktemp("in-place")
    zoo = directory / "zoo"
    made = build_zoo(zoo, LAYER_BYTES)
    with registry(directory / "registry") as running, running_containerd(directory) as socket:
        for kind in KINDS:
            skopeo_push(zoo, kind, f"{running.address}/team/{kind}:v1")
        skopeo_push(zoo, "image", f"{running.address}/app:latest")
        asyncio.run(push_signature(zoo, made, f"{running.address}/team/image"))
        for namespace in ("default", "k8s.io"):
            for kind in ("image", "multi"):
                pull(socket, namespace, f"{running.address}/team/{kind}:v1")
    return Stores(zoo, made, running, directory / "root")


async def push_signature(zoo: Path, made: dict[str, Any], repository: str) -> None:
    """With the tag that lists it; skopeo 1.9 takes no such index."""
    listing = made["image"]["digest"].replace(":", "-")
    reference = Reference.parse(f"{repository}:{listing}")
    target = RegistryTarget(reference, RegistryOptions(environment={}))
    source = LayoutSource(Directory.open(zoo), listing)
    await copy_package(source, target, listing)
    await target.close()
    await source.close()


def pull(socket: Path, namespace: str, reference: str) -> None:
    ctr = ["ctr", "--address", str(socket), "--namespace", namespace, "images"]
    options = ["--plain-http", "--all-platforms", "--snapshotter", "native"]
    done = subprocess.run(
        [*ctr, "pull", *options, reference],
        capture_output=True,
        text=True,
        timeout=CLIENT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def storage_source(stores: Stores, choice: str | Digest | None) -> Source:
    return RegistryStorageSource(Directory.open(stores.registry.storage), choice)


def containerd_source(stores: Stores, choice: str | Digest | None) -> Source:
    return ContainerdSource(Directory.open(stores.containerd), choice)


def snapshot(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Every file with inode, size and time of its content."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        if path.is_file():
            found[str(path)] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


async def refused(source: Source, kind: type[PeatError], match: str) -> None:
    with pytest.raises(kind, match=match):
        await source.resolve()
    await source.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_registrys_storage_is_read_whole(stores: Stores, kind: str) -> None:
    source = storage_source(stores, f"team/{kind}:v1")
    digest = stores.made[kind]["digest"]
    assert await read_package(source) == layout_package(stores.zoo, digest)
    assert source.name == f"{stores.registry.storage}:team/{kind}:v1"
    await source.close()
    for choice in (f"team/{kind}@{digest}", Digest.parse(digest)):
        source = storage_source(stores, choice)
        assert str((await source.resolve()).digest) == digest
        await source.close()


@pytest.mark.parametrize("kind", ["image", "multi"])
async def test_containerds_store_is_read_whole(stores: Stores, kind: str) -> None:
    digest = stores.made[kind]["digest"]
    for choice in (f"{stores.registry.address}/team/{kind}:v1", Digest.parse(digest)):
        source = containerd_source(stores, choice)
        assert await read_package(source) == layout_package(stores.zoo, digest)
        await source.close()


def test_what_has_a_name_is_listed(stores: Stores) -> None:
    """Without tags that list referrers; each image of containerd once, though two namespaces have it."""
    with Directory.open(stores.registry.storage) as directory:
        listed = list_registry_storage(directory)
    names = sorted(["app:latest", *(f"team/{kind}:v1" for kind in KINDS)])
    assert [each.choice for each in listed] == names
    assert [each.reference for each in listed] == [f"localhost/{name}" for name in names]
    with Directory.open(stores.containerd) as directory:
        images = list_containerd(directory)
    assert [each.reference for each in images] == [
        f"{stores.registry.address}/team/{kind}:v1" for kind in ("image", "multi")
    ]


async def test_referrers_of_a_repository(stores: Stores) -> None:
    source = storage_source(stores, "team/image:v1")
    found = await source.referrers(await source.resolve())
    assert [str(each.digest) for each in found] == [stores.made["signature"]["digest"]]
    await source.close()
    other = storage_source(stores, "app:latest")
    assert await other.referrers(await other.resolve()) == []
    await other.close()


async def test_what_is_not_there(stores: Stores) -> None:
    absent = "sha256:" + "0" * 64
    await refused(storage_source(stores, None), NotFound, r"several packages.*all: app:latest, team/artifact")
    await refused(storage_source(stores, "team/none:v1"), NotFound, "nothing of the name team/none:v1")
    await refused(storage_source(stores, f"app@{absent}"), NotFound, "in app")
    await refused(storage_source(stores, "../../app:v1"), ConfigError, "one looks like team/app:v1")
    await refused(storage_source(stores, Digest.parse(absent)), NotFound, "nothing with the digest")
    image = stores.made["image"]["digest"]
    await refused(storage_source(stores, f"app@{stores.made['zarf']['digest']}"), NotFound, "in app")
    assert image in str((await storage_source(stores, f"app@{image}").resolve()).digest)
    await refused(containerd_source(stores, "r.example/none:v1"), NotFound, r"no image .*team/image:v1")
    await refused(RegistryStorageSource(Directory.open(stores.zoo)), SourceError, "name the rootdirectory")
    await refused(ContainerdSource(Directory.open(stores.zoo)), SourceError, "no root of containerd")


@pytest.mark.parametrize("content", [b"", b"sha256:12", b"../../../etc/passwd"])
async def test_a_tag_that_is_being_written(stores: Stores, tmp_path: Path, content: bytes) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(stores.registry.storage, storage)
    link = storage / "docker/registry/v2/repositories/app/_manifests/tags/latest/current/link"
    link.write_bytes(content)
    source = RegistryStorageSource(Directory.open(storage), "app:latest")
    await refused(source, SourceError, "holds no digest")


async def test_links_out_of_a_storage_are_not_followed(stores: Stores, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(stores.registry.storage, storage)
    manifest = stores.made["image"]["digest"]
    file = stores.registry.blob_file(manifest)
    inside = storage / file.relative_to(stores.registry.storage)
    inside.unlink()
    inside.symlink_to(file)
    await refused(RegistryStorageSource(Directory.open(storage), "app:latest"), PeatError, "symbolic link")


@pytest.mark.parametrize("place", ["registry", "containerd"])
async def test_content_is_on_the_disk_once(stores: Stores, tmp_path: Path, place: str) -> None:
    """Large blobs have the inode of their owner's, whose files stay as they are."""
    if place == "registry":
        source, folder = storage_source(stores, "team/multi:v1"), stores.registry.storage
    else:
        source = containerd_source(stores, f"{stores.registry.address}/team/multi:v1")
        folder = stores.containerd / "io.containerd.content.v1.content"
    before = snapshot(folder)
    with Store.open(tmp_path / "data") as store:
        await bounded(Importer(store).import_package(source, Progress(), link=True))
        await source.close()
        theirs = {inode for inode, size, _ in before.values()}
        large = [
            path for path in (tmp_path / "data/oci/blobs/sha256").iterdir() if path.stat().st_size > 1 << 20
        ]
        assert len(large) == 2
        assert all(path.is_symlink() or path.stat().st_ino in theirs for path in large)
        assert snapshot(folder) == before


@pytest.mark.parametrize("disk", ["same", "another"])
async def test_their_owner_collects_them(stores: Stores, tmp_path: Path, disk: str) -> None:
    """By hard link the content stays; by symbolic link, from another disk, it is missed and not made up."""
    storage = (Path("/dev/shm") / tmp_path.name if disk == "another" else tmp_path) / "storage"
    shutil.copytree(stores.registry.storage, storage)
    try:
        source = RegistryStorageSource(Directory.open(storage), "team/image:v1")
        with Store.open(tmp_path / "data") as store:
            brought = await bounded(Importer(store).import_package(source, Progress(), link=True))
            await source.close()
            shutil.rmtree(storage)
            large = [digest for digest in brought.package.blobs if store.find(digest).size > 1 << 20]  # type: ignore[union-attr]
            for digest in large:
                info = store.find(digest)
                if disk == "same":
                    assert info is not None
                    with store.reader(info.hash) as reader:
                        reader.read(0, info.size)
                elif info is not None:
                    with pytest.raises((NotFound, IntegrityError)):
                        store.reader(info.hash)
            assert large
    finally:
        shutil.rmtree(storage, ignore_errors=True)


async def test_a_blob_that_changes_afterwards_is_noticed(stores: Stores, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(stores.registry.storage, storage)
    source = RegistryStorageSource(Directory.open(storage), "team/image:v1")
    with Store.open(tmp_path / "data") as store:
        brought = await bounded(Importer(store).import_package(source, Progress(), link=True))
        await source.close()
        found = [store.find(digest) for digest in brought.package.blobs]
        info = next(each for each in found if each is not None and each.size > 1 << 20 and each.digest)
        file = storage / stores.registry.blob_file(str(info.digest)).relative_to(stores.registry.storage)
        if not info.linked:
            pytest.fail("this file system clones; the test needs one that links")
        os.truncate(file, info.size - 1)
        with pytest.raises((NotFound, IntegrityError)):
            store.reader(info.hash)


async def test_wrong_bytes_in_a_storage_are_refused(stores: Stores, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(stores.registry.storage, storage)
    layer = json.loads(
        (stores.zoo / "blobs" / stores.made["image"]["digest"].replace(":", "/")).read_bytes()
    )["layers"][0]
    file = storage / stores.registry.blob_file(layer["digest"]).relative_to(stores.registry.storage)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    source = RegistryStorageSource(Directory.open(storage), "team/image:v1")
    with Store.open(tmp_path / "store") as store:
        with pytest.raises(IntegrityError, match=layer["digest"]):
            await bounded(Importer(store).import_package(source, Progress(), link=True))
        assert store.find(Digest.parse(layer["digest"])) is None
    await source.close()
    assert file.read_bytes() == data


def command(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "peat_sidecar", *arguments],
        env={**os.environ, "PEAT_SIDECAR_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        timeout=CLIENT_SECONDS,
        check=False,
    )


def test_a_whole_storage_takes_the_place_of_its_registry(stores: Stores, tmp_path: Path) -> None:
    """One command; then the same names are pulled from the sidecar."""
    options = {"registry": ["127.0.0.1:0"], "import_roots": [str(stores.registry.storage)]}
    with daemon(tmp_path / "data", **options) as running:
        place = f"registry-storage:{stores.registry.storage}"
        done = command(running.data_dir, "import", "--link", "--all", place)
        assert done.returncode == 0, done.stderr
        assert f"{len(KINDS) + 1} packages of" in done.stdout
        for kind in KINDS:
            skopeo_pull(f"{running.registry}/team/{kind}:v1", tmp_path / kind, "v1")
            digest = stores.made[kind]["digest"]
            assert layout_package(tmp_path / kind, digest) == layout_package(stores.zoo, digest)
        named = command(running.data_dir, "import", "--all", place, "--as", "registry.example")
        assert named.returncode == 0, named.stderr
        listed = command(running.data_dir, "packages").stdout
        assert "registry.example/team/multi:v1" in listed
        outside = command(running.data_dir, "import", "--all", f"containerd:{stores.containerd}")
        assert outside.returncode == EXIT_REFUSED
        assert "not beneath" in outside.stderr


def test_one_package_that_lacks_a_layer_keeps_no_other_away(stores: Stores, tmp_path: Path) -> None:
    storage = tmp_path / "storage"
    shutil.copytree(stores.registry.storage, storage)
    lost = stores.registry.blob_file(stores.made["zarf"]["digest"])
    (storage / lost.relative_to(stores.registry.storage)).unlink()
    with daemon(tmp_path / "data", import_roots=[str(storage)]) as running:
        done = command(running.data_dir, "import", "--link", "--all", f"registry-storage:{storage}")
        assert done.returncode == EXIT_SOURCE
        assert f"1 of {len(KINDS) + 1} packages were not imported" in done.stderr
        assert "localhost/team/zarf:v1" in done.stderr
        listed = command(running.data_dir, "packages").stdout
        assert "localhost/team/multi:v1" in listed
        assert "zarf" not in listed


def test_all_of_a_layout(stores: Stores, tmp_path: Path) -> None:
    """Names that are whole references stay; `--all` and one name do not go together."""
    with daemon(tmp_path / "data", import_roots=[str(stores.zoo)]) as running:
        done = command(running.data_dir, "import", "--all", f"oci:{stores.zoo}")
        assert done.returncode == 0, done.stderr
        for wrong in (f"oci:{stores.zoo}:image", "registry.example/app:v1"):
            refusal = command(running.data_dir, "import", "--all", wrong)
            assert refusal.returncode == EXIT_WRONG
            assert "all" in refusal.stderr


async def test_a_layout_is_a_source_as_before(stores: Stores) -> None:
    source = LayoutSource(Directory.open(stores.zoo), "image")
    root = await source.resolve()
    assert len(await source.referrers(root)) == 2
    await source.close()
