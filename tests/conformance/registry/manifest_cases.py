"""Pushing, pulling, listing and deleting manifests of all kinds."""

from typing import Any

from tests.support.images import (
    DOCKER_CONFIG,
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_EMPTY,
    OCI_FOREIGN_LAYER,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    SBOM,
)
from tests.support.registry_client import (
    RegistryClient,
    code_of,
    descriptor,
    digest_of,
    encoded,
    index,
)

_EMPTY_CONFIG = {"mediaType": OCI_EMPTY, "digest": digest_of(b"{}"), "size": 2, "data": "e30="}


def goes_round(client: RegistryClient, document: Any, algorithm: str = "sha256") -> str:
    """By digest and by tag: pushed, listed, looked at, pulled byte for byte."""
    raw = document if isinstance(document, bytes) else encoded(document)
    digest = client.push_manifest(raw, algorithm=algorithm)
    if algorithm == "sha256":
        assert client.push_manifest(raw, "v1") == digest
        assert client.ask("GET", "tags/list").json() == {"name": client.name, "tags": ["v1"]}
    for name in [digest, "v1"][: 2 if algorithm == "sha256" else 1]:
        head, got = client.ask("HEAD", f"manifests/{name}"), client.get(name)
        assert (head.status_code, got.status_code, got.content) == (200, 200, raw)
        for answer in (head, got):
            assert answer.headers["Docker-Content-Digest"] == digest
            assert answer.headers["Content-Length"] == str(len(raw))
    return digest


def an_image(client: RegistryClient) -> None:
    document = client.image()
    goes_round(client, document)
    assert client.get("v1").headers["Content-Type"] == OCI_MANIFEST


def an_image_in_sha512(client: RegistryClient) -> None:
    goes_round(client, client.image(algorithm="sha512"), "sha512")


def an_image_without_media_type(client: RegistryClient) -> None:
    document = client.image()
    del document["mediaType"]
    goes_round(client, document)


def an_uncompressed_layer(client: RegistryClient) -> None:
    document = client.image()
    document["layers"][0]["mediaType"] = OCI_LAYER.removesuffix("+gzip")
    goes_round(client, document)


def a_large_manifest(client: RegistryClient) -> None:
    goes_round(client, client.image(annotations={"org.example.large": "x" * 3_000_000}))


def a_manifest_that_is_too_large(client: RegistryClient) -> None:
    raw = encoded(client.image(annotations={"org.example.large": "x" * (4 << 20)}))
    assert client.put_manifest(raw, "large").status_code == 413


def an_index(client: RegistryClient) -> None:
    images = [client.image("one"), client.image("two")]
    for each in images:
        client.push_manifest(each)
    goes_round(client, index(*images))
    assert client.get("v1").headers["Content-Type"] == OCI_INDEX
    for each in images:
        assert client.get(digest_of(encoded(each))).content == encoded(each)


def a_nested_index(client: RegistryClient) -> None:
    image = client.image()
    client.push_manifest(image)
    inner = index(image)
    client.push_manifest(inner)
    goes_round(client, index(inner))


def an_empty_index(client: RegistryClient) -> None:
    goes_round(client, index())


def an_artifact(client: RegistryClient) -> None:
    client.push_blob(b"{}")
    document = client.image(artifactType=SBOM)
    goes_round(client, document | {"config": _EMPTY_CONFIG})


def an_artifact_index(client: RegistryClient) -> None:
    image = client.image()
    client.push_manifest(image)
    goes_round(client, index(image, artifactType=SBOM, annotations={"org.example.kind": "index"}))


def no_layers(client: RegistryClient) -> None:
    goes_round(client, client.image() | {"layers": []})


def a_layer_that_the_manifest_carries(client: RegistryClient) -> None:
    client.push_blob(b"{}")
    goes_round(client, client.image() | {"config": _EMPTY_CONFIG})


def a_carried_blob_that_was_not_pushed(client: RegistryClient) -> None:
    goes_round(client, client.image() | {"config": _EMPTY_CONFIG})


def a_layer_that_is_kept_elsewhere(client: RegistryClient) -> None:
    document = client.image()
    foreign = {"mediaType": OCI_FOREIGN_LAYER, "digest": digest_of(b"elsewhere"), "size": 9}
    document["layers"].append(foreign | {"urls": ["https://registry.example/layer"]})
    goes_round(client, document)


def fields_of_ones_own(client: RegistryClient) -> None:
    document = client.image() | {"org.example.more": {"a": [1, None, "é"]}}
    document["layers"][0]["org.example"] = True
    goes_round(client, b"  " + encoded(document) + b"\n")


def dockers_image_and_list(client: RegistryClient) -> None:
    document = client.image() | {"mediaType": DOCKER_MANIFEST}
    document["config"]["mediaType"] = DOCKER_CONFIG
    client.push_manifest(document)
    listed = descriptor(document, platform={"architecture": "amd64", "os": "linux"})
    goes_round(client, {"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": [listed]})


def a_digest_that_is_another_one(client: RegistryClient) -> None:
    raw = encoded(client.image())
    answer = client.put_manifest(raw, digest_of(b"other"))
    assert (answer.status_code, code_of(answer)) == (400, "DIGEST_INVALID")


def a_digest_that_is_none(client: RegistryClient) -> None:
    raw = encoded(client.image())
    for text in ("sha256:0", "sha256:" + "g" * 64, "sha256:"):
        assert client.put_manifest(raw, text).status_code in (400, 404)
        assert client.get(text).status_code in (400, 404)


def a_manifest_that_is_not_there(client: RegistryClient) -> None:
    client.push_manifest(client.image(), "v1")
    for name in ("v2", digest_of(b"nothing")):
        answer = client.get(name)
        assert (answer.status_code, code_of(answer)) == (404, "MANIFEST_UNKNOWN")
        assert client.ask("HEAD", f"manifests/{name}").status_code == 404


def what_is_no_manifest(client: RegistryClient) -> None:
    for raw in (b"", b"no json", b"[]", b'{"schemaVersion":1}'):
        assert client.put_manifest(raw, "v1").status_code == 400


def a_layer_that_is_not_here(client: RegistryClient) -> None:
    document = client.image()
    document["layers"].append(
        {"mediaType": OCI_LAYER, "digest": digest_of(b"never pushed"), "size": len(b"never pushed")}
    )
    answer = client.put_manifest(encoded(document), "v1")
    assert answer.status_code in (400, 404)
    assert {each["code"] for each in answer.json()["errors"]} <= {"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"}
    assert client.get("v1").status_code == 404


def an_index_whose_child_is_not_here(client: RegistryClient) -> None:
    client.push_blob(b"so that the repository is there")
    answer = client.put_manifest(encoded(index(client.image())), "v1", OCI_INDEX)
    assert answer.status_code in (400, 404)


def what_is_elsewhere_is_not_named(client: RegistryClient) -> None:
    document = client.image("in one repository only")
    other = RegistryClient(client.http)
    other.push_blob(b"so that it is there")
    assert other.put_manifest(encoded(document), "v1").status_code in (400, 404)


def a_tag_that_moves(client: RegistryClient) -> None:
    first = client.push_manifest(client.image("one"), "v1")
    second = client.push_manifest(client.image("two"), "v1")
    assert client.get("v1").headers["Docker-Content-Digest"] == second
    assert client.get(first).status_code == 200
    assert client.ask("GET", "tags/list").json()["tags"] == ["v1"]


def a_tag_that_is_deleted(client: RegistryClient) -> None:
    digest = client.push_manifest(client.image(), "v1")
    assert client.ask("DELETE", "manifests/v1").status_code == 202
    assert client.get("v1").status_code == 404
    assert client.get(digest).status_code == 200
    assert not client.ask("GET", "tags/list").json()["tags"]
    assert client.ask("DELETE", "manifests/v1").status_code == 404


def a_manifest_that_is_deleted(client: RegistryClient) -> None:
    digest = client.push_manifest(client.image(), "v1")
    client.push_manifest(client.image(), "v2")
    assert client.ask("DELETE", f"manifests/{digest}").status_code == 202
    for name in (digest, "v1", "v2"):
        assert client.get(name).status_code == 404
    assert client.ask("DELETE", f"manifests/{digest}").status_code == 404


def what_is_shared_stays_when_one_is_deleted(client: RegistryClient) -> None:
    first = client.image("shared")
    second = first | {"annotations": {"org.example.second": "yes"}}
    digest = client.push_manifest(first, "v1")
    client.push_manifest(second, "v2")
    assert client.ask("DELETE", f"manifests/{digest}").status_code == 202
    assert client.get("v2").status_code == 200
    assert client.ask("GET", f"blobs/{first['layers'][0]['digest']}").content == b"shared"


def what_the_client_has_is_not_sent(client: RegistryClient) -> None:
    client.push_manifest(client.image(), "v1")
    tag = client.ask("HEAD", "manifests/v1").headers["ETag"]
    answer = client.ask("GET", "manifests/v1", headers={"If-None-Match": tag})
    assert (answer.status_code, answer.content) == (304, b"")
