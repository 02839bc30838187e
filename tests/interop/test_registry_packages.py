"""Packages through a real docker-registry, with skopeo on the other side of it: every byte the same."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peat_sidecar.confined import Directory
from peat_sidecar.errors import NotFound, PeatError, Refused, SourceError
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.oci import (
    ArchiveSource,
    ArchiveTarget,
    Credentials,
    LayoutSource,
    LayoutTarget,
    RegistryOptions,
    RegistrySource,
    RegistryTarget,
)
from tests.support.images import SBOM, build_image, build_zoo
from tests.support.packages_by_hand import (
    copy_package,
    descriptor_of,
    layout_package,
    read_blob,
    read_package,
)
from tests.support.registry import (
    PASSWORD,
    USER,
    RunningRegistry,
    registry,
    skopeo,
    skopeo_pull,
    skopeo_push,
)

QUICK = RegistryOptions(backoff_seconds=0.05, environment={"HOME": "/nonexistent"})
# skopeo 1.9 cannot name these in a layout, or refuses nested indexes; the registry takes all of them from us.
BY_SKOPEO = ["image", "no-layers", "zarf", "artifact", "multi", "foreign"]
BY_US = [*BY_SKOPEO, "docker", "docker-list", "nested"]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("zoo")
    return directory, build_zoo(directory, 100_000)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with registry(tmp_path_factory.mktemp("registry")) as started:
        yield started


def source_of(text: str, options: RegistryOptions = QUICK) -> RegistrySource:
    return RegistrySource(Reference.parse(text), options)


def login(address: str, auth_file: Path) -> None:
    """Has skopeo write its file of passwords."""
    options = ["--tls-verify=false", "--authfile", str(auth_file), "-u", USER, "-p", PASSWORD]
    subprocess.run(["skopeo", "login", *options, address], check=True, capture_output=True)


async def push(zoo: tuple[Path, dict[str, Any]], kind: str, to: str, options: RegistryOptions = QUICK) -> str:
    """Pushes one of the zoo to a reference; its digest."""
    digest = str(zoo[1][kind]["digest"])
    source = LayoutSource(Directory.open(zoo[0]), Digest.parse(digest))
    reference = Reference.parse(to)
    target = RegistryTarget(reference, options)
    try:
        await copy_package(source, target, reference.tag)
    finally:
        await source.close()
        await target.close()
    return digest


@pytest.mark.parametrize("kind", BY_SKOPEO)
async def test_what_skopeo_pushed_is_read(
    zoo: tuple[Path, dict[str, Any]], running: RunningRegistry, kind: str
) -> None:
    skopeo_push(zoo[0], kind, f"{running.address}/skopeo/{kind}:v1")
    digest = zoo[1][kind]["digest"]
    for name in (f":v1@{digest}", ":v1"):
        source = source_of(f"{running.address}/skopeo/{kind}{name}")
        root = await source.resolve()
        assert (str(root.digest), root.media_type) == (digest, zoo[1][kind]["mediaType"])
        assert await read_package(source, root) == layout_package(zoo[0], digest)
        await source.close()


@pytest.mark.parametrize("kind", BY_US)
async def test_what_we_push_is_read(
    zoo: tuple[Path, dict[str, Any]], running: RunningRegistry, tmp_path: Path, kind: str
) -> None:
    digest = await push(zoo, kind, f"{running.address}/ours/{kind}:v1")
    source = source_of(f"{running.address}/ours/{kind}:v1")
    assert await read_package(source) == layout_package(zoo[0], digest)
    await source.close()
    if kind in BY_SKOPEO:
        skopeo_pull(f"{running.address}/ours/{kind}:v1", tmp_path / "pulled", "v1")
        assert layout_package(tmp_path / "pulled", digest) == layout_package(zoo[0], digest)


async def test_skopeo_reads_the_layouts_and_archives_that_we_write(
    zoo: tuple[Path, dict[str, Any]], running: RunningRegistry, tmp_path: Path
) -> None:
    digest = await push(zoo, "multi", f"{running.address}/written:v1")
    (tmp_path / "layout").mkdir()
    for place, target in (
        ("oci", LayoutTarget(Directory.open(tmp_path / "layout"))),
        ("oci-archive", ArchiveTarget(Directory.open(tmp_path), "archive.tar")),
    ):
        source = source_of(f"{running.address}/written:v1")
        await copy_package(source, target, "v1")
        await source.close()
        await target.close()
        path = tmp_path / ("layout" if place == "oci" else "archive.tar")
        skopeo("copy", "--all", "--preserve-digests", f"{place}:{path}:v1", f"oci:{tmp_path / place}:v2")
        assert layout_package(tmp_path / place, digest) == layout_package(zoo[0], digest)


async def test_skopeo_writes_the_archives_that_we_read(
    zoo: tuple[Path, dict[str, Any]], running: RunningRegistry, tmp_path: Path
) -> None:
    archive = tmp_path / "a.tar"
    skopeo("copy", "--all", "--preserve-digests", f"oci:{zoo[0]}:multi", f"oci-archive:{archive}:v1")
    source = ArchiveSource(os.open(archive, os.O_RDONLY), str(archive), "v1")
    assert await read_package(source) == layout_package(zoo[0], zoo[1]["multi"]["digest"])
    await source.close()


async def test_blobs_are_read_from_any_offset(
    zoo: tuple[Path, dict[str, Any]], running: RunningRegistry
) -> None:
    digest = await push(zoo, "image", f"{running.address}/offsets:v1")
    layer = json.loads((zoo[0] / Digest.parse(digest).path).read_bytes())["layers"][0]
    whole = (zoo[0] / Digest.parse(layer["digest"]).path).read_bytes()
    source = source_of(f"{running.address}/offsets:v1")
    for offset in (0, 1, 65536, len(whole) - 1, len(whole)):
        assert await read_blob(source, descriptor_of(layer), offset) == whole[offset:]
    await source.close()


async def test_what_is_there_is_not_uploaded_again_and_blobs_are_mounted(
    zoo: tuple[Path, dict[str, Any]], running: RunningRegistry
) -> None:
    digest = await push(zoo, "image", f"{running.address}/mount/from:v1")
    manifest = json.loads((zoo[0] / Digest.parse(digest).path).read_bytes())
    layer = descriptor_of(manifest["layers"][0])
    target = RegistryTarget(Reference.parse(f"{running.address}/mount/to:v1"), QUICK)

    def unread(offset: int, length: int) -> bytes:
        raise AssertionError("the blob is read though it could be mounted")

    assert not await target.has_blob(layer)
    await target.push_blob(layer, unread, mount_from=["mount/nothing-here", "mount/from"])
    assert await target.has_blob(layer)
    assert not await target.has_blob(descriptor_of(zoo[1]["image"]))
    await target.close()


async def test_large_blobs_go_in_chunks(tmp_path: Path, running: RunningRegistry) -> None:
    digest = build_image(tmp_path / "image", 6, layers=2)
    source = LayoutSource(Directory.open(tmp_path / "image"), "v1")
    options = RegistryOptions(chunk_bytes=1 << 20, environment={"HOME": "/nonexistent"})
    target = RegistryTarget(Reference.parse(f"{running.address}/chunks:v1"), options)
    await copy_package(source, target, "v1")
    await target.close()
    await source.close()
    skopeo_pull(f"{running.address}/chunks:v1", tmp_path / "pulled", "v1")
    assert layout_package(tmp_path / "pulled", digest) == layout_package(tmp_path / "image", digest)
    assert running.log.read_text().count("PATCH /v2/chunks/") >= 6


async def test_referrers_through_the_tag_of_the_digest(
    zoo: tuple[Path, dict[str, Any]], running: RunningRegistry
) -> None:
    """docker-registry 2.8 has no API for referrers: 404 in plain text."""
    place = f"{running.address}/referred"
    await push(zoo, "image", f"{place}:v1")
    source = source_of(f"{place}:v1")
    root = await source.resolve()
    assert await source.referrers(root) == []
    for kind in ("sbom", "signature", "sbom"):
        await push(zoo, kind, f"{place}@{zoo[1][kind]['digest']}")
    found = {str(entry.digest): entry.artifact_type for entry in await source.referrers(root)}
    assert found == {
        zoo[1]["sbom"]["digest"]: SBOM,
        zoo[1]["signature"]["digest"]: "application/vnd.example.signature",
    }
    only = await source.referrers(root, SBOM)
    assert [str(entry.digest) for entry in only] == [zoo[1]["sbom"]["digest"]]
    assert await read_package(source, only[0]) == layout_package(zoo[0], zoo[1]["sbom"]["digest"])
    await source.close()


async def test_a_sparse_index_is_read_as_far_as_it_goes(
    zoo: tuple[Path, dict[str, Any]], running: RunningRegistry
) -> None:
    await push(zoo, "image", f"{running.address}/missing:v1")
    source = source_of(f"{running.address}/missing:v1")
    sparse = json.loads((zoo[0] / Digest.parse(zoo[1]["sparse"]["digest"]).path).read_bytes())
    with pytest.raises(NotFound):
        await source.read_document(descriptor_of(sparse["manifests"][1]))
    await source.close()


async def test_what_does_not_exist_is_not_found(running: RunningRegistry) -> None:
    for name in (":nothing", f"@sha256:{'0' * 64}"):
        source = source_of(f"{running.address}/empty{name}")
        with pytest.raises(NotFound, match=r"empty has no manifest"):
            await source.resolve()
        await source.close()


async def test_a_password_is_found_and_needed(zoo: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    with registry(tmp_path / "registry", password=True) as started:
        place = f"{started.address}/private/app:v1"
        with pytest.raises(Refused, match="login"):
            await push(zoo, "image", place)
        wrong = RegistryOptions(credentials=Credentials(USER, "wrong"), environment={})
        with pytest.raises(Refused, match=USER) as caught:
            await push(zoo, "image", place, wrong)
        assert "wrong" not in str(caught.value)
        auth_file = tmp_path / "auth.json"
        login(started.address, auth_file)
        found = RegistryOptions(environment={"REGISTRY_AUTH_FILE": str(auth_file)})
        digest = await push(zoo, "image", place, found)
        source = source_of(place, RegistryOptions(credentials=Credentials(USER, PASSWORD), environment={}))
        assert await read_package(source) == layout_package(zoo[0], digest)
        await source.close()
        skopeo_pull(place, tmp_path / "pulled", "v1", "--src-creds", f"{USER}:{PASSWORD}")
        assert layout_package(tmp_path / "pulled", digest) == layout_package(zoo[0], digest)
        assert PASSWORD not in started.log.read_text()


async def test_tls_needs_the_authority_of_the_certificate(
    zoo: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    with registry(tmp_path / "registry", tls=True) as started:
        place = f"{started.address}/secure/app:v1"
        trusting = RegistryOptions(ca_file=started.ca_file, environment={})
        with pytest.raises(SourceError, match="--ca-file"):
            await push(zoo, "image", place)
        digest = await push(zoo, "image", place, trusting)
        source = source_of(place, trusting)
        assert await read_package(source) == layout_package(zoo[0], digest)
        await source.close()


async def test_a_registry_that_is_read_only_or_full_or_gone_says_so(
    zoo: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    with (
        registry(tmp_path / "registry", read_only=True) as started,
        pytest.raises(PeatError, match=r"405|allow"),
    ):
        await push(zoo, "image", f"{started.address}/app:v1")
    with pytest.raises(SourceError, match="is it up"):
        await push(zoo, "image", f"{started.address}/app:v1")


async def test_an_upload_that_the_registry_forgot_begins_anew(
    tmp_path: Path,
) -> None:
    """docker-registry loses an upload that is cut within a chunk; here its memory of one is taken away."""
    digest = build_image(tmp_path / "image", 8, layers=1)
    manifest = json.loads((tmp_path / "image" / Digest.parse(digest).path).read_bytes())
    layer = descriptor_of(manifest["layers"][0])
    data = (tmp_path / "image" / layer.digest.path).read_bytes()
    cut = False
    with registry(tmp_path / "registry") as started:
        options = RegistryOptions(chunk_bytes=1 << 20, backoff_seconds=0.01, environment={})
        target = RegistryTarget(Reference.parse(f"{started.address}/cut:v1"), options)

        def read(offset: int, length: int) -> bytes:
            nonlocal cut
            if offset >= 5 << 20 and not cut:
                cut = True
                for folder in started.storage.rglob("_uploads/*"):
                    (folder / "startedat").unlink()
            return data[offset : offset + length]

        await target.push_blob(layer, read)
        assert cut
        assert await target.has_blob(layer)
        assert started.blob_file(str(layer.digest)).read_bytes() == data
        await target.close()
