"""What nothing needs is deleted, and nothing else."""

import os
import time
from pathlib import Path

import pytest

from peat_sidecar.errors import Refused
from peat_sidecar.store import Store
from peat_sidecar.transfer import remove_package
from tests.support.nodes import content, sha256_of
from tests.support.real_files import real_bytes
from tests.support.stored_packages import bring, image_of
from tests.support.verified_pieces import tree_of

BASE, OWN, OTHER = real_bytes(40_000), b"only one has it", b"only the other has it"


def test_a_removal_takes_what_only_that_package_held(store: Store) -> None:
    one, other = bring(store, "one:v1", BASE, OWN), bring(store, "other:v1", BASE, OTHER)
    before = store.usage().blobs
    removed = remove_package(store, "one:v1")
    # its layer and manifest, its collection, that one's names and its index.json; not the oci-layout of all
    assert removed.deleted_blobs == 5
    assert store.usage().blobs == before - 5
    assert store.find(sha256_of(OWN)) is None
    assert store.find(one.collection) is None
    for name in store.companions(other.collection):
        assert content(store, name)
    remove_package(store, "other:v1")
    assert store.usage().blobs == 0


def test_one_content_under_two_names_goes_with_the_second(store: Store) -> None:
    bring(store, "one:v1", BASE)
    bring(store, "one:v2", BASE)
    assert remove_package(store, "one:v1").deleted_blobs == 0
    bring(store, "one:v2", OWN)  # the name moves on, and its content stays for the orphans
    assert {each.digest for each in store.orphans(0)} >= {sha256_of(BASE)}
    store.discard(each.hash for each in store.orphans(0))
    assert remove_package(store, "one:v2").deleted_blobs == 7
    assert store.usage().blobs == 0


def test_what_a_transfer_is_at_work_with_stays(store: Store) -> None:
    bring(store, "one:v1", BASE)
    with store.hold([sha256_of(BASE)]):
        remove_package(store, "one:v1")
        assert store.usage().blobs == 1
        assert store.orphans(0) == []
        info = store.find(sha256_of(BASE))
        assert info is not None
        with pytest.raises(Refused, match="a transfer is at work"):
            store.delete(info.hash)
    assert [each.digest for each in store.orphans(0)] == [sha256_of(BASE)]


def test_blobs_of_a_collection_are_not_deleted_alone(store: Store) -> None:
    package = bring(store, "one:v1", BASE)
    for name in store.companions(package.collection):
        with pytest.raises(Refused, match="belongs to the collection"):
            store.delete(name)


def test_a_package_whose_collection_is_not_whole_is_not_listed(store: Store) -> None:
    package = bring(store, "one:v1", BASE)
    with store.hold(package.blobs):
        remove_package(store, "one:v1")
    _, blobs = image_of(BASE)
    assert {each.digest for each in store.orphans(0)} == {sha256_of(each) for each in blobs}


def test_what_was_taken_in_by_itself_stays(store: Store, data_dir: Path) -> None:
    info = store.put(OWN)
    store.kept.add(info.proven_digest)
    assert store.orphans(0) == []
    assert store.kept_bytes() == len(OWN)
    store.close()
    with Store.open(data_dir) as again:
        assert again.orphans(0) == []
        again.delete(info.hash)
        assert again.put(OWN).hash == info.hash
        assert [each.hash for each in again.orphans(0)] == [info.hash]


def test_orphans_are_old_and_wanted_by_nobody(store: Store) -> None:
    one, other = store.put(OWN), store.put(OTHER)
    assert store.orphans(3600) == []
    assert [each.hash for each in store.orphans(0, {one.hash})] == [other.hash]
    store.uploads.claim("app", other.proven_digest)
    assert [each.hash for each in store.orphans(0)] == [one.hash]


def test_parts_that_nobody_goes_on_with(store: Store, data_dir: Path) -> None:
    hash, _ = tree_of(BASE)
    partial = store.partial(hash, len(BASE))
    assert store.old_parts(0) == []
    partial.close()
    assert [each.hash for each in store.old_parts(0)] == [hash]
    assert store.old_parts(3600) == []
    file = data_dir / "partial" / f"{hash}.data"
    os.utime(file, (0, time.time() - 7200))
    assert [each.hash for each in store.old_parts(3600)] == [hash]
    store.delete_part(hash)
    assert store.usage().partial_blobs == 0
    assert not file.exists()


def test_who_reads_is_known_for_a_moment_longer(store: Store) -> None:
    package = bring(store, "one:v1", BASE)
    with store.reader(package.collection):
        assert not store.in_use()
    with store.reader(package.collection, hand_out=True):
        assert package.collection in store.in_use()
    assert package.collection in store.in_use()


def test_downloads_that_nobody_goes_on_with(store: Store, data_dir: Path) -> None:
    digest = sha256_of(BASE)
    with store.writer(len(BASE), expected=digest, resume=True) as writer:
        writer.write(BASE[:20_000])
        writer.flush()
        assert store.expire_downloads(0) == []
    assert store.expire_downloads(3600) == []
    assert store.old_downloads(0) == store.expire_downloads(0) == [20_000]
    assert list((data_dir / "partial").iterdir()) == []
