"""The walk from a root: what it finds, in which order, and what it refuses before it is read."""

from typing import Any

import pytest

from peat_sidecar.errors import IntegrityError, NotFound, SourceError
from peat_sidecar.ids import Digest
from peat_sidecar.packages import Descriptor, Package, Platform, Walk, assemble
from tests.support.manifests import (
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    ZARF_LAYERS,
    Shelf,
    artifact,
    descriptor,
    digest_of,
    docker_image,
    encoded,
    entry,
    image,
    index,
    platform,
    zarf,
)

ATTESTS = "vnd.docker.reference.digest"


def named(*names: str) -> list[Digest]:
    return [digest_of(name.encode()) for name in names]


def config_of(*layers: str) -> str:
    return "config of " + " ".join(layers)


def found(package: Package) -> list[Digest]:
    return [blob.digest for blob in package.blobs]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_an_image(shelf: Shelf) -> None:
    root = shelf.root(image("one", "two", "one"))
    package = assemble(root, shelf.documents)
    assert found(package) == [root.digest, *named(config_of("one", "two", "one"), "one", "two")]
    assert (package.root, package.foreign, package.missing) == (root, (), ())
    assert package.total_bytes == root.size + len(config_of("one", "two", "one")) + 6
    assert package.documents[root.digest].raw == shelf.documents[root.digest]


def test_an_index_is_walked_depth_first(shelf: Shelf) -> None:
    one, two, three = (shelf.put(image("base", name)) for name in ("one", "two", "three"))
    inner = shelf.put(index(two, one))
    root = shelf.root(index(one, inner, three))
    package = assemble(root, shelf.documents)
    expected = [root.digest, Digest.parse(one["digest"]), *named(config_of("base", "one"), "base", "one")]
    expected += [
        Digest.parse(inner["digest"]),
        Digest.parse(two["digest"]),
        *named(config_of("base", "two"), "two"),
    ]
    expected += [Digest.parse(three["digest"]), *named(config_of("base", "three"), "three")]
    assert found(package) == expected
    assert len(package.documents) == 5


def test_the_order_does_not_depend_on_the_order_of_reading(shelf: Shelf) -> None:
    children = [shelf.put(image("base", str(number))) for number in range(5)]
    root = shelf.root(index(*children[:3], shelf.put(index(*children[3:]))))
    walk = Walk(root)
    while wanted := walk.wanted():
        walk.feed(wanted[-1], shelf.documents[wanted[-1].digest])
    assert walk.package() == assemble(root, shelf.documents.get)


def test_zarf_and_docker(shelf: Shelf) -> None:
    root = shelf.root(index(shelf.put(zarf(), **platform("multi/amd64"))))
    package = assemble(root, shelf.documents, [Platform.parse("multi/amd64")])
    assert found(package)[-5:] == named(*ZARF_LAYERS)
    root = shelf.root(docker_image())
    package = assemble(root, shelf.documents)
    assert found(package) == [root.digest, *named("docker config", "app")]
    assert [blob.digest for blob in package.foreign] == named("windows base")


def test_a_layer_that_is_foreign_in_one_manifest_only_is_taken(shelf: Shelf) -> None:
    plain = shelf.put(image("windows base"))
    root = shelf.root(index(shelf.put(docker_image()), plain))
    package = assemble(root, shelf.documents)
    assert named("windows base")[0] in found(package)
    assert package.foreign == ()


def test_a_referrer_is_a_package_without_its_subject(shelf: Shelf) -> None:
    subject = shelf.put(image("a"))
    root = shelf.root(artifact(subject))
    package = assemble(root, shelf.documents)
    assert found(package) == [root.digest, *named("{}", '{"spdxVersion":"SPDX-2.3"}')]


def test_one_blob_may_be_config_and_layer_under_two_media_types(shelf: Shelf) -> None:
    document = artifact()
    root = shelf.root(document | {"layers": [entry("{}", media_type="application/json")]})
    assert found(assemble(root, shelf.documents)) == [root.digest, *named("{}")]


def test_sha512_throughout(shelf: Shelf) -> None:
    wide = str(digest_of(b"wide", "sha512"))
    child = shelf.put(image(layers=[entry("wide", digest=wide)]), "sha512")
    root = shelf.root(index(child), "sha512")
    package = assemble(root, shelf.documents)
    assert root.digest.algorithm == "sha512"
    assert found(package)[:2] == [root.digest, Digest.parse(child["digest"])]
    assert found(package)[-1] == Digest.parse(wide)


# Choice of platforms


def family(shelf: Shelf) -> tuple[Descriptor, dict[str, Any]]:
    made = {
        text: shelf.put(image(text), **platform(text))
        for text in ("linux/amd64", "linux/arm64/v8", "linux/arm/v6")
    }
    attested = {ATTESTS: made["linux/amd64"]["digest"], "vnd.docker.reference.type": "attestation-manifest"}
    made["provenance"] = shelf.put(image("provenance"), annotations=attested, **platform("unknown/unknown"))
    made["note"] = shelf.put(artifact())
    return shelf.root(index(*made.values())), made


@pytest.mark.parametrize(
    ("platforms", "chosen"),
    [
        (["linux/amd64"], {"linux/amd64", "provenance", "note"}),
        (["linux/arm64"], {"linux/arm64/v8", "note"}),
        (["linux/arm"], {"linux/arm/v6", "note"}),
        (["linux/arm/v7", "linux/arm64"], {"linux/arm64/v8", "note"}),
        ([], {"linux/amd64", "linux/arm64/v8", "linux/arm/v6", "provenance", "note"}),
    ],
)
def test_platforms(shelf: Shelf, platforms: list[str], chosen: set[str]) -> None:
    root, made = family(shelf)
    package = assemble(root, shelf.documents, [Platform.parse(text) for text in platforms])
    expected = [Digest.parse(made[name]["digest"]) for name in made if name in chosen]
    assert list(package.documents) == [root.digest, *expected]
    left = [Digest.parse(made[name]["digest"]) for name in made if name not in chosen]
    assert [each.digest for each in package.missing] == left


def test_platforms_of_a_nested_index(shelf: Shelf) -> None:
    arm, amd = (shelf.put(image(text), **platform(text)) for text in ("linux/arm64", "linux/amd64"))
    root = shelf.root(index(shelf.put(index(arm, amd)), shelf.put(index(arm))))
    package = assemble(root, shelf.documents, [Platform.parse("linux/amd64")])
    assert [each.digest for each in package.missing] == [Digest.parse(arm["digest"])]
    assert Digest.parse(amd["digest"]) in package.documents


def test_nothing_of_a_platform_says_what_there_is(shelf: Shelf) -> None:
    root = shelf.root(index(shelf.put(zarf(), **platform("multi/amd64"))))
    with pytest.raises(NotFound, match=r"no manifest for linux/s390x; it has multi/amd64"):
        assemble(root, shelf.documents, [Platform.parse("linux/s390x")])


def test_a_platform_whose_manifest_is_not_there(shelf: Shelf) -> None:
    root = shelf.root(index(entry("gone", media_type=OCI_MANIFEST, **platform("linux/amd64"))))
    with pytest.raises(NotFound, match="not there"):
        assemble(root, shelf.documents, [Platform.parse("linux/amd64")])


def test_an_image_is_taken_whatever_the_platform(shelf: Shelf) -> None:
    root = shelf.root(image("a"))
    assert len(assemble(root, shelf.documents, [Platform.parse("linux/s390x")]).blobs) == 3


# What is not there


def test_a_sparse_index(shelf: Shelf) -> None:
    here = shelf.put(image("a"))
    gone = entry("gone", media_type=OCI_MANIFEST)
    other = entry("no manifest", media_type="application/json")
    root = shelf.root(index(gone, here, other, gone))
    package = assemble(root, shelf.documents)
    assert [each.to_json() for each in package.missing] == [gone, other]
    assert len(package.blobs) == 4


def test_a_root_that_is_not_there(shelf: Shelf) -> None:
    with pytest.raises(NotFound, match="begins with it"):
        assemble(descriptor(entry("gone", media_type=OCI_MANIFEST)), shelf.documents)


def test_an_empty_index(shelf: Shelf) -> None:
    root = shelf.root(index())
    assert found(assemble(root, shelf.documents)) == [root.digest]


# What is refused


def refused(shelf: Shelf, root: Descriptor, says: str, error: type[Exception] = SourceError) -> None:
    with pytest.raises(error, match=says):
        assemble(root, shelf.documents)


def test_a_root_that_is_no_document() -> None:
    with pytest.raises(SourceError, match="begins with a manifest or index"):
        Walk(Descriptor("application/json", digest_of(b"{}"), 2))


@pytest.mark.parametrize("raw", [b"", b"{}", encoded(image("b"))])
def test_other_bytes_than_named(raw: bytes) -> None:
    root = Shelf().root(image("a"))
    with pytest.raises(IntegrityError, match=str(root.digest)):
        assemble(root, {root.digest: raw})


def test_one_digest_with_two_sizes(shelf: Shelf) -> None:
    root = shelf.root(image(layers=[entry("a"), entry("a", size=5)]))
    refused(shelf, root, "two sizes, 1 and 5")
    root = shelf.root(index(shelf.put(image("a")), shelf.put(image(layers=[entry("a", size=7)]))))
    refused(shelf, root, "two sizes")


def test_a_document_that_names_the_root_with_another_size(shelf: Shelf) -> None:
    """The digest is right, so only a root descriptor that lies can be caught so; its bytes give it away."""
    made = shelf.put(image("a"))
    refused(shelf, descriptor(made | {"size": made["size"] + 1}), "others than it names", IntegrityError)


def test_one_document_under_two_media_types(shelf: Shelf) -> None:
    child = shelf.put({key: value for key, value in image("a").items() if key != "mediaType"})
    refused(shelf, shelf.root(index(child, child | {"mediaType": DOCKER_MANIFEST})), "named as .* and as")


def test_a_layer_that_is_a_manifest_is_a_layer(shelf: Shelf) -> None:
    inner = shelf.put(image("hidden"))
    root = shelf.root(image(layers=[inner]))
    assert found(assemble(root, shelf.documents)) == [
        root.digest,
        *named("config of "),
        Digest.parse(inner["digest"]),
    ]
    root = shelf.root(index(shelf.put(image(layers=[inner])), inner))
    package = assemble(root, shelf.documents)
    assert len(found(package)) == len(set(found(package))) == 6


def test_a_manifest_left_out_that_is_also_a_layer(shelf: Shelf) -> None:
    inner = shelf.put(image("hidden"))
    outer = shelf.put(image(layers=[inner]), **platform("linux/amd64"))
    root = shelf.root(index(outer, inner | platform("linux/arm64")))
    with pytest.raises(SourceError, match="as a manifest and as a layer"):
        assemble(root, shelf.documents, [Platform.parse("linux/amd64")])


def test_manifests_too_long(shelf: Shelf) -> None:
    refused(shelf, shelf.root(index(entry("a", (4 << 20) + 1, OCI_MANIFEST))), "4 MiB")
    many = [entry(str(number), 4 << 20, OCI_MANIFEST) for number in range(17)]
    refused(shelf, shelf.root(index(*many)), "64 MiB")


def test_too_many_manifests(shelf: Shelf) -> None:
    many = [entry(str(number), 0, OCI_MANIFEST) for number in range(10_000)]
    refused(shelf, shelf.root(index(*many)), "more manifests")


def test_too_many_blobs(shelf: Shelf) -> None:
    layers = [entry("a")] * 20_000
    children = [shelf.put(image(layers=[*layers, entry(str(number))])) for number in range(6)]
    refused(shelf, shelf.root(index(*children)), "more than 100000 blobs")


@pytest.mark.parametrize("depth", [8, 9])
def test_depth(shelf: Shelf, depth: int) -> None:
    made = shelf.put(image("a"))
    for _ in range(depth):
        made = shelf.put(index(made))
    if depth == 8:
        assert len(assemble(descriptor(made), shelf.documents).documents) == 9
    else:
        refused(shelf, descriptor(made), "deeper than 8")


def test_a_fan_of_paths_to_the_same_documents_costs_little(shelf: Shelf) -> None:
    """Eight levels of indexes that name the same two indexes a thousand times: 2^n paths, few documents."""
    one, two = shelf.put(image("a")), shelf.put(image("b"))
    for _ in range(7):
        one, two = shelf.put(index(*[one, two] * 1000)), shelf.put(index(*[two, one] * 1000))
    assert len(assemble(shelf.root(index(one, two)), shelf.documents).documents) == 17


# The caller's mistakes


def test_what_is_not_wanted_is_no_food(shelf: Shelf) -> None:
    root = shelf.root(image("a"))
    walk = Walk(root)
    with pytest.raises(ValueError, match="wanted still"):
        walk.package()
    with pytest.raises(ValueError, match="is not wanted"):
        walk.feed(Descriptor(OCI_INDEX, digest_of(b"x"), 1), b"x")
    walk.feed(root, shelf.documents[root.digest])
    with pytest.raises(ValueError, match="is not wanted"):
        walk.feed(root, shelf.documents[root.digest])
    with pytest.raises(ValueError, match="is not wanted"):
        walk.absent(root)
