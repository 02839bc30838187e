"""Packages from a real docker-registry through importer, store and exporter to another registry, a layout or
an archive: every byte the same, and what skopeo makes of both ends is the same too.
"""

import contextlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from peat_sidecar.confined import Directory
from peat_sidecar.errors import IntegrityError, NotFound, PeatError, Refused
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
    Source,
    Target,
)
from peat_sidecar.packages import Platform
from peat_sidecar.store import Store, StoredPackage
from peat_sidecar.transfer import Exporter, Imported, Importer, Progress
from tests.support.images import OCI_INDEX, SBOM, ImageLayout, build_image, build_zoo
from tests.support.nodes import bounded, content
from tests.support.packages_by_hand import copy_package, layout_package, read_package
from tests.support.real_files import real_bytes
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
# skopeo 1.9 cannot name the others in a layout, or refuses nested indexes; we push and pull all of them.
BY_SKOPEO = ["image", "no-layers", "zarf", "artifact", "multi", "foreign"]
BY_US = ["docker", "docker-list", "nested"]

Zoo = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    directory = tmp_path_factory.mktemp("zoo")
    return directory, build_zoo(directory, 150_000)


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with registry(tmp_path_factory.mktemp("upstream")) as started:
        yield started


@pytest.fixture(scope="module")
def downstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with registry(tmp_path_factory.mktemp("downstream")) as started:
        yield started


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


@contextlib.asynccontextmanager
async def closing(place: Source | Target) -> AsyncIterator[Any]:
    try:
        yield place
    finally:
        await place.close()


def layout_source(directory: Path, choice: str) -> LayoutSource:
    return LayoutSource(Directory.open(directory), Digest.parse(choice) if ":" in choice else choice)


async def put(zoo: Zoo, kind: str, to: str) -> str:
    """Has one of the zoo in a registry, from skopeo where that can do it; its digest."""
    digest = str(zoo[1][kind]["digest"])
    if kind in BY_SKOPEO:
        skopeo_push(zoo[0], kind, to)
    else:
        reference = Reference.parse(to)
        async with (
            closing(layout_source(zoo[0], digest)) as source,
            closing(RegistryTarget(reference, QUICK)) as target,
        ):
            await copy_package(source, target, reference.tag)
    return digest


async def bring(store: Store, source: Source, progress: Progress | None = None, **options: Any) -> Imported:
    async with closing(source):
        return await bounded(Importer(store).import_package(source, progress or Progress(), **options))


async def hand_out(
    store: Store,
    package: StoredPackage,
    target: Target,
    progress: Progress | None = None,
    tag: str | None = "v1",
    **options: Any,
) -> None:
    async with closing(target):
        exporter = Exporter(store)
        await bounded(exporter.export_package(package, target, progress or Progress(), tag=tag, **options))


def at(text: str, options: RegistryOptions = QUICK) -> RegistrySource:
    return RegistrySource(Reference.parse(text), options)


def to(text: str, options: RegistryOptions = QUICK) -> RegistryTarget:
    return RegistryTarget(Reference.parse(text), options)


def stored_bytes(store: Store, package: StoredPackage) -> dict[str, bytes]:
    found = {}
    for digest in package.blobs:
        info = store.find(digest)
        assert info is not None
        found[str(digest)] = content(store, info.hash)
    return found


@pytest.mark.parametrize("kind", BY_SKOPEO + BY_US)
async def test_registry_to_registry(
    zoo: Zoo,
    upstream: RunningRegistry,
    downstream: RunningRegistry,
    store: Store,
    tmp_path: Path,
    kind: str,
) -> None:
    digest = await put(zoo, kind, f"{upstream.address}/app/{kind}:v1")
    expected = layout_package(zoo[0], digest)
    total = sum(map(len, expected.values()))

    coming, going = Progress(), Progress()
    brought = await bring(
        store, at(f"{upstream.address}/app/{kind}:v1"), coming, list_as=f"a.example/{kind}:v1"
    )
    package = brought.package
    assert store.package(f"a.example/{kind}:v1") == package
    assert stored_bytes(store, package) == expected
    assert (coming.total_bytes, coming.done_bytes, coming.skipped_bytes) == (total, total, 0)
    assert coming.done_blobs == coming.total_blobs == len(expected)
    assert [each.size for each in brought.foreign] == ([4711] if kind == "foreign" else [])

    await hand_out(store, package, to(f"{downstream.address}/app/{kind}:v1"), going)
    assert (going.total_bytes, going.done_bytes, going.done_blobs) == (total, total, len(expected))
    async with closing(at(f"{downstream.address}/app/{kind}:v1")) as source:
        root = await source.resolve()
        assert (str(root.digest), root.media_type) == (digest, zoo[1][kind]["mediaType"])
        assert await read_package(source, root) == expected
    if kind in BY_SKOPEO:
        skopeo_pull(f"{downstream.address}/app/{kind}:v1", tmp_path / "pulled", "v1")
        assert layout_package(tmp_path / "pulled", digest) == expected


async def test_what_the_other_registry_has_is_not_sent_again(
    zoo: Zoo, upstream: RunningRegistry, downstream: RunningRegistry, store: Store
) -> None:
    digest = await put(zoo, "image", f"{upstream.address}/twice:v1")
    brought = await bring(store, at(f"{upstream.address}/twice@{digest}"))
    await hand_out(store, brought.package, to(f"{downstream.address}/twice:v1"))
    before = downstream.log.read_text().count("POST /v2/")
    progress = Progress()
    await hand_out(store, brought.package, to(f"{downstream.address}/twice:v2"), progress, "v2")
    assert downstream.log.read_text().count("POST /v2/") == before
    blobs = layout_package(zoo[0], digest)
    assert progress.done_bytes == sum(map(len, blobs.values()))
    assert progress.skipped_bytes == progress.done_bytes - len(blobs[digest])
    async with closing(at(f"{downstream.address}/twice:v2")) as source:
        assert str((await source.resolve()).digest) == digest

    mounted = to(f"{downstream.address}/mounted:v1")
    await hand_out(store, brought.package, mounted, mount_from=["twice"])
    uploads = downstream.storage / "docker/registry/v2/repositories/mounted/_uploads"
    assert not uploads.exists() or not list(uploads.iterdir())
    async with closing(at(f"{downstream.address}/mounted:v1")) as source:
        assert await read_package(source) == blobs


async def test_without_a_tag_a_package_is_there_under_its_digest(
    zoo: Zoo, downstream: RunningRegistry, store: Store
) -> None:
    digest = zoo[1]["artifact"]["digest"]
    brought = await bring(store, layout_source(zoo[0], digest))
    await hand_out(store, brought.package, to(f"{downstream.address}/untagged"), tag=None)
    async with closing(at(f"{downstream.address}/untagged@{digest}")) as source:
        assert await read_package(source) == layout_package(zoo[0], digest)
    async with closing(at(f"{downstream.address}/untagged")) as source:
        with pytest.raises(NotFound):
            await source.resolve()


@pytest.mark.parametrize("link", [False, True], ids=["copied", "linked"])
async def test_registry_to_layout_and_archive(
    zoo: Zoo, upstream: RunningRegistry, store: Store, tmp_path: Path, link: bool
) -> None:
    digest = await put(zoo, "multi", f"{upstream.address}/files:v1")
    expected = layout_package(zoo[0], digest)
    brought = await bring(store, at(f"{upstream.address}/files:v1"))
    (tmp_path / "layout").mkdir()
    await hand_out(store, brought.package, LayoutTarget(Directory.open(tmp_path / "layout")), link=link)
    await hand_out(store, brought.package, ArchiveTarget(Directory.open(tmp_path), "a.tar"), link=link)
    for kind, path in (("oci", "layout"), ("oci-archive", "a.tar")):
        copied = tmp_path / f"{kind}-copy"
        skopeo("copy", "--all", "--preserve-digests", f"{kind}:{tmp_path / path}:v1", f"oci:{copied}:v2")
        assert layout_package(copied, digest) == expected

    with Store.open(tmp_path / "other") as other:
        for source in (
            layout_source(tmp_path / "layout", "v1"),
            ArchiveSource(os.open(tmp_path / "a.tar", os.O_RDONLY), "a.tar", "v1"),
        ):
            again = await bring(other, source, link=link)
            assert again.package.collection == brought.package.collection
            assert stored_bytes(other, again.package) == expected


async def test_the_store_is_a_layout_that_skopeo_reads_meanwhile(
    zoo: Zoo, upstream: RunningRegistry, store: Store, tmp_path: Path
) -> None:
    digest = await put(zoo, "zarf", f"{upstream.address}/listed:v1")
    await bring(store, at(f"{upstream.address}/listed:v1"), list_as="listed.example/zarf:v1")
    listed = f"oci:{store.directory}:listed.example/zarf:v1"
    skopeo("copy", "--all", "--preserve-digests", listed, f"oci:{tmp_path / 'copy'}:v1")
    assert layout_package(tmp_path / "copy", digest) == layout_package(zoo[0], digest)


async def test_sha512(zoo: Zoo, downstream: RunningRegistry, store: Store, tmp_path: Path) -> None:
    """docker-registry 2.8 takes blobs by it, and the manifest under a tag, which it then calls by sha256."""
    digest = zoo[1]["sha512"]["digest"]
    assert digest.startswith("sha512:")
    expected = layout_package(zoo[0], digest)
    brought = await bring(store, layout_source(zoo[0], digest))
    assert stored_bytes(store, brought.package) == expected
    await hand_out(store, brought.package, ArchiveTarget(Directory.open(tmp_path), "wide.tar"))
    archive = ArchiveSource(os.open(tmp_path / "wide.tar", os.O_RDONLY), "wide.tar", "v1")
    async with closing(archive):
        assert await read_package(archive) == expected
    await hand_out(store, brought.package, to(f"{downstream.address}/wide:v1"))
    again = await bring(store, at(f"{downstream.address}/wide:v1"))
    assert sorted(stored_bytes(store, again.package).values()) == sorted(expected.values())
    with pytest.raises(PeatError, match=downstream.address):
        await hand_out(store, brought.package, to(f"{downstream.address}/wide"), tag=None)


async def test_passwords_at_both_ends(zoo: Zoo, store: Store, tmp_path: Path) -> None:
    known = RegistryOptions(credentials=Credentials(USER, PASSWORD), environment={})
    with registry(tmp_path / "private", password=True) as private:
        place = f"{private.address}/secret/app"
        skopeo_push(zoo[0], "multi", f"{place}:v1", "--dest-creds", f"{USER}:{PASSWORD}")
        with pytest.raises(Refused, match="login"):
            await bring(store, at(f"{place}:v1"))
        assert store.blobs() == []
        brought = await bring(store, at(f"{place}:v1", known))
        with pytest.raises(Refused, match="login"):
            await hand_out(store, brought.package, to(f"{place}/copy:v1"))
        await hand_out(store, brought.package, to(f"{place}/copy:v1", known))
        credentials = ("--src-creds", f"{USER}:{PASSWORD}")
        skopeo_pull(f"{place}/copy:v1", tmp_path / "pulled", "v1", *credentials)
    digest = zoo[1]["multi"]["digest"]
    assert layout_package(tmp_path / "pulled", digest) == layout_package(zoo[0], digest)


async def test_one_platform_goes_to_layouts_and_a_registry_that_wants_all_says_so(
    zoo: Zoo, upstream: RunningRegistry, downstream: RunningRegistry, store: Store, tmp_path: Path
) -> None:
    digest = await put(zoo, "multi", f"{upstream.address}/platforms:v1")
    source = at(f"{upstream.address}/platforms:v1")
    brought = await bring(store, source, platforms=[Platform.parse("linux/arm64")])
    held = stored_bytes(store, brought.package)
    everything = layout_package(zoo[0], digest)
    index = json.loads(everything[digest])
    (arm,) = (each for each in index["manifests"] if each["platform"]["architecture"] == "arm64")
    assert held == layout_package(zoo[0], arm["digest"]) | {digest: everything[digest]}

    (tmp_path / "layout").mkdir()
    await hand_out(store, brought.package, LayoutTarget(Directory.open(tmp_path / "layout")))
    one = ("--preserve-digests", "--override-os", "linux", "--override-arch", "arm64")
    skopeo("copy", *one, f"oci:{tmp_path / 'layout'}:v1", f"oci:{tmp_path / 'copy'}:v1")
    assert layout_package(tmp_path / "copy", arm["digest"]) == layout_package(zoo[0], arm["digest"])

    with pytest.raises(PeatError, match=r"2 manifests .* import all platforms, or export to a layout"):
        await hand_out(store, brought.package, to(f"{downstream.address}/platforms:v1"))
    whole = await bring(store, at(f"{upstream.address}/platforms:v1"))
    await hand_out(store, whole.package, to(f"{downstream.address}/platforms:v1"))
    async with closing(at(f"{downstream.address}/platforms:v1")) as source:
        assert await read_package(source) == everything
    # Now that the registry has the other manifests, it takes the index of the package that lacks them.
    await hand_out(store, brought.package, to(f"{downstream.address}/platforms:v2"), tag="v2")


async def test_an_index_of_which_a_manifest_was_deleted(
    zoo: Zoo, upstream: RunningRegistry, store: Store
) -> None:
    digest = await put(zoo, "multi", f"{upstream.address}/sparse:v1")
    everything = layout_package(zoo[0], digest)
    gone = json.loads(everything[digest])["manifests"][2]["digest"]
    url = f"http://{upstream.address}/v2/sparse/manifests/{gone}"
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.delete(url)).status_code == 202
    brought = await bring(store, at(f"{upstream.address}/sparse:v1"))
    held = stored_bytes(store, brought.package)
    assert str(brought.package.root.digest) == digest
    assert gone not in held
    assert set(held) < set(everything)
    assert all(everything[each] == data for each, data in held.items())


async def test_referrers_come_along_by_the_tag_of_the_digest(
    zoo: Zoo, upstream: RunningRegistry, downstream: RunningRegistry, store: Store
) -> None:
    """docker-registry 2.8 has no API for them; the tag is written and read by us as by other tools."""
    place = f"{upstream.address}/signed"
    await put(zoo, "image", f"{place}:v1")
    for kind in ("sbom", "signature"):
        await put(zoo, kind, f"{place}@{zoo[1][kind]['digest']}")
    alone = await bring(store, at(f"{place}:v1"))
    assert alone.referrers == ()
    progress = Progress()
    brought = await bring(store, at(f"{place}:v1"), progress, referrers=True)
    kinds = {str(each.root.digest): each.root.artifact_type for each in brought.referrers}
    assert kinds == {
        zoo[1]["sbom"]["digest"]: SBOM,
        zoo[1]["signature"]["digest"]: "application/vnd.example.signature",
    }
    assert progress.done_bytes == progress.total_bytes
    for package in (brought.package, *brought.referrers):
        tag = "v1" if package is brought.package else None
        await hand_out(store, package, to(f"{downstream.address}/signed:v1"), tag=tag)
        expected = layout_package(zoo[0], str(package.root.digest))
        assert stored_bytes(store, package) == expected
    async with closing(at(f"{downstream.address}/signed:v1")) as source:
        found = await source.referrers(await source.resolve())
        assert {str(each.digest) for each in found} == set(kinds)


@pytest.mark.parametrize("size", [40_000, 300_000], ids=["small", "large"])
async def test_a_layer_that_is_wrong_in_the_registry(
    upstream: RunningRegistry, store: Store, tmp_path: Path, size: int
) -> None:
    layout = ImageLayout(tmp_path / "layout")
    data = real_bytes(size, skip_bytes=size)
    layer = layout.blob(data, "application/vnd.oci.image.layer.v1.tar")
    layout.tag(layout.image([layer]), "v1")
    skopeo_push(tmp_path / "layout", "v1", f"{upstream.address}/wrong-{size}:v1")
    file = upstream.blob_file(layer["digest"])
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(IntegrityError, match=layer["digest"]):
        await bring(store, at(f"{upstream.address}/wrong-{size}:v1"), list_as="a.example/wrong:v1")
    assert store.packages() == []
    assert store.find(Digest.parse(layer["digest"])) is None
    assert store.usage().partial_blobs == 0
    kept = [
        path for path in store.directory.parent.rglob("*") if path.is_file() and path.stat().st_size >= size
    ]
    assert [path for path in kept if path.name != "reserve" and "index.db" not in path.name] == []

    file.write_bytes(data)  # mended
    brought = await bring(store, at(f"{upstream.address}/wrong-{size}:v1"))
    assert stored_bytes(store, brought.package)[layer["digest"]] == data


async def test_indexes_that_share_manifests_arrive_in_an_order_that_registries_take(
    downstream: RunningRegistry, store: Store, tmp_path: Path
) -> None:
    layout = ImageLayout(tmp_path / "layout")
    image = layout.image([layout.layer(20_000)])
    inner = layout.index([image])
    outer = layout.tag(layout.index([image, inner | {"mediaType": OCI_INDEX}]), "v1")
    brought = await bring(store, layout_source(tmp_path / "layout", "v1"))
    await hand_out(store, brought.package, to(f"{downstream.address}/shared:v1"))
    async with closing(at(f"{downstream.address}/shared:v1")) as source:
        assert await read_package(source) == layout_package(tmp_path / "layout", outer["digest"])


async def test_a_larger_image_in_layers(
    upstream: RunningRegistry, downstream: RunningRegistry, store: Store, tmp_path: Path
) -> None:
    digest = build_image(tmp_path / "image", 24, layers=5)
    skopeo_push(tmp_path / "image", "v1", f"{upstream.address}/larger:v1")
    coming = Progress()
    brought = await bring(store, at(f"{upstream.address}/larger:v1"), coming)
    assert coming.done_bytes == coming.total_bytes > 20e6
    chunks = RegistryOptions(chunk_bytes=1 << 20, environment={"HOME": "/nonexistent"})
    going = Progress()
    await hand_out(store, brought.package, to(f"{downstream.address}/larger:v1", chunks), going)
    assert going.done_bytes == going.total_bytes == coming.total_bytes
    skopeo_pull(f"{downstream.address}/larger:v1", tmp_path / "pulled", "v1")
    assert layout_package(tmp_path / "pulled", digest) == layout_package(tmp_path / "image", digest)
