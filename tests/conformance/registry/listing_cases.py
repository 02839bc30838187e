"""The ping, tags, the catalogue and referrers."""

import re

from tests.support.images import OCI_EMPTY, OCI_INDEX, SBOM
from tests.support.registry_client import RegistryClient, code_of, descriptor, digest_of, encoded, index

_NEXT = re.compile(r'<([^>]+)>; rel="next"')


def a_ping(client: RegistryClient) -> None:
    assert client.http.get("/v2/").status_code == 200


def a_repository_that_is_not_there(client: RegistryClient) -> None:
    answer = client.ask("GET", "tags/list")
    assert (answer.status_code, code_of(answer)) == (404, "NAME_UNKNOWN")


def tags_in_order(client: RegistryClient) -> None:
    document = client.image()
    for tag in ("v2", "v1", "latest", "v10"):
        client.push_manifest(document, tag)
    assert client.ask("GET", "tags/list").json()["tags"] == ["latest", "v1", "v10", "v2"]


def tags_in_pages(client: RegistryClient) -> None:
    document = client.image()
    for tag in ("a", "b", "c", "d", "e"):
        client.push_manifest(document, tag)
    first = client.ask("GET", "tags/list", params={"n": 2})
    assert first.json()["tags"] == ["a", "b"]
    found = _NEXT.search(first.headers["Link"])
    assert found is not None
    second = client.http.get(found[1])
    assert second.json()["tags"] == ["c", "d"]
    found = _NEXT.search(second.headers["Link"])
    assert found is not None
    third = client.http.get(found[1])
    assert third.json()["tags"] == ["e"]
    assert "Link" not in third.headers
    assert client.ask("GET", "tags/list", params={"n": 2, "last": "c"}).json()["tags"] == ["d", "e"]
    assert client.ask("GET", "tags/list", params={"last": "zz"}).json()["tags"] == []
    assert client.ask("GET", "tags/list", params={"n": 0}).json()["tags"] == []


def the_catalogue_in_pages(client: RegistryClient) -> None:
    others = [RegistryClient(client.http, f"{client.name}/{part}") for part in ("a", "b", "c")]
    for each in others:
        each.push_manifest(each.image(), "v1")
    names: list[str] = []
    path: str | None = "/v2/_catalog?n=2"
    while path is not None:
        answer = client.http.get(path)
        assert len(answer.json()["repositories"]) <= 2
        names += answer.json()["repositories"]
        found = _NEXT.search(answer.headers.get("Link", ""))
        path = found[1] if found else None
    assert names == sorted(names)
    assert {each.name for each in others} <= set(names)


def no_referrers(client: RegistryClient) -> None:
    answer = client.ask("GET", f"referrers/{digest_of(b'nothing')}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == OCI_INDEX
    assert answer.json() == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}


def _artifact(client: RegistryClient, subject: object, kind: str) -> dict[str, object]:
    client.push_blob(b"{}")
    config = {"mediaType": OCI_EMPTY, "digest": digest_of(b"{}"), "size": 2}
    annotations = {"org.example.kind": kind}
    named = client.image(kind, artifactType=kind, subject=descriptor(subject), annotations=annotations)
    return named | {"config": config}


def referrers_by_subject(client: RegistryClient) -> None:
    image = client.image()
    subject = client.push_manifest(image, "v1")
    sbom, signature = (_artifact(client, image, kind) for kind in (SBOM, "application/vnd.example.signature"))
    for each in (sbom, signature):
        answer = client.put_manifest(encoded(each), digest_of(encoded(each)))
        assert (answer.status_code, answer.headers["OCI-Subject"]) == (201, subject)
    found = client.ask("GET", f"referrers/{subject}").json()["manifests"]
    expected = [
        descriptor(each, artifactType=each["artifactType"], annotations=each["annotations"])
        for each in (sbom, signature)
    ]
    assert {each["digest"]: each for each in found} == {each["digest"]: each for each in expected}
    only = client.ask("GET", f"referrers/{subject}", params={"artifactType": SBOM})
    assert only.headers["OCI-Filters-Applied"] == "artifactType"
    assert [each["digest"] for each in only.json()["manifests"]] == [digest_of(encoded(sbom))]


def referrers_of_what_is_missing(client: RegistryClient) -> None:
    missing = client.image("never pushed as a manifest")
    digest = client.push_manifest(_artifact(client, missing, SBOM))
    found = client.ask("GET", f"referrers/{digest_of(encoded(missing))}").json()["manifests"]
    assert [each["digest"] for each in found] == [digest]


def the_type_of_a_referrer_is_that_of_its_config(client: RegistryClient) -> None:
    image = client.image()
    subject = client.push_manifest(image, "v1")
    client.push_manifest(client.image("refers", subject=descriptor(image)))
    (found,) = client.ask("GET", f"referrers/{subject}").json()["manifests"]
    assert found["artifactType"] == "application/vnd.oci.image.config.v1+json"


def referrers_by_tag(client: RegistryClient) -> None:
    subject = client.push_manifest(client.image(), "v1")
    other = client.image("signature")
    client.push_manifest(other)
    listing = index(other)
    listing["manifests"][0]["artifactType"] = SBOM
    client.push_manifest(listing, subject.replace(":", "-"))
    found = client.ask("GET", f"referrers/{subject}").json()["manifests"]
    assert found == [descriptor(other, artifactType=SBOM)]


def a_referrer_that_is_deleted(client: RegistryClient) -> None:
    image = client.image()
    subject = client.push_manifest(image, "v1")
    digest = client.push_manifest(_artifact(client, image, SBOM))
    assert client.ask("DELETE", f"manifests/{digest}").status_code == 202
    assert client.ask("GET", f"referrers/{subject}").json()["manifests"] == []
