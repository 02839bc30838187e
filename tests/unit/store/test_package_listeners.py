"""Who listens is told of each change of the packages, after it."""

from collections.abc import Sequence

from peat_sidecar.ids import BlobHash
from peat_sidecar.store import Store, StoredPackage
from tests.unit.store.test_recovery import add_package


def test_changes_are_told(store: Store) -> None:
    told: list[tuple[list[str | None], list[str | None]]] = []

    def listener(added: Sequence[StoredPackage], removed: Sequence[StoredPackage]) -> None:
        for package in added:
            assert store.package(package.root.digest) is not None
        told.append(([each.reference for each in added], [each.reference for each in removed]))

    end = store.on_packages(listener)
    first = add_package(store, "registry.example/app:v1")
    assert told == [(["registry.example/app:v1"], [])]
    store.add_package(first)
    assert told[1:] == [(["registry.example/app:v1"], ["registry.example/app:v1"])]
    store.remove_package("registry.example/app:v1")
    assert told[2:] == [([], ["registry.example/app:v1"])]
    store.remove_package(BlobHash(b"\0" * 32))
    assert len(told) == 3
    end()
    store.add_package(first)
    assert len(told) == 3
