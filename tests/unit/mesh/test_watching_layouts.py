"""The watcher of a layout in a real folder, with the kernel's own events: no turn is given here."""

import json
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import Digest
from peat_sidecar.mesh.watching_layouts import LayoutWatcher
from peat_sidecar.store import Store
from peat_sidecar.transfer import Importer, Transfers
from tests.support.images import ImageLayout, build_image, build_zoo
from tests.support.nodes import content, until
from tests.support.packages_by_hand import layout_package
from tests.support.watching import Clock, Ear, Turns, running


@dataclass
class Quay:
    """A folder, and what watches it."""

    folder: Path
    store: Store
    transfers: Transfers
    ear: Ear = field(default_factory=Ear)

    def watcher(self, **options: object) -> LayoutWatcher:
        return LayoutWatcher(
            self.folder,
            self.ear,
            Importer(self.store),
            self.transfers,
            self.store,
            **options,  # type: ignore[arg-type]
        )

    def image(self, tag: str, folder: Path | None = None, *, skip_files: int = 0) -> str:
        return build_image(folder or self.folder, 0.1, 2, tag=tag, skip_files=skip_files)

    def here(self, name: str) -> str:
        found = self.store.package(name)
        return str(found.root.digest) if found else ""


@pytest.fixture
async def quay(tmp_path: Path) -> AsyncIterator[Quay]:
    with Store.open(tmp_path / "store") as store:
        transfers = Transfers()
        yield Quay(tmp_path / "Ship's Layout", store, transfers)
        await transfers.close()


async def test_what_is_there_and_what_comes(quay: Quay) -> None:
    first = quay.image("v1")
    watcher = quay.watcher()
    async with running(watcher):
        await until(lambda: quay.here("layout/ship-s-layout:v1") == first)
        package = quay.ear.packages[0]
        assert (package.registry, package.package) == ("layout", "ship-s-layout")
        assert (package.version, package.pull_status) == ("v1", 3)
        assert package.listed_as == package.reference == "layout/ship-s-layout:v1"
        second = quay.image("v2", skip_files=40)
        await until(lambda: quay.here("layout/ship-s-layout:v2") == second)
        moved = quay.image("v1", skip_files=80)
        await until(lambda: quay.here("layout/ship-s-layout:v1") == moved)
        await until(lambda: watcher.status == "2 packages")


async def test_in_place(quay: Quay) -> None:
    digest = quay.image("v1")
    async with running(quay.watcher()):
        await until(lambda: quay.here("layout/ship-s-layout:v1") == digest)
    inodes = {path.stat().st_ino for path in (quay.folder / "blobs" / "sha256").iterdir()}
    for name, data in layout_package(quay.folder, digest).items():
        blob = quay.store.find(Digest.parse(name))
        assert blob is not None
        assert content(quay.store, blob.hash) == data
        if len(data) > 20_000:
            file = quay.store.directory / Digest.parse(name).path
            # A hard link, unless the file system has reflinks.
            assert blob.linked == (file.stat().st_ino in inodes)
    assert json.loads((quay.folder / "index.json").read_bytes())["manifests"]


async def test_a_package_that_vanishes(quay: Quay) -> None:
    quay.image("v1")
    quay.image("v2", skip_files=40)
    async with running(quay.watcher()):
        await until(lambda: len(quay.ear.told) > 0 and len(quay.ear.packages) == 2)
        index = json.loads((quay.folder / "index.json").read_bytes())
        index["manifests"] = index["manifests"][1:]
        (quay.folder / "next").write_text(json.dumps(index))
        os.replace(quay.folder / "next", quay.folder / "index.json")
        await until(lambda: quay.ear.references == ["layout/ship-s-layout:v2"])


async def test_a_folder_that_comes_goes_and_comes_back(quay: Quay, tmp_path: Path) -> None:
    quay.folder = tmp_path / "mnt" / "disk" / "layout"
    watcher = quay.watcher()
    with capture_logs() as logs:
        async with running(watcher):
            await until(lambda: "is not there" in watcher.status)
            quay.folder.mkdir(parents=True)
            await until(lambda: "no OCI image layout, or not yet" in watcher.status)
            quay.image("v1")
            await until(lambda: watcher.status == "1 package")
            away = tmp_path / "away"
            shutil.move(tmp_path / "mnt" / "disk", away)
            await until(lambda: "is not there" in watcher.status)
            assert "1 package, as known before" in watcher.status
            assert quay.ear.references == ["layout/layout:v1"]
            digest = quay.image("v2", away / "layout", skip_files=40)
            shutil.move(away, tmp_path / "mnt" / "disk")
            await until(lambda: quay.here("layout/layout:v2") == digest)
            shutil.rmtree(quay.folder)
            await until(lambda: "is not there" in watcher.status)
            digest = quay.image("v3", skip_files=80)
            await until(lambda: quay.here("layout/layout:v3") == digest)
            await until(lambda: watcher.status == "1 package")
    events = [line["event"] for line in logs if line["event"].startswith("a source is watched")]
    assert len(events) in (3, 4)  # there may be a look between removal and return, or not


async def test_a_link_that_is_turned_to_another_layout(quay: Quay, tmp_path: Path) -> None:
    one, other = quay.image("v1", tmp_path / "one"), quay.image("v1", tmp_path / "other", skip_files=40)
    quay.folder.symlink_to(tmp_path / "one")
    async with running(quay.watcher()):
        await until(lambda: quay.here("layout/ship-s-layout:v1") == one)
        (tmp_path / "turned").symlink_to(tmp_path / "other")
        os.replace(tmp_path / "turned", quay.folder)
        await until(lambda: quay.here("layout/ship-s-layout:v1") == other)


async def test_a_layout_that_is_being_written(quay: Quay, tmp_path: Path) -> None:
    digest = quay.image("v1", tmp_path / "whole")
    whole = (tmp_path / "whole" / "index.json").read_bytes()
    quay.folder.mkdir()
    watcher = quay.watcher()
    async with running(watcher):
        await until(lambda: "not yet" in watcher.status)
        (quay.folder / "oci-layout").write_bytes(b'{"imageLayoutVersion"')
        await until(lambda: "is no OCI image layout of version 1" in watcher.status)
        shutil.copy(tmp_path / "whole" / "oci-layout", quay.folder)
        await until(lambda: "has no" in watcher.status or "index.json does not exist" in watcher.status)
        with (quay.folder / "index.json").open("wb") as file:
            file.write(whole[:50])
            file.flush()
            await until(lambda: "index.json of" in watcher.status)
            assert quay.ear.told == []
            file.write(whole[50:])
        await until(lambda: "1 without content" in watcher.status)  # listed, and its blobs are still to come
        shutil.copytree(tmp_path / "whole" / "blobs", quay.folder / "blobs")
        await until(lambda: quay.here("layout/ship-s-layout:v1") == digest)
        await until(lambda: watcher.status == "1 package")


async def test_a_truncated_list_takes_nothing_away(quay: Quay) -> None:
    quay.image("v1")
    watcher = quay.watcher()
    async with running(watcher):
        await until(lambda: watcher.status == "1 package")
        whole = (quay.folder / "index.json").read_bytes()
        for bad in (b"", whole[:-2], b"[]", b'{"schemaVersion": 2, "manifests": "none"}', b"[" * 100_000):
            (quay.folder / "index.json").write_bytes(bad)
            await until(lambda: "1 package, as known before" in watcher.status)
            (quay.folder / "index.json").write_bytes(whole)
            await until(lambda: watcher.status == "1 package")
        assert {told[1] for told in quay.ear.told} == {quay.ear.packages}


async def test_every_kind_of_entry(quay: Quay) -> None:
    zoo = build_zoo(quay.folder, 30_000)
    layout = ImageLayout(quay.folder)
    layout.tag(zoo["image"] | {"annotations": {"io.containerd.image.name": "r.example/team/app:v1"}}, "v1")
    layout.tag(zoo["docker"], "r.example/team/other:v2")
    layout.tag(zoo["no-layers"] | {"annotations": {"note": "unnamed"}})
    layout.tag(zoo["zarf"], "Not a Tag!")
    watcher = quay.watcher()
    async with running(watcher):
        await until(lambda: watcher.status.startswith("13 packages") and "on the way" not in watcher.status)
        assert "without content" not in watcher.status
        names = quay.ear.references
        assert "r.example/team/app:v1" in names
        assert "r.example/team/other:v2" in names
        for kind in ("no-layers", "zarf"):  # by their digests, for want of a tag
            assert f"layout/ship-s-layout:{zoo[kind]['digest'][7:19]}" in names
        assert not any(zoo[kind]["digest"][7:19] in str(names) for kind in ("sbom", "signature"))
        roots = {str(each.root.digest) for each in quay.store.packages()}
        assert {str(zoo["sbom"]["digest"]), str(zoo["signature"]["digest"])} <= roots  # with their subject


async def test_what_is_here_is_not_imported_again(quay: Quay) -> None:
    quay.image("v1")
    watcher = quay.watcher()
    async with running(watcher):
        await until(lambda: watcher.status == "1 package")
    count = len(quay.transfers.all())
    again = quay.watcher()
    async with running(again):
        await until(lambda: again.status == "1 package")
    assert len(quay.transfers.all()) == count


async def test_wrong_blobs_wait_longer_each_time(quay: Quay) -> None:
    digest = quay.image("v1")
    layer = max((quay.folder / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = layer.read_bytes()
    layer.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    turns, clock = Turns(), Clock()
    watcher = quay.watcher(sleep=turns.sleep, clock=clock)
    async with running(watcher):
        await until(lambda: "1 without content" in watcher.status)
        for _ in range(100):
            clock.seconds += 1
            await turns.next()
            await until(lambda: not quay.transfers.running())
        assert 4 <= len(quay.transfers.all()) <= 9
        assert all(0.1 <= pause <= 60 for pause in turns.pauses)
        layer.write_bytes(data)
        clock.seconds += 1000
        await turns.next()
        await until(lambda: quay.here("layout/ship-s-layout:v1") == digest)


async def test_neighbours_are_none_of_our_business(quay: Quay, tmp_path: Path) -> None:
    quay.image("v1")
    watcher = quay.watcher()
    async with running(watcher):
        await until(lambda: watcher.status == "1 package")
        told = len(quay.ear.told)
        for number in range(20):
            (tmp_path / f"neighbour-{number}").write_text("x")
        digest = quay.image("v2", skip_files=40)
        await until(lambda: quay.here("layout/ship-s-layout:v2") == digest)
        assert len(quay.ear.told) - told <= 12  # the image's own files, in bursts, and its import


async def test_where_the_kernel_tells_nothing(quay: Quay, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "inotify watch limit reached")

    monkeypatch.setattr("peat_sidecar.mesh.folder_events.RustNotify", full)
    monkeypatch.setattr("peat_sidecar.mesh.folder_events._WITHOUT_EVENTS_SECONDS", 0.01)
    watcher = quay.watcher()
    with capture_logs() as logs:
        async with running(watcher):
            digest = quay.image("v1")
            await until(lambda: quay.here("layout/ship-s-layout:v1") == digest)
    assert len([line for line in logs if "does not tell of changes" in line["event"]]) == 1


def test_the_store_itself_is_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store, pytest.raises(ConfigError, match="is the store of this daemon"):
        LayoutWatcher(store.directory, Ear(), Importer(store), None, store)  # type: ignore[arg-type]
