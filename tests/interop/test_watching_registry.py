"""The watcher of a registry on a real docker-registry, with skopeo as whoever pushes to it."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peat_sidecar.confined import Directory
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.mesh.watching_registry import RegistryWatcher
from peat_sidecar.oci import Catalogue, Credentials, LayoutSource, RegistryOptions, RegistryTarget
from peat_sidecar.store import Store
from peat_sidecar.transfer import Importer, Transfers
from tests.support.images import build_image, build_zoo
from tests.support.nodes import bounded, content, until
from tests.support.packages_by_hand import copy_package, layout_package
from tests.support.registry import PASSWORD, USER, RunningRegistry, registry, skopeo_push
from tests.support.watching import Ear, Turns, running

QUICK = RegistryOptions(backoff_seconds=0.05, environment={"HOME": "/nonexistent"})
Zoo = tuple[Path, dict[str, Any]]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    directory = tmp_path_factory.mktemp("zoo")
    return directory, build_zoo(directory, 60_000)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningRegistry]:
    with registry(tmp_path / "registry") as started:
        yield started


def delete(hub: RunningRegistry, repository: str, digest: str) -> None:
    request = urllib.request.Request(
        f"http://{hub.address}/v2/{repository}/manifests/{digest}", method="DELETE"
    )
    urllib.request.urlopen(request, timeout=10).close()


async def test_lists_in_pages(zoo: Zoo, hub: RunningRegistry) -> None:
    """More repositories than one page has; the registry gives all tags at once whatever it is asked."""
    skopeo_push(zoo[0], "no-layers", f"{hub.address}/fleet/app-000:v1")
    first = hub.storage / "docker/registry/v2/repositories/fleet/app-000"
    for number in range(1, 130):  # a push takes a tenth of a second; a link to its folder does as well
        (first.parent / f"app-{number:03}").mkdir()
        for part in first.iterdir():
            (first.parent / f"app-{number:03}" / part.name).symlink_to(part)
    catalogue = Catalogue(hub.address, QUICK)
    found = await bounded(catalogue.repositories())
    assert found == [f"fleet/app-{number:03}" for number in range(130)]
    assert await bounded(catalogue.tags("fleet/app-000")) == ["v1"]
    assert await bounded(catalogue.tags("fleet/none")) == []
    digest = Digest.parse(zoo[1]["no-layers"]["digest"])
    assert await bounded(catalogue.digest("fleet/app-000", "v1")) == digest
    await catalogue.close()


async def test_pushed_moved_and_deleted(zoo: Zoo, hub: RunningRegistry, tmp_path: Path) -> None:
    turns, ear = Turns(), Ear()
    with Store.open(tmp_path / "store") as store:
        transfers = Transfers()
        watcher = RegistryWatcher(
            f"{hub.address}/team/*:v*", ear, Importer(store), transfers, QUICK, store, sleep=turns.sleep
        )

        def here(name: str) -> str:
            found = store.package(f"{hub.address}/{name}")
            return str(found.root.digest) if found else ""

        async with running(watcher):
            await turns.settled()
            assert ear.packages == ()  # an empty registry is known to be empty
            skopeo_push(zoo[0], "image", f"{hub.address}/team/app:v1")
            skopeo_push(zoo[0], "multi", f"{hub.address}/team/many:v1")
            skopeo_push(zoo[0], "zarf", f"{hub.address}/other/app:v1")
            await turns.next()
            await until(lambda: watcher.status == "2 packages")
            assert ear.references == [f"{hub.address}/team/app:v1", f"{hub.address}/team/many:v1"]
            for name, kind in (("team/app:v1", "image"), ("team/many:v1", "multi")):
                assert here(name) == zoo[1][kind]["digest"]
            for digest, data in layout_package(zoo[0], zoo[1]["multi"]["digest"]).items():
                blob = store.find(Digest.parse(digest))
                assert blob is not None
                assert content(store, blob.hash) == data

            moved = build_image(tmp_path / "next", 0.2, 2, tag="v1", skip_files=50)
            skopeo_push(tmp_path / "next", "v1", f"{hub.address}/team/app:v1")
            await turns.next()
            await until(lambda: here("team/app:v1") == moved)

            # docker-registry goes on listing a repository that was emptied, and says 404 of its tags.
            delete(hub, "team/app", moved)
            delete(hub, "team/many", str(zoo[1]["multi"]["digest"]))
            await turns.next()
            assert ear.references == []
            assert watcher.status == "0 packages"
        await transfers.close()


async def test_with_a_password(zoo: Zoo, tmp_path: Path) -> None:
    with registry(tmp_path / "closed", password=True) as hub, Store.open(tmp_path / "store") as store:
        skopeo_push(zoo[0], "image", f"{hub.address}/team/app:v1", "--dest-creds", f"{USER}:{PASSWORD}")
        turns, ear, transfers = Turns(), Ear(), Transfers()
        known = RegistryOptions(credentials=Credentials(USER, PASSWORD), environment={"HOME": "/nonexistent"})
        stranger, friend = (
            RegistryWatcher(
                f"{hub.address}/*", ear, Importer(store), transfers, options, store, sleep=turns.sleep
            )
            for options in (QUICK, known)
        )
        async with running(stranger):
            await turns.settled()
            assert ear.told == []
            assert "wants a user and a password" in stranger.status
            assert "name the repository itself" in stranger.status
        async with running(friend):
            await until(lambda: friend.status == "1 package")
        await transfers.close()


async def test_referrers_come_along(zoo: Zoo, hub: RunningRegistry, tmp_path: Path) -> None:
    """docker-registry has no API for them, so they are found by the tag made of the digest."""
    digest = str(zoo[1]["image"]["digest"])
    tag = digest.replace(":", "-")
    skopeo_push(zoo[0], "image", f"{hub.address}/team/app:v1")
    # skopeo 1.9 does not copy this index: its manifests have no platform.
    source = LayoutSource(Directory.open(zoo[0]), tag)
    target = RegistryTarget(Reference.parse(f"{hub.address}/team/app:{tag}"), QUICK)
    await copy_package(source, target, tag)
    await source.close()
    await target.close()
    with Store.open(tmp_path / "store") as store:
        turns, ear, transfers = Turns(), Ear(), Transfers()
        watcher = RegistryWatcher(
            f"{hub.address}/team/app", ear, Importer(store), transfers, QUICK, store, sleep=turns.sleep
        )
        async with running(watcher):
            await until(lambda: watcher.status == "1 package")
            assert ear.references == [f"{hub.address}/team/app:v1"]
            roots = {str(each.root.digest) for each in store.packages()}
            assert roots == {digest, str(zoo[1]["signature"]["digest"])}
        await transfers.close()
