"""Any JSON is read or refused in one way; a package's collection is found again by a getter, and only it."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.manifests import OCI_INDEX, OCI_MANIFEST, Json, Shelf, descriptor, image, index, platform

from peat_sidecar.errors import IntegrityError, NotFound, SourceError
from peat_sidecar.packages import (
    Package,
    Platform,
    Walk,
    assemble,
    check_collection,
    collection_names,
    layout_index,
    parse_collection_names,
    parse_layout_index,
    parse_manifest,
)

FIELDS = [
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "digest",
    "size",
    "data",
    "platform",
    "urls",
]
texts = st.one_of(st.text(max_size=8), st.sampled_from([OCI_MANIFEST, OCI_INDEX, "sha256:" + "a" * 64]))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.just(2), texts),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(FIELDS), texts), inner, max_size=6),
    ),
    max_leaves=20,
)

PLATFORMS = ["linux/amd64", "linux/arm64", "multi/amd64"]
layers = st.lists(st.sampled_from("abcdef"), max_size=4)
images = st.tuples(layers, st.sampled_from(PLATFORMS))
trees = st.recursive(images, lambda inner: st.lists(inner, max_size=4), max_leaves=8)


def planted(shelf: Shelf, tree: Any) -> Json:
    """The documents of a tree of indexes and images."""
    if isinstance(tree, list):
        return shelf.put(index(*(planted(shelf, each) for each in tree)))
    names, text = tree
    return shelf.put(image(*names), **platform(text))


def gotten(shelf: Shelf, raw_index: bytes, names: tuple[str, ...]) -> Package:
    """What a getter makes of a collection."""
    digests = set(parse_collection_names(names))
    walk = Walk(parse_layout_index(raw_index))
    while wanted := walk.wanted():
        for each in wanted:
            if each.digest in digests:
                walk.feed(each, shelf.documents[each.digest])
            else:
                walk.absent(each)
    package = walk.package()
    check_collection(names, package)
    return package


@given(values)
def test_any_json(value: Any) -> None:
    raw = json.dumps(value).encode()
    for media_type in (None, OCI_MANIFEST, OCI_INDEX):
        with contextlib.suppress(SourceError):
            parse_manifest(raw, media_type)


@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    with pytest.raises(SourceError):
        parse_manifest(raw, None)
    with pytest.raises(IntegrityError):
        parse_layout_index(raw)


@given(trees, st.one_of(st.none(), st.sampled_from(PLATFORMS)), st.data())
def test_collections(tree: Any, chosen: str | None, data: st.DataObject) -> None:
    shelf = Shelf()
    root = descriptor(planted(shelf, tree))
    try:
        package = assemble(root, shelf.documents, [Platform.parse(chosen)] if chosen else None)
    except NotFound:
        return
    names = collection_names(package)
    assert len(set(names)) == len(names)
    # one manifest may be named for two platforms: what it is said to be for is not what it is
    got = gotten(shelf, layout_index(root), names)
    assert [blob.digest for blob in got.blobs] == [blob.digest for blob in package.blobs]
    position = data.draw(st.integers(0, len(names) - 1))
    other = names[:position] + names[position + 1 :]
    with pytest.raises(IntegrityError):
        check_collection(other, package)
    # Without one entry it is either no package's collection or that of a sparser index.
    with contextlib.suppress(IntegrityError, NotFound):
        assert collection_names(gotten(shelf, layout_index(root), other)) == other
