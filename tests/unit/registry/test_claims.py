"""What pushes leave in the store, and how much of it there may be."""

from pathlib import Path

import pytest

from peat_sidecar.ids import Digest
from peat_sidecar.registry.memory import Memory
from peat_sidecar.store import uploads
from peat_sidecar.transfer import remove_package
from tests.support.registry_client import code_of, descriptor, index
from tests.unit.registry.endpoint import endpoint
from tests.unit.registry.pushes import image, push_blob, push_manifest


async def test_nothing_is_left_of_an_index_that_is_removed(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, store):
        children = [await image(client, "app", text) for text in ("one", "other")]
        for child in children:
            await push_manifest(client, "app", child)
        await push_manifest(client, "app", index(*children), "v1")
        assert store.orphans(0) == []
        assert descriptor(children[0])
        remove_package(store, "localhost/app:v1")
        assert store.usage().blobs == 0


async def test_a_mounted_blob_goes_with_the_last_that_was_given_it(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, store):
        digest = Digest.parse(await push_blob(client, "one", b"brought by one"))
        mounted = await client.post(f"/v2/other/blobs/uploads/?mount={digest}&from=one")
        assert mounted.status_code == 201
        assert store.uploads.release("localhost/one", digest)
        assert store.find(digest) is not None
        assert store.uploads.release("localhost/other", digest)
        assert store.find(digest) is None


async def test_a_mount_of_what_has_gone_is_an_upload(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, store):
        digest = Digest.parse(await push_blob(client, "one", b"brought by one"))
        store.uploads.release("localhost/one", digest)
        assert not store.uploads.share("localhost/other", digest)
        answer = await client.post(f"/v2/other/blobs/uploads/?mount={digest}&from=one")
        assert answer.status_code == 202


async def test_uploads_are_bounded_in_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "OPEN_LIMIT", 2)
    async with endpoint(tmp_path) as (client, _):
        begun = [await client.post(f"/v2/{name}/blobs/uploads/") for name in ("one", "other")]
        refused = await client.post("/v2/app/blobs/uploads/")
        assert (refused.status_code, code_of(refused)) == (429, "TOOMANYREQUESTS")
        assert "end or give up some" in refused.text
        assert (await client.delete(begun[0].headers["Location"])).status_code == 204
        assert (await client.post("/v2/app/blobs/uploads/")).status_code == 202


async def test_a_pull_is_a_use_and_a_list_of_referrers_is_none(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, store):
        digest = Digest.parse(await push_manifest(client, "app", await image(client, "app"), "v1"))
        await client.get(f"/v2/app/referrers/{digest}")
        store.uses.load({digest: 0.0})
        assert store.uses.at(digest) == 0
        await client.head("/v2/app/manifests/v1")
        assert store.uses.at(digest) == 0
        await client.get("/v2/app/manifests/v1")
        assert store.uses.at(digest) > 0


def test_what_is_remembered_is_bounded_in_bytes() -> None:
    asked: list[int] = []

    def work_out(key: int) -> bytes:
        asked.append(key)
        return bytes(key)

    memory = Memory(work_out, len, 100)
    for key in (40, 50, 40, 60, 40, 50):
        assert len(memory(key)) == key
        assert memory.bytes <= 100
    assert asked == [40, 50, 60, 50]
    assert len(memory(1000)) == 1000
    assert memory.bytes == 0
