"""Names of repositories, and which packages of the node they show."""

from dataclasses import replace
from pathlib import Path

import pytest

from peat_sidecar.errors import PeatError
from peat_sidecar.registry.faults import OF_ERRORS, STATUS, Code, Fault, fault_of
from peat_sidecar.registry.names import parse_repository, shown_name
from tests.support.registry_client import code_of
from tests.unit.registry.endpoint import endpoint
from tests.unit.registry.pushes import image, push_blob, push_manifest


@pytest.mark.parametrize(
    ("shown", "namespace", "name"),
    [
        ("app", "", "localhost/app"),
        ("team/app", "", "localhost/team/app"),
        ("localhost/team/app", "", "localhost/team/app"),
        ("my.app", "", "localhost/my.app"),
        ("library/alpine", "docker.io", "docker.io/library/alpine"),
        ("docker.io/library/alpine", "", "docker.io/library/alpine"),
        ("registry.example:5000/app", "", "registry.example:5000/app"),
        ("app", "registry.example:5000", "registry.example:5000/app"),
        ("app", "127.0.0.1:5000", "localhost/app"),
    ],
)
def test_which_registry_is_meant(shown: str, namespace: str, name: str) -> None:
    assert parse_repository(shown, namespace, "127.0.0.1:5000").name == name


@pytest.mark.parametrize(
    "shown",
    [
        "..",
        "a/../b",
        "A",
        "a//b",
        "a/",
        "/a",
        "a b",
        "a\0b",
        "a\n",
        "é",
        "a:b",
        "a@b",
        "-a",
        "a" * 256,
        "docker:",
        "docker://a.b/c",
        " a",
    ],
)
def test_names_that_are_none(shown: str) -> None:
    with pytest.raises(Fault) as caught:
        parse_repository(shown, "", "127.0.0.1:5000")
    assert caught.value.code is Code.NAME_INVALID


@pytest.mark.parametrize("namespace", ["a b", "a/b", "..", "a@b", "a" * 3000])
def test_name_spaces_that_are_none(namespace: str) -> None:
    with pytest.raises(Fault):
        parse_repository("app", namespace, "127.0.0.1:5000")


@pytest.mark.parametrize(
    ("reference", "shown"),
    [
        ("localhost/team/app:v1", "team/app"),
        ("localhost/registry.example/app:v1", "localhost/registry.example/app"),
        ("docker.io/library/alpine:3", "docker.io/library/alpine"),
    ],
)
def test_a_name_that_is_shown_is_one_that_is_found(reference: str, shown: str) -> None:
    assert shown_name(reference) == shown
    assert reference.startswith(parse_repository(shown, "", "").name + ":")


async def test_a_package_of_a_registry_is_found_by_both_ways_and_by_no_other(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, store):
        document = await image(client, "registry.example/team/app")
        digest = await push_manifest(client, "registry.example/team/app", document, "v1")
        package = store.package("registry.example/team/app:v1")
        assert package is not None
        assert str(package.root.digest) == digest
        layer = document["layers"][0]["digest"]
        for name, query in (("registry.example/team/app", ""), ("team/app", "?ns=registry.example")):
            for path in ("manifests/v1", f"manifests/{digest}", f"blobs/{layer}", "tags/list"):
                assert (await client.get(f"/v2/{name}/{path}{query}")).status_code == 200
        for path in ("manifests/v1", f"manifests/{digest}", f"blobs/{layer}", "tags/list"):
            for elsewhere in ("/v2/team/app/", "/v2/other.example/team/app/", "/v2/registry.example/team/"):
                assert (await client.get(elsewhere + path)).status_code == 404, elsewhere
        catalog = (await client.get("/v2/_catalog")).json()
        assert catalog == {"repositories": ["registry.example/team/app"]}
        of_it = (await client.get("/v2/_catalog?ns=registry.example")).json()
        assert of_it == {"repositories": ["team/app"]}


async def test_a_package_of_a_layout_is_found_and_pushed_to_by_its_name(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, store):
        document = await image(client, "somewhere")
        await push_manifest(client, "somewhere", document, "v1")
        package = store.package("localhost/somewhere:v1")
        assert package is not None
        for name in ("layout/team/app:v1", "ship 7"):
            store.add_package(replace(package, reference=name))
        catalog = (await client.get("/v2/_catalog")).json()
        assert catalog == {"repositories": ["layout/team/app", "somewhere"]}
        for path in ("manifests/v1", f"blobs/{document['layers'][0]['digest']}", "tags/list"):
            assert (await client.get(f"/v2/layout/team/app/{path}")).status_code == 200
        other = await image(client, "layout/team/app", "other")
        digest = await push_manifest(client, "layout/team/app", other, "v2")
        assert str(store.roots()["layout/team/app:v2"].digest) == digest
        for name in ("/v2/layout/team/app/tags/list", "/v2/team/app/tags/list?ns=layout"):
            assert (await client.get(name)).json()["tags"] == ["v1", "v2"]


async def test_a_location_keeps_the_name_space(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, _):
        begun = await client.post("/v2/app/blobs/uploads/?ns=registry.example:5000")
        assert begun.headers["Location"].endswith("?ns=registry.example%3A5000")
        assert (await client.get(begun.headers["Location"])).status_code == 204
        assert (await client.get(begun.headers["Location"].partition("?")[0])).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/",
        "/v2/app",
        "/v2/app/manifests",
        "/v2/app/manifests/",
        "/v2/app/tags/other",
        "/v2//manifests/v1",
        "/v2/../../etc/passwd/manifests/v1",
        "/v2/app/manifests/%2e%2e",
        "/v2/app/manifests/v1%00",
        "/v2/app/blobs/..%2f..%2findex.db",
        "/v2/app/blobs/sha256:..",
        "/v2/app/blobs/uploads/..",
        "/v2/app/blobs/uploads/" + "0" * 5000,
        "/v2/app/referrers/sha256:x",
        "/v2/" + "a/" * 2000 + "manifests/v1",
        "/v2/app/tags/list?n=x",
        "/v2/_catalog?n=-1",
        "/v2/_catalog?n=²",
        "/v2/_catalog?" + "&".join("a=b" for _ in range(100)),
        "/v2/_catalog?ns=%ff",
    ],
)
async def test_hostile_paths_are_refused_in_words(tmp_path: Path, path: str) -> None:
    async with endpoint(tmp_path) as (client, _):
        await push_manifest(client, "app", await image(client, "app"), "v1")
        answer = await client.get(path)
        assert answer.status_code in (400, 404), answer.text
        assert code_of(answer)


async def test_other_methods_do_nothing(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, _):
        await push_blob(client, "app", b"x")
        for method, path in (
            ("PUT", "/v2/"),
            ("POST", "/v2/app/manifests/v1"),
            ("BREW", "/v2/app/tags/list"),
        ):
            answer = await client.request(method, path)
            assert (answer.status_code, code_of(answer)) == (405, "UNSUPPORTED")
            assert answer.headers["Allow"]


def test_every_error_and_every_code_has_a_status() -> None:
    ours = {each for each in PeatError.__subclasses__() if each.__module__ == PeatError.__module__}
    assert ours == set(OF_ERRORS)
    assert set(STATUS) == set(Code)
    for kind in OF_ERRORS:
        assert 400 <= fault_of(kind("why")).status < 600
