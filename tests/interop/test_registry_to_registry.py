"""From a real docker-registry through the store into another one, or an archive; skopeo on both ends."""

import asyncio
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from peat_sidecar.confined import Directory
from peat_sidecar.errors import IntegrityError, Refused, SourceError
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.oci import (
    ArchiveSource,
    ArchiveTarget,
    Credentials,
    LayoutSource,
    RegistryOptions,
    RegistrySource,
    RegistryTarget,
)
from peat_sidecar.packages import Platform
from peat_sidecar.store import Store
from peat_sidecar.transfer import Exporter, Imported, Importer, Progress
from tests.support.images import build_zoo
from tests.support.nodes import bounded
from tests.support.odd_registry import OddRegistry, Reply, Request
from tests.support.packages_by_hand import copy_package, layout_package
from tests.support.real_files import real_bytes
from tests.support.registry import PASSWORD, USER, RunningRegistry, registry, skopeo, skopeo_pull

QUICK = RegistryOptions(backoff_seconds=0.05, environment={"HOME": "/nonexistent"})
WITH_PASSWORD = RegistryOptions(
    backoff_seconds=0.05, environment={"HOME": "/nonexistent"}, credentials=Credentials(USER, PASSWORD)
)
Zoo = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    directory = tmp_path_factory.mktemp("zoo")
    return directory, build_zoo(directory, 200_000)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with registry(tmp_path_factory.mktemp("first")) as started:
        yield started


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with registry(tmp_path_factory.mktemp("second"), password=True) as started:
        yield started


async def push(zoo: Zoo, kind: str, to: str) -> None:
    """Puts one of the zoo into a registry, without a store."""
    source = LayoutSource(Directory.open(zoo[0]), Digest.parse(str(zoo[1][kind]["digest"])))
    reference = Reference.parse(to)
    target = RegistryTarget(reference, QUICK)
    await copy_package(source, target, reference.tag)
    await source.close()
    await target.close()


async def bring(store: Store, reference: str, progress: Progress | None = None, **options: Any) -> Imported:
    source = RegistrySource(Reference.parse(reference), QUICK)
    try:
        return await bounded(
            Importer(store).import_package(source, progress or Progress(), list_as=reference, **options)
        )
    finally:
        await source.close()


async def send(store: Store, brought: Imported, reference: str, **options: Any) -> Progress:
    progress = Progress()
    parsed = Reference.parse(reference)
    target = RegistryTarget(parsed, WITH_PASSWORD)
    try:
        await bounded(
            Exporter(store).export_package(brought.package, target, progress, tag=parsed.tag, **options)
        )
    finally:
        await target.close()
    return progress


@pytest.mark.parametrize("kind", ["image", "zarf", "artifact", "multi", "docker", "docker-list", "foreign"])
async def test_every_byte_arrives(
    zoo: Zoo, first: RunningRegistry, second: RunningRegistry, tmp_path: Path, kind: str
) -> None:
    source, target = f"{first.address}/app/{kind}:v1", f"{second.address}/copy/{kind}:v1"
    await push(zoo, kind, source)
    expected = layout_package(zoo[0], zoo[1][kind]["digest"])
    with Store.open(tmp_path / "store") as store:
        brought = await bring(store, source)
        assert str(brought.package.root.digest) == zoo[1][kind]["digest"]
        progress = await send(store, brought, target)
        assert progress.done_bytes == progress.total_bytes == sum(map(len, expected.values()))
        again = await send(store, brought, target)
        blobs = progress.total_bytes - sum(
            len(data) for data in expected.values() if b'"schemaVersion"' in data[:60000]
        )
        assert again.skipped_bytes >= blobs
    for digest, data in expected.items():
        assert second.blob_file(digest).read_bytes() == data
    if kind in ("image", "multi"):
        skopeo_pull(target, tmp_path / "pulled", "v1", f"--src-creds={USER}:{PASSWORD}")
        assert layout_package(tmp_path / "pulled", zoo[1][kind]["digest"]) == expected


async def test_a_chosen_platform_goes_to_an_archive_and_not_as_an_index_to_a_registry(
    zoo: Zoo, first: RunningRegistry, second: RunningRegistry, tmp_path: Path
) -> None:
    reference = f"{first.address}/app/chosen:v1"
    await push(zoo, "multi", reference)
    with Store.open(tmp_path / "store") as store:
        brought = await bring(store, reference, platforms=[Platform.parse("linux/arm64")])
        with pytest.raises((Refused, SourceError), match="take no index without them"):
            await send(store, brought, f"{second.address}/copy/chosen:v1")
        archive = tmp_path / "chosen.tar"
        target = ArchiveTarget(Directory.open(tmp_path), archive.name)
        await bounded(Exporter(store).export_package(brought.package, target, Progress(), tag="v1"))
        await target.close()
        with Store.open(tmp_path / "other") as other, archive.open("rb") as file:
            source = ArchiveSource(os.dup(file.fileno()), str(archive), "v1")
            again = await bounded(Importer(other).import_package(source, Progress()))
            await source.close()
            assert again.package.blobs == brought.package.blobs
            assert again.package.collection == brought.package.collection


async def test_referrers_by_tag(zoo: Zoo, first: RunningRegistry, tmp_path: Path) -> None:
    """docker-registry has no referrers API: they are found by the tag that stands for it."""
    await push(zoo, "image", f"{first.address}/app/signed:v1")
    await push(zoo, "sbom", f"{first.address}/app/signed")
    with Store.open(tmp_path) as store:
        brought = await bring(store, f"{first.address}/app/signed:v1", referrers=True)
        assert [str(each.root.digest) for each in brought.referrers] == [zoo[1]["sbom"]["digest"]]
        (referrer,) = brought.referrers
        assert referrer.root.artifact_type == "application/spdx+json"


async def test_referrers_by_the_api(zoo: Zoo, tmp_path: Path) -> None:
    async with OddRegistry() as odd:
        for kind in ("image", "sbom"):
            for digest, data in layout_package(zoo[0], zoo[1][kind]["digest"]).items():
                if b'"schemaVersion"' in data:
                    odd.add_manifest(data, tag="v1" if digest == zoo[1]["image"]["digest"] else None)
                else:
                    odd.add_blob(data)
        with Store.open(tmp_path) as store:
            brought = await bring(store, f"{odd.address}/app/signed:v1", referrers=True)
            assert [str(each.root.digest) for each in brought.referrers] == [zoo[1]["sbom"]["digest"]]


def image_in(odd: OddRegistry, layer: bytes) -> None:
    """An image of one layer under the tag v1."""
    config = b'{"os":"linux","architecture":"amd64"}'
    odd.add_blob(config)
    odd.add_blob(layer)

    def entry(data: bytes, kind: str) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest, "size": len(data)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": entry(config, "config.v1+json"),
        "layers": [entry(layer, "layer.v1.tar")],
    }
    odd.add_manifest(json.dumps(manifest).encode(), tag="v1")


async def test_a_wrong_layer_is_named_and_nothing_of_it_is_stored(tmp_path: Path) -> None:
    layer = real_bytes(500_000)
    digest = Digest("sha256", hashlib.sha256(layer).hexdigest())
    async with OddRegistry() as odd:
        image_in(odd, layer)
        odd.blobs[str(digest)] = layer[:-1] + bytes([layer[-1] ^ 1])
        with Store.open(tmp_path) as store:
            with pytest.raises(IntegrityError, match=str(digest)):
                await bring(store, f"{odd.address}/app/a:v1")
            assert store.find(digest) is None
            assert store.packages() == []
            assert list((tmp_path / "partial").iterdir()) == []


async def test_a_lost_connection_goes_on_with_range_and_nothing_comes_twice(tmp_path: Path) -> None:
    layer = real_bytes(2_000_000)
    digest = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    ranges: list[str] = []

    async with OddRegistry() as odd:
        image_in(odd, layer)

        def cut(request: Request) -> Reply | None:
            if request.method != "GET" or digest not in request.path:
                return None
            ranges.append(request.headers.get("range", ""))
            reply = odd.behave(request)
            if len(ranges) < 4:
                reply.cut_after = 400_000
            return reply

        odd.rules.append(cut)
        with Store.open(tmp_path) as store:
            progress = Progress()
            await bring(store, f"{odd.address}/app/a:v1", progress)
            assert progress.done_bytes == progress.total_bytes
    assert len(ranges) == 4
    begins = [int(each.removeprefix("bytes=").rstrip("-") or 0) for each in ranges]
    assert begins == sorted(begins)
    assert begins[-1] >= 1_100_000


async def test_mounting_saves_the_upload(zoo: Zoo, first: RunningRegistry, tmp_path: Path) -> None:
    await push(zoo, "image", f"{first.address}/from/here:v1")
    with Store.open(tmp_path) as store:
        brought = await bring(store, f"{first.address}/from/here:v1")
        target = RegistryTarget(Reference.parse(f"{first.address}/to/there:v1"), QUICK)
        before = first.log.read_text().count("PATCH /v2/to/there") + first.log.read_text().count(
            "PUT /v2/to/there/blobs"
        )
        await bounded(
            Exporter(store).export_package(
                brought.package, target, Progress(), tag="v1", mount_from=["from/here"]
            )
        )
        await target.close()
        log = await asyncio.to_thread(first.log.read_text)
        assert log.count("PATCH /v2/to/there") + log.count("PUT /v2/to/there/blobs") == before
    inspected = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{first.address}/to/there:v1"))
    assert inspected["Digest"] == zoo[1]["image"]["digest"]


async def test_the_tag_comes_last(zoo: Zoo, first: RunningRegistry, tmp_path: Path) -> None:
    """An export that fails in the middle leaves no tag: nobody can pull half a package."""
    await push(zoo, "image", f"{first.address}/app/last:v1")
    async with OddRegistry() as odd:
        odd.rules.append(
            lambda request: (
                Reply(500) if request.method in ("PATCH", "PUT") and "blobs" in request.path else None
            )
        )
        with Store.open(tmp_path) as store:
            brought = await bring(store, f"{first.address}/app/last:v1")
            hasty = RegistryOptions(
                backoff_seconds=0.01, tries=2, environment={"HOME": "/nonexistent"}, longest_wait_seconds=0.01
            )
            target = RegistryTarget(Reference.parse(f"{odd.address}/app/last:v1"), hasty)
            with pytest.raises(SourceError):
                await bounded(Exporter(store).export_package(brought.package, target, Progress(), tag="v1"))
            await target.close()
            assert odd.manifests == {}
            async with httpx.AsyncClient() as client:
                answer = await client.get(f"http://{odd.address}/v2/app/last/manifests/v1")
            assert answer.status_code == 404
