"""Bolt databases as they are written here and read there, torn, damaged and changing."""

import os
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.bolt_writer import PAGE_BYTES, ROOT, bolt_file, branch, file_of, leaf

from peat_sidecar.errors import SourceError
from peat_sidecar.oci.bolt import Bucket, read_bolt

KEYS = st.binary(min_size=1, max_size=40)
TREES = st.recursive(
    st.dictionaries(KEYS, st.binary(max_size=3000), max_size=5),
    lambda below: st.dictionaries(KEYS, st.binary(max_size=40) | below, max_size=5),
    max_leaves=8,
)


def tree_of(bucket: Bucket) -> dict[bytes, Any]:
    """All that is in a bucket."""
    return {
        bytes(key): tree_of(value) if isinstance(value, Bucket) else bytes(value)
        for key, value in bucket.items()
    }


def read(path: Path, data: bytes) -> dict[bytes, Any]:
    path.write_bytes(data)
    file = os.open(path, os.O_RDONLY)
    try:
        return read_bolt(file, "meta.db", tree_of)
    finally:
        os.close(file)


@settings(max_examples=150, deadline=None)
@given(tree=TREES, leaf_keys=st.sampled_from([None, 1, 2]))
def test_all_that_was_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[bytes, Any], leaf_keys: int | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "meta.db"
    assert read(path, bolt_file(tree, leaf_keys=leaf_keys)) == tree


def test_a_torn_meta_page_leaves_the_transaction_before(tmp_path: Path) -> None:
    data = bytearray(bolt_file({b"a": b"1"}))
    data[PAGE_BYTES + 16 + 40] ^= 1
    assert read(tmp_path / "meta.db", bytes(data)) == {b"a": b"1"}
    data[16 + 40] ^= 1
    with pytest.raises(SourceError, match="no bolt database"):
        read(tmp_path / "meta.db", bytes(data))


def test_a_write_in_the_middle_of_reading_is_noticed(tmp_path: Path) -> None:
    """What was read before is thrown away, and read again from the new pages."""
    path = tmp_path / "meta.db"
    path.write_bytes(bolt_file({b"a": b"old"}))
    file = os.open(path, os.O_RDONLY)
    seen: list[dict[bytes, Any]] = []

    def read_slowly(root: Bucket) -> dict[bytes, Any]:
        seen.append(tree_of(root))
        if len(seen) == 1:
            path.write_bytes(bolt_file({b"a": b"new"}, transaction=8))
        return seen[-1]

    assert read_bolt(file, "meta.db", read_slowly) == {b"a": b"new"}
    assert seen == [{b"a": b"old"}, {b"a": b"new"}]
    os.close(file)


def test_one_that_never_rests_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "meta.db"
    path.write_bytes(bolt_file({}))
    file = os.open(path, os.O_RDONLY)
    turns = iter(range(8, 1000))

    def write_again(root: Bucket) -> None:
        path.write_bytes(bolt_file({}, transaction=next(turns)))

    with pytest.raises(SourceError, match="try again later"):
        read_bolt(file, "meta.db", write_again)
    os.close(file)


def test_pages_in_a_circle(tmp_path: Path) -> None:
    """A branch that leads to itself."""
    data = bytearray(bolt_file({b"a": b"1", b"b": b"2"}, leaf_keys=1))
    data[3 * PAGE_BYTES + 16 + 8 : 3 * PAGE_BYTES + 32] = struct.pack("<Q", 3)
    with pytest.raises(SourceError, match=r"meta.db is damaged"):
        read(tmp_path / "meta.db", bytes(data))


def test_pages_that_are_led_to_again_and_again(tmp_path: Path) -> None:
    """Thirty nodes, each of which leads twice to the next: what would be read a thousand million times."""
    nodes = [branch([(b"a", page), (b"b", page)]) for page in range(ROOT + 1, ROOT + 30)]
    with pytest.raises(SourceError, match="in a circle, or overlap"):
        read(tmp_path / "meta.db", file_of([*nodes, leaf([(b"a", b"1")])]))


@pytest.mark.parametrize("data", [b"", b"\0" * 20_000, b"SQLite format 3" * 1000])
def test_what_is_no_database(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(SourceError, match="no bolt database"):
        read(tmp_path / "meta.db", data)


def test_every_cut(tmp_path: Path) -> None:
    """A file that ends early is an error, unless only what nobody needs is missing."""
    tree = {b"k%d" % number: b"v" * 300 for number in range(20)}
    whole = bolt_file(tree, leaf_keys=5)
    for end in range(0, len(whole), 97):
        try:
            assert read(tmp_path / "meta.db", whole[:end]) == tree
        except SourceError:
            continue
