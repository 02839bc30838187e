"""The collection of a stored package: bytes that follow from the package alone."""

from pathlib import Path

import pytest

from peat_sidecar.errors import NotFound
from peat_sidecar.packages import Package, assemble, collection_names, layout_files
from peat_sidecar.store import Store
from peat_sidecar.transfer import remove_package
from peat_sidecar.transfer.collections import store_collection
from peat_sidecar.wire import parse_collection, parse_hash_sequence
from tests.support.manifests import Json, encoded, image
from tests.support.manifests import Shelf as Documents
from tests.support.nodes import content, put_package
from tests.support.stored_packages import bring, list_again


def package_of(document: Json) -> Package:
    documents = Documents()
    return assemble(documents.root(document), documents.documents)


def texts(document: Json) -> list[bytes]:
    """The blobs that the manifest names: their bytes are their names."""
    return [b"config of one two", b"one", b"two"]


def test_the_entries_are_the_layout(tmp_path: Path) -> None:
    document = image("one", "two")
    package = package_of(document)
    with Store.open(tmp_path) as store:
        for data in (encoded(document), *texts(document)):
            store.put(data)
        collection = store_collection(store, package)
        sequence = content(store, collection)
        hashes = parse_hash_sequence(sequence)
        parsed = parse_collection(content(store, hashes[0]), sequence)
        assert parsed.names == collection_names(package)
        found = [content(store, each) for each in parsed.hashes]
        assert found == [data for _, data in layout_files(package)] + [encoded(document), *texts(document)]
        assert store_collection(store, package) == collection


def test_it_is_the_same_wherever_it_is_made(tmp_path: Path) -> None:
    document = image("one", "two")
    with Store.open(tmp_path / "by hand") as other:
        by_hand = put_package(other, encoded(document), texts(document)).collection
    with Store.open(tmp_path / "store") as store:
        for data in (*reversed(texts(document)), b"something else", encoded(document)):
            store.put(data)
        assert store_collection(store, package_of(document)) == by_hand


def test_a_missing_blob_is_named(tmp_path: Path) -> None:
    document = image("one", "two")
    package = package_of(document)
    with Store.open(tmp_path) as store:
        for data in (encoded(document), *texts(document)[:-1]):
            store.put(data)
        with pytest.raises(NotFound, match=str(package.blobs[-1].digest)):
            store_collection(store, package)
        assert len(store.blobs()) == 3


def test_what_somebody_brought_does_not_become_what_may_go(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        own = bring(store, "own:v1", b"one")
        list_again(store, own, "pulled:v1", own=False)
        assert (store.own.all(), store.cached.all()) == ({own.root.digest}, set())
        remove_package(store, own.root.digest)
        assert store.own.all() == set()
