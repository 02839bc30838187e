"""Manifests that tools write are read; everything else is a SourceError that says where and what."""

import base64
import json
import time
from typing import Any

import pytest

from peat_sidecar.errors import PeatError, SourceError
from peat_sidecar.packages import MANIFEST_MEDIA_TYPES, Descriptor, Index, Manifest, Platform, parse_manifest
from tests.support.manifests import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_MANIFEST,
    ZARF_LAYERS,
    artifact,
    cosign_signature,
    digest_of,
    docker_image,
    encoded,
    entry,
    helm_chart,
    image,
    index,
    platform,
    zarf,
)


def parse_image(document: dict[str, Any], media_type: str | None = None) -> Manifest:
    found = parse_manifest(encoded(document), media_type)
    assert isinstance(found, Manifest)
    return found


@pytest.mark.parametrize(
    ("document", "media_type", "layers"),
    [
        (image("a", "b"), OCI_MANIFEST, 2),
        (image(), OCI_MANIFEST, 0),
        (zarf(), OCI_MANIFEST, 5),
        (cosign_signature(), OCI_MANIFEST, 1),
        (helm_chart(), OCI_MANIFEST, 2),
        (artifact(), OCI_MANIFEST, 1),
        (docker_image(), DOCKER_MANIFEST, 2),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_images_of_real_tools(document: dict[str, Any], media_type: str, layers: int, named: bool) -> None:
    raw = json.dumps(document, indent=3).encode()
    found = parse_manifest(raw, media_type if named else None)
    assert isinstance(found, Manifest)
    assert found.raw == raw
    assert found.descriptor == Descriptor(media_type, digest_of(raw), len(raw))
    assert len(found.layers) == layers
    assert [each.to_json() for each in (found.config, *found.layers)] == [
        document["config"],
        *document["layers"],
    ]


def test_what_an_artifact_says() -> None:
    subject = entry("subject", media_type=OCI_MANIFEST)
    found = parse_image(artifact(subject))
    assert found.artifact_type == "application/spdx+json"
    assert found.subject is not None
    assert (found.subject.to_json(), found.config.data) == (subject, b"{}")


def test_annotations_and_titles() -> None:
    found = parse_image(zarf())
    assert found.annotations["org.opencontainers.image.description"] == "é ✓"
    assert [each.annotations["org.opencontainers.image.title"] for each in found.layers] == list(ZARF_LAYERS)


def test_foreign_layers_are_named() -> None:
    prefix = "application/vnd.oci.image.layer.nondistributable.v1.tar"
    layers = [entry("x", media_type=prefix + end) for end in ("", "+gzip", "+zstd")]
    assert all(each.is_foreign for each in parse_image(image(layers=layers)).layers)
    found = parse_image(docker_image())
    assert [each.is_foreign for each in found.layers] == [True, False]
    assert found.layers[0].urls == ("https://example.invalid/base",)


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
def test_indexes(media_type: str) -> None:
    windows = {"os": "windows", "architecture": "amd64", "os.version": "10.0.1", "os.features": ["win32k"]}
    entries = [
        entry("a", media_type=OCI_MANIFEST, **platform("linux/arm/v7")),
        entry("b", media_type=DOCKER_MANIFEST, **platform("multi/amd64")),
        entry("c", media_type=OCI_INDEX),
        entry("d", media_type=OCI_MANIFEST, platform=windows, artifactType="a/b", annotations={"k": "v"}),
        entry("e", media_type="application/json"),
    ]
    document = index(
        *entries, mediaType=media_type, subject=entry("s"), artifactType="x/y", annotations={"a": "b"}
    )
    found = parse_manifest(encoded(document), media_type)
    assert isinstance(found, Index)
    assert [each.to_json() for each in found.manifests] == entries
    assert (found.artifact_type, found.annotations) == ("x/y", {"a": "b"})
    assert found.manifests[0].platform == Platform("linux", "arm", "v7")
    assert found.manifests[3].platform == Platform("windows", "amd64", None, "10.0.1", ("win32k",))
    assert [each.is_manifest for each in found.manifests] == [True, True, False, True, False]
    assert [each.is_index for each in found.manifests] == [False, False, True, False, False]


def test_descriptors_are_values() -> None:
    one, two = (parse_image(zarf()).layers[0] for _ in range(2))
    assert one == two
    assert len({one, two}) == 1


@pytest.mark.parametrize(
    "document",
    [
        image(layers=None, annotations=None, subject=None, artifactType="", unknown={"a": [1.5, None]}),
        {key: value for key, value in image().items() if key != "layers"},
        index() | {"manifests": None},
        index(entry("a", media_type=OCI_MANIFEST, platform={}, urls=None, annotations={"a": None})),
        image("a") | {"layers": [entry("a", media_type="text/plain; charset=utf-8", size=(1 << 63) - 1)]},
    ],
)
def test_what_is_tolerated(document: dict[str, Any]) -> None:
    parse_manifest(encoded(document), document["mediaType"])


def test_the_last_of_two_fields_counts_as_for_programs_in_go() -> None:
    raw = encoded(image("a")).replace(
        b'{"schemaVersion":2', b'{"layers":[],"schemaVersion":1,"schemaVersion":2'
    )
    found = parse_manifest(raw, OCI_MANIFEST)
    assert isinstance(found, Manifest)
    assert len(found.layers) == 1


def changed(**fields: Any) -> bytes:
    """An image with one layer, in which some fields of the layer are others."""
    return encoded(image(layers=[entry("a") | fields]))


CONFIG = entry("c", media_type=OCI_CONFIG)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "no JSON"),
        (b"nonsense", "no JSON"),
        (b"\xff\xfe{\x00}\x00", "no JSON"),
        (json.dumps(image("a")).encode("utf-16"), "no JSON"),
        (b"\xef\xbb\xbf{}", "no JSON"),
        (b'{"a":"\x01"}', "no JSON"),
        (b"null", "absent where an object"),
        (b"[]", "a list where an object"),
        (b"2", "a number where"),
        (b"{}", "schemaVersion 2"),
        (encoded(image("a") | {"schemaVersion": "2"}), "schemaVersion is text"),
        (encoded(image("a") | {"schemaVersion": 2.0}), "schemaVersion is a fraction"),
        (encoded(image("a") | {"schemaVersion": True}), "schemaVersion is true or false"),
        (encoded(image("a") | {"schemaVersion": 3}), "schemaVersion 2"),
        (b'{"schemaVersion":2}', "without mediaType, config or manifests"),
        (encoded(image("a") | {"config": None}), "lacks its config"),
        (encoded(image("a") | {"config": []}), "config is a list where an object"),
        (encoded(image("a") | {"layers": {}}), "layers is an object where a list"),
        (encoded(image("a") | {"layers": ["a"]}), r"layers\[0\] is text where an object"),
        (encoded(image("a") | {"mediaType": 7}), "mediaType is a number where text"),
        (encoded(image("a") | {"mediaType": "application/json"}), "application/json is no manifest"),
        (encoded(image("a") | {"mediaType": "a\nb"}), "mediaType is no media type"),
        (encoded(image("a") | {"mediaType": ""}), "mediaType is no media type"),
        (encoded(image("a") | {"mediaType": "a" * 256}), "256 characters"),
        (encoded(image("a") | {"manifests": []}), "ambiguous"),
        (encoded(image("a") | {"mediaType": OCI_INDEX}), "fields of another kind"),
        (encoded(index() | {"mediaType": OCI_MANIFEST}), "fields of another kind"),
        (encoded(image("a") | {"annotations": []}), "annotations is a list"),
        (encoded(image("a") | {"annotations": {"a": 1}}), "annotations is a number where text"),
        (encoded(image("a") | {"artifactType": {}}), "artifactType is an object"),
        (encoded(image("a") | {"subject": "x"}), "subject is text where an object"),
        (encoded(image("a") | {"subject": {}}), "subject lacks its mediaType"),
        (changed(mediaType=None), r"layers\[0\] lacks its mediaType"),
        (changed(digest=None), r"layers\[0\] lacks its digest"),
        (changed(digest=7), r"layers\[0\].digest is a number"),
        (changed(digest="../../etc/passwd"), r"layers\[0\].digest: .* no digest"),
        (changed(digest="sha256:../../etc/passwd"), "64 lower-case hexadecimal digits"),
        (changed(digest="sha256:" + "A" * 64), "lower-case"),
        (changed(digest="sha1:" + "a" * 40), "'sha1' is not supported"),
        (changed(size=-1), r"layers\[0\].size is -1"),
        (changed(size=1 << 63), "out of the range of sizes"),
        (changed(size=10**3000), "size is far, out of the range"),
        (changed(size=None), "size is absent"),
        (changed(size="12"), "size is text"),
        (changed(size=True), "size is true or false"),
        (changed(size=12.0), "size is a fraction"),
        (changed(urls="a"), "urls is text where a list"),
        (changed(urls=[{}]), "urls is an object where text"),
        (changed(platform=7), "platform is a number where an object"),
        (changed(platform={"os": []}), "platform.os is a list where text"),
        (changed(platform={"os.features": [1]}), "os.features is a number where text"),
        (changed(data="!"), "data is no base64"),
        (changed(data="é"), "data is no base64"),
        (changed(data=base64.b64encode(b"b").decode()), "not what the digest beside it names"),
        (changed(data=base64.b64encode(b"a").decode(), size=2), "not what the digest beside it names"),
        (changed(annotations={"a": "\ud800"}), "half of a surrogate pair"),
        (changed(mediaType="\ud800"), "half of a surrogate pair"),
        (b'{"schemaVersion":NaN}', "NaN is no JSON"),
        (b'{"schemaVersion":1e999}', "fraction"),
    ],
)
def test_what_is_refused(raw: bytes, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        parse_manifest(raw, None)


@pytest.mark.parametrize(
    ("document", "named", "says"),
    [
        (image("a"), DOCKER_MANIFEST, "says that it is"),
        (image("a"), OCI_INDEX, "says that it is"),
        ({key: value for key, value in image("a").items() if key != "mediaType"}, OCI_INDEX, "another kind"),
        (image("a"), "application/octet-stream", "says that it is"),
        (helm_chart(), "application/octet-stream", "no manifest that can be read"),
    ],
)
def test_a_document_is_what_it_was_named(document: dict[str, Any], named: str, says: str) -> None:
    with pytest.raises(SourceError, match=says):
        parse_manifest(encoded(document), named)


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"schemaVersion": 1, "name": "a", "fsLayers": [{"blobSum": "x"}], "history": []}, None),
        ({"fsLayers": []}, "application/vnd.docker.distribution.manifest.v1+prettyjws"),
        ({"schemaVersion": 1}, OCI_MANIFEST),
    ],
)
def test_schema_1_is_refused_with_the_remedy(document: dict[str, Any], named: str | None) -> None:
    with pytest.raises(SourceError, match=r"schema 1 .*\(skopeo copy --format v2s2\)"):
        parse_manifest(encoded(document), named)


BOMBS = {
    "nested lists": b"[" * 2_000_000,
    "nested objects": b'{"a":' * 500_000 + b"1" + b"}" * 500_000,
    "nested beside": b'{"schemaVersion":2,"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "many lists": b'{"schemaVersion":2,"x":[' + b"[]," * 1_300_000 + b"[]]}",
    "many layers": b'{"schemaVersion":2,"config":{},"layers":[' + b"{}," * 199_000 + b"{}]}",
    "many numbers": b'{"schemaVersion":2,"x":[' + b"1," * 2_000_000 + b"1]}",
    "huge number": b'{"schemaVersion":' + b"1" * 4_000_000 + b"}",
    "huge size": b'{"schemaVersion":2,"config":{"size":' + b"9" * 4_299 + b"}}",
    "huge exponent": b'{"schemaVersion":1e' + b"9" * 4_000_000 + b"}",
    "many names": b"{" + b",".join(b'"%d":0' % number for number in range(300_000)) + b"}",
    "too long": b'{"schemaVersion":2,"x":"' + b"x" * (4 << 20) + b'"}',
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str) -> None:
    begin = time.process_time()
    with pytest.raises(SourceError) as caught:
        parse_manifest(BOMBS[name], None)
    assert time.process_time() - begin < 2
    assert len(str(caught.value)) < 400


def test_every_kind_that_is_accepted_is_read() -> None:
    for kind in MANIFEST_MEDIA_TYPES:
        document = index() if kind in (OCI_INDEX, DOCKER_LIST) else image()
        assert parse_manifest(encoded(document | {"mediaType": kind}), kind).descriptor.media_type == kind


@pytest.mark.parametrize(
    "document", [zarf(), artifact(entry("s")), docker_image(), index(entry("a", media_type=OCI_MANIFEST))]
)
def test_cut_at_every_length_and_changed_at_every_byte(document: dict[str, Any]) -> None:
    raw = encoded(document)
    for length in range(len(raw)):
        with pytest.raises(SourceError):
            parse_manifest(raw[:length], None)
    for position in range(len(raw)):
        for byte in (0, 0x22, 0x39, 0x5B, 0x7D, 0xFF):
            try:
                parse_manifest(raw[:position] + bytes([byte]) + raw[position + 1 :], None)
            except PeatError as error:
                assert isinstance(error, SourceError)  # noqa: PT017


def every_place(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [path, *(each for key, child in children for each in every_place(child, (*path, key)))]


@pytest.mark.parametrize("other", [None, True, -1, 10**40, 0.5, "", "x" * 5000, [], [[]], {}, {"a": {}}])
def test_another_type_at_every_place(other: Any) -> None:
    for document in (
        zarf(),
        artifact(entry("s")),
        index(entry("a", media_type=OCI_MANIFEST, **platform("a/b"))),
    ):
        for path in every_place(document)[1:]:
            copy = json.loads(json.dumps(document))
            place = copy
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = other
            try:
                parse_manifest(encoded(copy), None)
            except PeatError as error:
                assert isinstance(error, SourceError)  # noqa: PT017
