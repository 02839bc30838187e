"""What a collection of a package holds, and what a getter makes of a peer's that holds something else."""

import json

import pytest

from peat_sidecar.errors import IntegrityError, NotFound
from peat_sidecar.packages import (
    LAYOUT_FILE,
    MANIFEST_MEDIA_TYPES,
    Descriptor,
    Package,
    Platform,
    Walk,
    assemble,
    check_collection,
    collection_names,
    layout_files,
    layout_index,
    parse_collection_names,
    parse_layout_index,
)
from tests.support.manifests import (
    OCI_MANIFEST,
    Shelf,
    digest_of,
    docker_image,
    entry,
    image,
    index,
    platform,
)

SHA = "9d3ef2c0327c34b7cec5c3e62f884ba5304eeac59ecf334306875db090495060"
ROOT_INDEX = (
    b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":'
    b'[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":1234}]}'
    % SHA.encode()
)


def family(platforms: list[str] | None = None) -> tuple[Shelf, Package]:
    """A package of two platforms, or of what was chosen of it."""
    shelf = Shelf()
    children = [shelf.put(image("base", text), **platform(text)) for text in ("linux/amd64", "linux/arm64")]
    children.append(shelf.put(docker_image()))
    root = shelf.root(index(*children, entry("gone", media_type=OCI_MANIFEST)))
    chosen = [Platform.parse(text) for text in platforms] if platforms else None
    return shelf, assemble(root, shelf.documents, chosen)


def as_getter(shelf: Shelf, raw_index: bytes, names: tuple[str, ...]) -> Package:
    """The steps of a getter."""
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


def test_the_fixed_bytes() -> None:
    root = parse_layout_index(ROOT_INDEX)
    assert (root.media_type, root.digest.hex, root.size) == (OCI_MANIFEST, SHA, 1234)
    rich = Descriptor(OCI_MANIFEST, root.digest, 1234, "x/y", Platform("a", "b"), ("u",), {"k": "v"}, b"data")
    assert layout_index(rich) == ROOT_INDEX
    assert LAYOUT_FILE == b'{"imageLayoutVersion":"1.0.0"}'


@pytest.mark.parametrize("media_type", MANIFEST_MEDIA_TYPES)
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_every_root(media_type: str, algorithm: str) -> None:
    root = Descriptor(media_type, digest_of(b"root", algorithm), 4 << 20)
    assert parse_layout_index(layout_index(root)) == root


@pytest.mark.parametrize("platforms", [None, ["linux/amd64"], ["linux/arm64"]])
def test_there_and_back(platforms: list[str] | None) -> None:
    shelf, package = family(platforms)
    names = collection_names(package)
    assert names[:2] == ("oci-layout", "index.json")
    assert [*parse_collection_names(names)] == [blob.digest for blob in package.blobs]
    files = dict(layout_files(package))
    assert list(files) == ["oci-layout", "index.json"]
    assert json.loads(files["index.json"])["manifests"][0]["digest"] == str(package.root.digest)
    got = as_getter(shelf, files["index.json"], names)
    assert (got.blobs, got.foreign) == (package.blobs, package.foreign)
    assert got.total_bytes == package.total_bytes
    check_collection(names, got, max_bytes=got.total_bytes)
    with pytest.raises(IntegrityError, match="were announced"):
        check_collection(names, got, max_bytes=got.total_bytes - 1)


def test_every_wrong_index_is_refused() -> None:
    for length in range(len(ROOT_INDEX)):
        with pytest.raises(IntegrityError):
            parse_layout_index(ROOT_INDEX[:length])
    for position, byte in enumerate(ROOT_INDEX):
        for other in b"\x00 0/Ax\xff":
            if other == byte:
                continue
            try:
                root = parse_layout_index(ROOT_INDEX[:position] + bytes([other]) + ROOT_INDEX[position + 1 :])
            except IntegrityError:
                continue
            assert (root.digest.hex, root.size) != (SHA, 1234)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"", b" "),
        (b"}]}", b"}]}\n"),
        (b'"size":1234', b'"size": 1234'),
        (b'"size":1234', b'"size":01234'),
        (b'"size":1234', b'"size":-1'),
        (b'"size":1234', b'"size":0'),
        (b'"size":1234', b'"size":99999999'),
        (b'"size":1234', b'"size":%s' % (b"9" * 400_000)),
        (b'"size":1234', '"size":١٢'.encode()),
        (b'"size":1234', b'"size":1234,"annotations":{"org.opencontainers.image.ref.name":"v1"}'),
        (b'"size":1234', b'"size":1234,"size":1234'),
        (b"image.manifest", b"image.config"),
        (b"sha256", b"sha512"),
        (b"sha256", b"md5"),
        (SHA.encode(), SHA.upper().encode()),
        (SHA.encode(), b"../../../etc/passwd"),
        (SHA.encode(), SHA.encode()[:-1]),
        (b"}]}", b"},{}]}"),
        (b'"schemaVersion":2', b'"schemaVersion":1'),
    ],
)
def test_wrong_indexes(old: bytes, new: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"index\.json of the collection"):
        parse_layout_index(ROOT_INDEX.replace(old, new, 1))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "image layout"),
        (["oci-layout"], "image layout"),
        (["index.json", "oci-layout"], "image layout"),
        (["oci-layout", "index.json", "a.txt"], "'a.txt'"),
        (["oci-layout", "index.json", f"blobs/sha256/../{SHA}"], "which no package has"),
        (["oci-layout", "index.json", f"blobs/sha256/{SHA}\n"], "which no package has"),
        (["oci-layout", "index.json", f"blobs/sha256/{SHA.upper()}"], "which no package has"),
        (["oci-layout", "index.json", f"blobs/sha512/{SHA}"], "which no package has"),
        (["oci-layout", "index.json", f"blobs/md5/{SHA}"], "which no package has"),
        (["oci-layout", "index.json", f"/blobs/sha256/{SHA}"], "which no package has"),
        (["oci-layout", "index.json", "index.json"], "which no package has"),
        (["oci-layout", "index.json", "x" * 1000], "'x{80}'"),
        (["oci-layout", "index.json", *[f"blobs/sha256/{SHA}"] * 2], "twice"),
        (["oci-layout", "index.json", *["x"] * 100_001], "more than a package may"),
    ],
)
def test_names_that_no_package_has(names: list[str], says: str) -> None:
    with pytest.raises(IntegrityError, match=says):
        parse_collection_names(names)


@pytest.mark.parametrize("platforms", [None, ["linux/amd64"]])
def test_other_names_than_the_package_has(platforms: list[str] | None) -> None:
    """Each entry left out, each swapped with its neighbour, and one more in each place: none passes,
    whether the walk goes by the names or knows better; but a manifest may be left out with all its blobs.
    """
    shelf, package = family(platforms)
    names = collection_names(package)
    raw_index = layout_index(package.root)
    more = digest_of(b"more").path
    others = [names[:at] + names[at + 1 :] for at in range(len(names))]
    others += [(*names[:at], names[at + 1], names[at], *names[at + 2 :]) for at in range(len(names) - 1)]
    others += [(*names[:at], more, *names[at:]) for at in range(len(names) + 1)]
    for other in others:
        with pytest.raises(IntegrityError):
            check_collection(other, package)
        try:
            got = as_getter(shelf, raw_index, other)
        except IntegrityError:
            continue
        except NotFound:
            assert package.root.digest.path not in other
            continue
        pytest.fail(f"{other} passed as {got.blobs}")


def test_a_manifest_may_be_left_out_with_all_that_only_it_names() -> None:
    shelf, package = family()
    _, smaller = family(["linux/arm64"])
    got = as_getter(shelf, layout_index(package.root), collection_names(smaller))
    assert got.blobs == smaller.blobs
    without = [each for each in smaller.blobs if each.digest != digest_of(b"base")]
    with pytest.raises(IntegrityError, match="is due"):
        as_getter(
            shelf, layout_index(package.root), ("oci-layout", "index.json", *(b.digest.path for b in without))
        )


def test_the_message_names_the_first_difference() -> None:
    _, package = family()
    names = collection_names(package)
    with pytest.raises(IntegrityError, match=f"{names[-1]} is not in it"):
        check_collection(names[:-1], package)
    with pytest.raises(IntegrityError, match="1 entries more"):
        check_collection((*names, "a"), package)
    with pytest.raises(IntegrityError, match=f"entry 1 is 'x' where {names[1]} is due"):
        check_collection((names[0], "x", *names[2:]), package)
