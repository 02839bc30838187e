"""What becomes of a manifest that is pushed, of its tags and children, and of what others hold too."""

import asyncio
from pathlib import Path

import pytest

from peat_sidecar.packages import DOCUMENT_LIMIT_BYTES, assemble, parse_manifest
from peat_sidecar.store import Store
from peat_sidecar.transfer import list_package, remove_package
from tests.support.images import OCI_INDEX, OCI_MANIFEST
from tests.support.nodes import bounded, sha256_of
from tests.support.real_files import real_bytes
from tests.support.registry_client import code_of, descriptor, digest_of, encoded, index
from tests.unit.registry.endpoint import endpoint
from tests.unit.registry.pushes import image, push_blob, push_manifest


def names(store: Store) -> set[str]:
    return set(store.roots())


async def test_a_push_is_a_package_with_media_types(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, store):
        added: list[str | None] = []
        store.on_packages(lambda new, _: added.extend(each.reference for each in new))
        digest = await push_manifest(client, "team/app", await image(client, "team/app"), "v1")
        package = store.package("localhost/team/app:v1")
        assert added == ["localhost/team/app:v1"]
        assert package is not None
        assert str(package.root.digest) == digest
        assert len(package.blobs) == 3
        assert {each.media_type for each in store.blobs(package=package.root.digest)} == {
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.oci.image.layer.v1.tar",
        }
        assert store.find(package.collection) is not None


async def test_a_push_by_digest_and_a_tag_after_it_are_one_package(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, store):
        document = await image(client, "app")
        digest = await push_manifest(client, "app", document)
        assert names(store) == {f"localhost/app@{digest}"}
        await push_manifest(client, "app", document, "v1")
        assert names(store) == {"localhost/app:v1"}
        await push_manifest(client, "app", document)
        assert names(store) == {"localhost/app:v1"}
        await client.delete("/v2/app/manifests/v1")
        assert names(store) == {f"localhost/app@{digest}"}


async def test_a_tag_that_moves_leaves_its_manifest(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, store):
        first = await push_manifest(client, "app", await image(client, "app", "one"), "v1")
        await push_manifest(client, "app", await image(client, "app", "two"), "v1")
        assert names(store) == {"localhost/app:v1", f"localhost/app@{first}"}
        await push_manifest(client, "app", await image(client, "app", "one"), "v1")
        assert len(names(store)) == 2
        assert f"localhost/app@{first}" not in names(store)


async def test_children_of_an_index_are_a_part_of_its_package(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, store):
        children = [await image(client, "app", text) for text in ("one", "two")]
        for child in children:
            await push_manifest(client, "app", child)
        referrer = await image(client, "app", "refers") | {"subject": descriptor(children[0])}
        await push_manifest(client, "app", referrer)
        digest = await push_manifest(client, "app", index(*children, referrer), "v1")
        refers = digest_of(encoded(referrer))
        assert names(store) == {"localhost/app:v1", f"localhost/app@{refers}"}
        child = digest_of(encoded(children[0]))
        refused = await client.delete(f"/v2/app/manifests/{child}")
        assert (refused.status_code, code_of(refused)) == (405, "UNSUPPORTED")
        assert "app:v1" in refused.text
        layer = await client.delete(f"/v2/app/blobs/{children[0]['layers'][0]['digest']}")
        assert layer.status_code == 405
        assert (await client.get(f"/v2/app/manifests/{child}")).content == encoded(children[0])
        assert (await client.delete(f"/v2/app/manifests/{digest}")).status_code == 202
        assert (await client.get(f"/v2/app/manifests/{child}")).status_code == 404


async def test_an_index_that_was_sparse_is_pushed_with_its_other_child(tmp_path: Path) -> None:
    """By digest; until now it was here for its client only."""
    async with endpoint(tmp_path) as (client, store):
        one, other = [await image(client, "app", text) for text in ("one", "other")]
        whole = index(one, other)
        documents = {sha256_of(each): each for each in map(encoded, (whole, one))}
        for raw in documents.values():
            store.put(raw)
        package = assemble(parse_manifest(encoded(whole), None).descriptor, documents.get)
        list_package(store, package, "localhost/app:v1", own=False)
        await push_manifest(client, "app", other)
        digest = await push_manifest(client, "app", whole)
        assert names(store) == {"localhost/app:v1"}
        assert store.cached.all() == set()
        for url in (f"manifests/{digest_of(encoded(other))}", f"blobs/{other['layers'][0]['digest']}"):
            assert (await client.get(f"/v2/app/{url}")).status_code == 200
        assert (await client.get(f"/v2/app/manifests/{digest}")).status_code == 200


async def test_a_referrer_that_is_listed_under_the_tag_and_is_not_here(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, _):
        subject = await push_manifest(client, "app", await image(client, "app"), "v1")
        elsewhere = {"mediaType": "application/vnd.example", "digest": digest_of(b"none"), "size": 4}
        listing = index() | {"manifests": [elsewhere]}
        await push_manifest(client, "app", listing, subject.replace(":", "-"))
        assert (await client.get(f"/v2/app/referrers/{subject}")).json()["manifests"] == []


async def test_a_shared_file_that_its_owner_has_changed_is_not_there(tmp_path: Path) -> None:
    layer = b"a layer that lies elsewhere"
    owned = tmp_path / "owned"
    owned.write_bytes(layer)
    async with endpoint(tmp_path / "data") as (client, store):
        with owned.open("rb") as file:
            info = store.import_file(file.fileno(), link=True)
        store.uploads.claim("localhost/app", info.proven_digest)
        url = f"/v2/app/blobs/{info.digest}"
        assert (await client.get(url)).content == layer
        owned.write_bytes(b"something else of another size")
        answer = await client.get(url)
        assert (answer.status_code, code_of(answer)) == (404, "BLOB_UNKNOWN")


async def test_a_blob_is_no_manifest_for_that(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, _):
        document = await image(client, "app")
        await push_manifest(client, "app", document, "v1")
        layer = document["layers"][0]["digest"]
        assert (await client.get(f"/v2/app/manifests/{layer}")).status_code == 404


async def test_a_removal_leaves_what_is_being_pushed(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, store):
        await push_manifest(client, "one", await image(client, "one", "shared"), "v1")
        document = await image(client, "other", "shared")
        remove_package(store, "localhost/one:v1")
        await push_manifest(client, "other", document, "v1")
        layer = document["layers"][0]["digest"]
        assert (await client.get(f"/v2/other/blobs/{layer}")).content == b"shared"
        remove_package(store, "localhost/other:v1")
        assert store.usage().blobs == 0
        assert (await client.get(f"/v2/other/blobs/{layer}")).status_code == 404


async def test_a_size_that_is_not_the_blobs(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, store):
        document = await image(client, "app")
        document["layers"][0]["size"] += 1
        answer = await client.put("/v2/app/manifests/v1", content=encoded(document))
        assert (answer.status_code, code_of(answer)) == (400, "MANIFEST_INVALID")
        assert not names(store)


@pytest.mark.parametrize(
    "fields",
    [
        {"manifests": []},
        {"config": None},
        {"layers": [{"digest": "sha256:x"}]},
        {"schemaVersion": 1},
        {"mediaType": "application/vnd.example+json"},
        {"subject": "none"},
        {"annotations": {"a": 1}},
    ],
)
async def test_what_is_no_manifest_is_refused_whole(tmp_path: Path, fields: dict[str, object]) -> None:
    async with endpoint(tmp_path) as (client, store):
        raw = encoded(await image(client, "app") | fields)
        blobs = store.usage().blobs
        answer = await client.put("/v2/app/manifests/v1", content=raw)
        assert (answer.status_code, code_of(answer)) == (400, "MANIFEST_INVALID")
        assert (store.usage().blobs, names(store)) == (blobs, set())


async def test_a_media_type_that_is_not_the_manifests_own(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, _):
        raw = encoded(await image(client, "app"))
        answer = await client.put("/v2/app/manifests/v1", content=raw, headers={"Content-Type": OCI_INDEX})
        assert (answer.status_code, code_of(answer)) == (400, "MANIFEST_INVALID")


async def test_a_tag_with_the_digest_that_is_meant(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, _):
        raw = encoded(await image(client, "app"))
        right, wrong = digest_of(raw, "sha512"), digest_of(b"other", "sha512")
        assert (
            await client.put("/v2/app/manifests/v1", params={"digest": wrong}, content=raw)
        ).status_code == 400
        answer = await client.put("/v2/app/manifests/v1", params={"digest": right}, content=raw)
        assert answer.headers["Docker-Content-Digest"] == right
        assert (await client.get("/v2/app/manifests/v1")).headers["Docker-Content-Digest"] == right


async def test_what_another_repository_holds_stays_when_it_is_deleted_here(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, _):
        for name in ("one", "other"):
            digest = await push_manifest(client, name, await image(client, name), "v1")
        assert (await client.delete(f"/v2/one/manifests/{digest}")).status_code == 202
        assert (await client.get("/v2/other/manifests/v1")).status_code == 200
        layer = (await image(client, "other"))["layers"][0]["digest"]
        assert (await client.get(f"/v2/other/blobs/{layer}")).content == b"a layer"


async def test_many_pushes_of_one_tag_at_once(tmp_path: Path) -> None:
    """One of them is what the tag stands for, and the others stay by their digests."""
    async with endpoint(tmp_path) as (client, store):
        documents = [await image(client, "app", str(number)) for number in range(8)]
        await bounded(asyncio.gather(*(push_manifest(client, "app", each, "v1") for each in documents)))
        digests = {digest_of(encoded(each)) for each in documents}
        tagged = (await client.get("/v2/app/manifests/v1")).headers["Docker-Content-Digest"]
        assert names(store) == {"localhost/app:v1"} | {f"localhost/app@{each}" for each in digests - {tagged}}


async def test_a_package_outlives_a_restart(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, _):
        digest = await push_manifest(client, "app", await image(client, "app"), "v1")
    async with endpoint(tmp_path) as (client, _):
        assert (await client.get("/v2/app/manifests/v1")).headers["Docker-Content-Digest"] == digest


async def test_a_blob_in_pieces_and_parts(tmp_path: Path) -> None:
    data = real_bytes(2_500_000)
    async with endpoint(tmp_path) as (client, _):
        digest = await push_blob(client, "app", data)
        url = f"/v2/app/blobs/{digest}"
        assert (await client.get(url)).content == data
        for start, end in ((0, 1), (524_287, 524_289), (1, 2_499_999), (2_499_999, 2_500_000)):
            part = await client.get(url, headers={"Range": f"bytes={start}-{end - 1}"})
            assert (part.status_code, part.content) == (206, data[start:end])
        stale = {"Range": "bytes=0-9", "If-Range": '"other"'}
        assert (await client.get(url, headers=stale)).content == data
        fresh = {"Range": "bytes=0-9", "If-Range": f'"{digest}"'}
        assert (await client.get(url, headers=fresh)).content == data[:10]
        for odd in (
            "bytes=",
            "bytes=a-b",
            "lines=0-9",
            "bytes=0-9,20-29",
            "bytes=-",
            "bytes=" + "9" * 50 + "-",
        ):
            assert (await client.get(url, headers={"Range": odd})).status_code == 200, odd
        for none in ("bytes=2500000-", "bytes=-0", "bytes=9-1"):
            assert (await client.get(url, headers={"Range": none})).status_code == 416, none


async def test_a_layer_that_is_called_a_manifest_is_not_read_as_one(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, _):
        document = await image(client, "app")
        large = await push_blob(client, "app", bytes(DOCUMENT_LIMIT_BYTES + 1))
        layer = {"mediaType": OCI_MANIFEST, "digest": large, "size": DOCUMENT_LIMIT_BYTES + 1}
        await push_manifest(client, "app", {**document, "layers": [layer]}, "v1")
        assert (await client.get(f"/v2/app/manifests/{large}")).status_code == 404
        index = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [{"mediaType": OCI_MANIFEST, "digest": large, "size": 100}],
        }
        answer = await client.put(
            "/v2/app/manifests/v2", content=encoded(index), headers={"Content-Type": OCI_INDEX}
        )
        assert answer.status_code == 400
        assert str(DOCUMENT_LIMIT_BYTES) in answer.text
