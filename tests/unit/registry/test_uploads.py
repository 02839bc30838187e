"""Uploads that break off, meet each other, are given up, or bring what they must not."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from peat_sidecar.errors import NotFound
from peat_sidecar.http import Message
from peat_sidecar.ids import Digest
from peat_sidecar.registry import exchange
from peat_sidecar.registry.access import Access
from peat_sidecar.registry.application import Application
from peat_sidecar.registry.calls import Calls
from peat_sidecar.store import Store
from tests.support.nodes import bounded
from tests.support.real_files import real_bytes
from tests.support.registry_client import code_of, digest_of
from tests.unit.registry.endpoint import TOKEN, Exchange, endpoint, scope
from tests.unit.registry.pushes import image, push_blob, push_manifest

DATA = real_bytes(3_000_000)
BEGIN = "/v2/app/blobs/uploads/"


def files(data_dir: Path, pattern: str) -> list[Path]:
    return list(data_dir.glob(pattern))


async def test_it_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, _):
        at = (await client.post(BEGIN)).headers["Location"]
        at = (await client.patch(at, content=DATA[:1_000_000])).headers["Location"]
    async with endpoint(tmp_path) as (client, store):
        where = await client.get(at)
        assert where.headers["Range"] == "0-999999"
        rest = {"Content-Range": f"1000000-{len(DATA) - 1}"}
        at = (await client.patch(at, content=DATA[1_000_000:], headers=rest)).headers["Location"]
        digest = digest_of(DATA)
        assert (await client.put(at, params={"digest": digest})).status_code == 201
        assert (await client.get(f"/v2/app/blobs/{digest}")).content == DATA
        assert not files(tmp_path, "uploads/*/*.upload")
        assert store.find(Digest.parse(digest)) is not None


async def test_what_came_before_the_client_left_is_kept(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        application = Application(Calls(store), Access(token=TOKEN))
        begun = Exchange([b""])
        await application(scope("POST", BEGIN), begun.receive, begun.send)
        at = begun.headers["location"]
        broken = Exchange([DATA[:70_000], DATA[70_000:100_000]], whole=False)
        await application(scope("PATCH", at), broken.receive, broken.send)
        assert broken.status == 0
        asked = Exchange([b""])
        await application(scope("GET", at), asked.receive, asked.send)
        assert asked.headers["range"] == "0-99999"


async def test_a_client_that_falls_silent_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "STALL_SECONDS", 0.05)
    with Store.open(tmp_path) as store:
        application = Application(Calls(store), Access(token=TOKEN))
        begun = Exchange([b""])
        await application(scope("POST", BEGIN), begun.receive, begun.send)

        class Silent(Exchange):
            async def receive(self) -> Message:
                return await super().receive() if self._pieces else await asyncio.Future()

        silent = Silent([DATA[:1000]], whole=False)
        await bounded(application(scope("PATCH", begun.headers["location"]), silent.receive, silent.send))
        assert silent.status == 0
        assert (
            store.uploads.open("localhost/app", begun.headers["location"].rpartition("/")[2]).offset == 1000
        )


async def test_a_client_that_does_not_read_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "STALL_SECONDS", 0.05)
    async with endpoint(tmp_path) as (client, store):
        digest = await push_blob(client, "app", DATA)
        application = Application(Calls(store), Access())

        class Full(Exchange):
            async def send(self, message: Message) -> None:
                await super().send(message)
                if message["type"] == "http.response.body":
                    await asyncio.Future()

        full = Full([b""])
        await bounded(application(scope("GET", f"/v2/app/blobs/{digest}"), full.receive, full.send))
        assert full.status == 200
        assert not full.ended


async def test_two_that_send_to_one_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peat_sidecar.registry.uploads._BUSY_SECONDS", 0.05)
    async with endpoint(tmp_path) as (client, _):
        at = (await client.post(BEGIN)).headers["Location"]
        begun, more = asyncio.Event(), asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield DATA[:1000]
            begun.set()
            await more.wait()
            yield DATA[1000:]

        first = asyncio.create_task(client.patch(at, content=slowly()))
        await bounded(begun.wait())
        second = await client.patch(at, content=b"x")
        assert (second.status_code, code_of(second)) == (409, "BLOB_UPLOAD_INVALID")
        more.set()
        assert (await bounded(first)).status_code == 202
        assert (await client.put(at, params={"digest": digest_of(DATA)})).status_code == 201


async def test_a_chunk_that_is_not_as_long_as_it_says(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, _):
        at = (await client.post(BEGIN)).headers["Location"]
        for stated in ("0-99", "0-9999999"):
            answer = await client.patch(at, content=DATA[:1000], headers={"Content-Range": stated})
            assert (answer.status_code, code_of(answer)) == (400, "SIZE_INVALID")
            assert (await client.get(at)).headers["Range"] == "0-0"
        for stated in ("x", "5-", "-5", "9-1", "0-0-0", "0-" + "9" * 40):
            answer = await client.patch(at, content=DATA[:1000], headers={"Content-Range": stated})
            assert answer.status_code in (400, 416), stated
        assert (await client.put(at, params={"digest": digest_of(b"")})).status_code == 201


async def test_what_is_larger_than_the_disk_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        application = Application(Calls(store), Access(token=TOKEN))
        begun = Exchange([b""])
        await application(scope("POST", BEGIN), begun.receive, begun.send)
        large = Exchange([b"x"])
        asked = scope("PATCH", begun.headers["location"], content_length=str(1 << 58))
        await application(asked, large.receive, large.send)
        assert large.status == 507


async def test_a_wrong_digest_takes_all_of_it_away(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, store):
        other = digest_of(b"other")
        for method in ("two requests", "one request"):
            if method == "one request":
                answer = await client.post(BEGIN, params={"digest": other}, content=DATA)
            else:
                at = (await client.post(BEGIN)).headers["Location"]
                answer = await client.put(at, params={"digest": other}, content=DATA)
                assert (await client.get(at)).status_code == 404
            assert (answer.status_code, code_of(answer)) == (400, "DIGEST_INVALID")
        assert not files(tmp_path, "uploads/*/*")
        assert store.usage().blobs == 0


async def test_another_repositorys_upload_is_not_found(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, _):
        at = (await client.post(BEGIN)).headers["Location"]
        assert (await client.patch(at.replace("/app/", "/other/"), content=b"x")).status_code == 404


async def test_what_is_abandoned_goes_and_what_is_used_stays(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, store):
        at = (await client.post(BEGIN)).headers["Location"]
        await client.patch(at, content=b"half")
        unused = await push_blob(client, "app", b"no manifest names it")
        document = await image(client, "app", "used")
        await push_manifest(client, "app", document, "v1")
        assert store.uploads.expire(3600) == 0
        assert store.uploads.expire(-1) == 2
        with pytest.raises(NotFound):
            store.uploads.open("localhost/app", at.rpartition("/")[2])
        assert store.find(Digest.parse(unused)) is None
        used = document["layers"][0]["digest"]
        assert (await client.get(f"/v2/app/blobs/{used}")).content == b"used"


async def test_what_was_here_before_an_upload_outlives_it(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, store):
        store.put(DATA)
        digest = await push_blob(client, "app", DATA)
        assert (await client.delete(f"/v2/app/blobs/{digest}")).status_code == 202
        assert (await client.get(f"/v2/app/blobs/{digest}")).status_code == 404
        assert store.find(Digest.parse(digest)) is not None


async def test_a_mount_shows_what_the_caller_may_read_only(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, store):
        info = store.put(DATA)
        for query in ({"mount": str(info.digest)}, {"mount": str(info.digest), "from": "other"}):
            assert (await client.post(BEGIN, params=query)).status_code == 202
        answer = await client.post(BEGIN, params={"mount": str(info.digest), "from": "../x"})
        assert (answer.status_code, code_of(answer)) == (400, "NAME_INVALID")


async def test_many_pushes_of_one_blob_at_once(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, store):
        await bounded(asyncio.gather(*(push_blob(client, f"app/{number}", DATA) for number in range(8))))
        assert store.usage().blobs == 1
        for number in range(8):
            head = await client.head(f"/v2/app/{number}/blobs/{digest_of(DATA)}")
            assert head.headers["Content-Length"] == str(len(DATA))
        assert not files(tmp_path, "partial/*")


async def test_a_wrong_upload_takes_no_right_blob_with_it(tmp_path: Path) -> None:
    async with endpoint(tmp_path) as (client, _):
        digest = digest_of(DATA)
        for content, status in ((DATA, 201), (DATA[1:], 400)):
            at = (await client.post(BEGIN)).headers["Location"]
            assert (await client.put(at, params={"digest": digest}, content=content)).status_code == status
        assert (await client.get(f"/v2/app/blobs/{digest}")).content == DATA
