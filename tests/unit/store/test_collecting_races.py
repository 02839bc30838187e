"""Packages are brought, pushed, read, renamed and removed, and what is left of them collected, all at once:
whatever is listed is whole at every moment.
"""

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from peat_sidecar.errors import NotFound
from peat_sidecar.ids import BlobHash
from peat_sidecar.store import Store
from peat_sidecar.transfer import remove_package
from tests.support.nodes import content, sha256_of
from tests.support.power_loss import QuickDisk
from tests.support.stored_packages import bring, image_of

LAYERS = [bytes([number]) * 50 for number in range(4)]
NAMES = ("one", "two", "three")
STEPS = 30


@pytest.mark.parametrize("seed", range(2))
def test_what_is_listed_is_whole(tmp_path: Path, seed: int) -> None:
    with Store.open(tmp_path, disk=QuickDisk()) as store:
        works = (_bring, _bring, _push, _read, _rename, _remove, _collect)
        threads = [_Worker(store, work, seed * 100 + number) for number, work in enumerate(works)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert [thread.failure for thread in threads if thread.failure is not None] == []
        for package in store.packages():
            _require_whole(store, package.reference or "")
        for package in store.packages():
            with suppress(NotFound):
                remove_package(store, package.collection)
        _collect(store, random.Random(seed))
        assert store.usage().blobs == 0


class _HookedDisk(QuickDisk):
    """Calls something before the first name is removed, and after something is on disk."""

    before_unlink: Callable[[], None] | None = None
    after_sync: Callable[[], None] | None = None

    def unlink(self, path: Path) -> None:
        if "blobs" in path.parts and self.before_unlink is not None:
            hook, self.before_unlink = self.before_unlink, None
            hook()
        super().unlink(path)

    def sync_folder(self, path: Path) -> None:
        super().sync_folder(path)
        if self.after_sync is not None:
            self.after_sync()


def test_a_package_that_is_listed_while_its_blobs_go_is_refused(tmp_path: Path) -> None:
    disk = _HookedDisk()
    with Store.open(tmp_path, disk=disk) as store:
        package = bring(store, "one", LAYERS[0])
        refused = threading.Event()

        def list_again() -> None:
            try:
                store.add_package(package)
            except NotFound:
                refused.set()

        thread = threading.Thread(target=list_again)

        def begin() -> None:
            thread.start()
            thread.join(0.3)  # it waits for the lock, and would be through by now without

        disk.before_unlink = begin
        remove_package(store, "one")
        thread.join(10)
        assert refused.is_set()
        assert store.package("one") is None


def test_what_is_put_for_a_package_is_held_until_it_is_listed(tmp_path: Path) -> None:
    disk = _HookedDisk()
    with Store.open(tmp_path, disk=disk) as store:
        disk.after_sync = lambda: _discard_all(store)
        bring(store, "one", LAYERS[0])
        disk.after_sync = None
        _require_whole(store, "one")


def test_a_file_that_is_to_stay_is_held_until_it_is_marked(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(LAYERS[0])
    with Store.open(tmp_path / "store", disk=QuickDisk()) as store, file.open("rb") as opened:
        store.subscribe(BlobHash(blake3(LAYERS[0]).digest()), lambda size, fresh: _discard_all(store))
        info = store.import_file(opened.fileno(), keep=True)
        _discard_all(store)
        assert content(store, info.hash) == LAYERS[0]


def _discard_all(store: Store) -> None:
    store.discard(each.hash for each in store.orphans(-1))


class _Worker(threading.Thread):
    def __init__(self, store: Store, work: Callable[[Store, random.Random], None], seed: int) -> None:
        super().__init__()
        self._store = store
        self._work = work
        self._random = random.Random(seed)
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            for _ in range(STEPS):
                self._work(self._store, self._random)
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.failure = error


def _some(chance: random.Random) -> list[bytes]:
    return chance.sample(LAYERS, chance.randint(1, 2))


def _bring(store: Store, chance: random.Random) -> None:
    bring(store, chance.choice(NAMES), *_some(chance))


def _push(store: Store, chance: random.Random) -> None:
    """Blobs that are claimed as they come, and released when the manifest has been taken."""
    name, layers = chance.choice(NAMES), _some(chance)
    _, blobs = image_of(*layers)
    for data in blobs:
        upload = store.uploads.begin(name)
        upload.append([data])
        store.uploads.finish(upload, sha256_of(data))
    for data in blobs:
        assert store.find(sha256_of(data)) is not None
    bring(store, name, *layers)
    for data in blobs:
        store.uploads.release(name, sha256_of(data))


def _read(store: Store, chance: random.Random) -> None:
    _require_whole(store, chance.choice(NAMES))


def _require_whole(store: Store, name: str) -> None:
    """Under the lock under which names change: all that a listed package needs is there at every moment."""
    with store._shelf.naming:
        package = store.package(name)
        if package is None:
            return
        companions = store.companions(package.collection)
        assert len(companions) == 4
        for each in (*package.blobs, *companions):
            assert store.find(each) is not None
    with suppress(NotFound):  # removed since
        assert len(content(store, package.collection)) % 32 == 0


def _rename(store: Store, chance: random.Random) -> None:
    package = store.package(chance.choice(NAMES))
    if package is not None:
        with suppress(NotFound):
            store.add_package(replace(package, reference=chance.choice(NAMES)))


def _remove(store: Store, chance: random.Random) -> None:
    with suppress(NotFound):
        remove_package(store, chance.choice(NAMES))


def _collect(store: Store, chance: random.Random) -> None:
    _discard_all(store)
