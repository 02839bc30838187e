"""What a client asks for and is in an upstream only: brought while it is read, once, and served without the
upstream from then on.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from peat_sidecar.transfer import list_package, stored_documents
from tests.support.images import OCI_INDEX, OCI_MANIFEST
from tests.support.nodes import bounded, until
from tests.support.odd_registry import OddRegistry, Reply, Request
from tests.support.pull_through import NAME, image, mirror, publish
from tests.support.real_files import real_bytes
from tests.support.stored_packages import bring

LAYER, OTHER = real_bytes(900_000), real_bytes(300_000)
REFERENCE = f"{NAME}/app:v1"


@pytest.fixture
async def odd() -> AsyncIterator[OddRegistry]:
    async with OddRegistry() as started:
        yield started


def blobs_asked_for(odd: OddRegistry) -> list[str]:
    return [request.path.rpartition("/")[2] for request in odd.seen if "/blobs/" in request.path]


async def test_a_pull_ends_as_a_package_and_needs_no_upstream_again(odd: OddRegistry, tmp_path: Path) -> None:
    digest = publish(odd, LAYER, OTHER)
    async with mirror(tmp_path, odd) as made:
        pulled = await bounded(made.pull())
        assert sorted(pulled.values()) == sorted([b"{}", LAYER, OTHER])
        await made.listed(REFERENCE)
        package = made.store.package(REFERENCE)
        assert package is not None
        assert str(package.root.digest) == digest
        assert sorted(blobs_asked_for(odd)) == sorted(pulled)  # each once
        asked = len(odd.seen)
        assert await bounded(made.pull()) == pulled
        assert await bounded(made.pull(tag=digest)) == pulled
        assert len(odd.seen) == asked


async def test_a_layer_without_bytes(odd: OddRegistry, tmp_path: Path) -> None:
    publish(odd, b"", LAYER)
    async with mirror(tmp_path, odd, wait_seconds=60) as made:
        assert sorted((await bounded(made.pull())).values()) == sorted([b"{}", b"", LAYER])
        await made.listed(REFERENCE)


async def test_what_was_pulled_is_cached_and_what_was_brought_by_itself_is_not(
    odd: OddRegistry, tmp_path: Path
) -> None:
    publish(odd, LAYER)
    async with mirror(tmp_path, odd) as made:
        await bounded(made.pull())
        await made.listed(REFERENCE)
        package = made.store.package(REFERENCE)
        assert package is not None
        await until(lambda: package.root.digest in made.store.cached)
        bring(made.store, "own:v1", OTHER)
        assert made.store.cached.all() == {package.root.digest}
        whole = stored_documents(package.collection, made.store)
        assert whole is not None
        list_package(made.store, whole.package, "pushed:v1")
        assert made.store.cached.all() == set()


async def test_heads_bring_no_layers(odd: OddRegistry, tmp_path: Path) -> None:
    digest = publish(odd, LAYER)
    async with mirror(tmp_path, odd) as made:
        head = await made.client.head(f"/v2/{NAME}/app/manifests/v1")
        assert (head.status_code, head.headers["Docker-Content-Digest"]) == (200, digest)
        layer = json.loads(odd.manifests[digest][1])["layers"][0]["digest"]
        head = await made.client.head(f"/v2/{NAME}/app/blobs/{layer}")
        assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(LAYER)))
        assert blobs_asked_for(odd) == []


async def test_what_the_upstream_has_not_is_not_there(odd: OddRegistry, tmp_path: Path) -> None:
    publish(odd, LAYER)
    async with mirror(tmp_path, odd) as made:
        assert (await made.get("app/manifests/v2")).status_code == 404
        layer = blobs_of(odd)[-1]
        assert (await made.get(f"app/blobs/{layer}")).status_code == 404  # no manifest was asked for
        answer = await made.client.get("/v2/other.example/app/manifests/v1")
        assert answer.status_code == 404


def blobs_of(odd: OddRegistry, tag: str = "v1") -> list[str]:
    document = json.loads(odd.manifests[tag][1])
    return [each["digest"] for each in (document["config"], *document["layers"])]


async def test_bytes_come_before_all_are_here_and_the_last_ones_when_proven(
    odd: OddRegistry, tmp_path: Path
) -> None:
    data = real_bytes(3 << 20)
    publish(odd, data)
    layer = blobs_of(odd)[-1]
    odd.rules.append(lambda each: Reply(body=data, stall_after=5 << 19) if layer in each.path else None)
    async with mirror(tmp_path, odd, wait_seconds=20) as made:
        assert (await made.get("app/manifests/v1")).status_code == 200
        async with made.client.stream("GET", f"/v2/{NAME}/app/blobs/{layer}") as answer:
            assert answer.headers["Content-Length"] == str(len(data))
            got = b""
            with contextlib.suppress(httpx.RemoteProtocolError):  # nothing more comes
                async for piece in answer.aiter_bytes():
                    got += piece
        assert len(got) < len(data)
        assert len(got) >= 2 << 20
        assert data.startswith(got)
        odd.rules.clear()
        made.time.advance(31)
        rest = await made.get(f"app/blobs/{layer}", Range=f"bytes={len(got)}-")
        assert (rest.status_code, got + rest.content) == (206, data)


async def test_wrong_bytes_never_end_cleanly(odd: OddRegistry, tmp_path: Path) -> None:
    publish(odd, LAYER)
    layer = blobs_of(odd)[-1]
    odd.blobs[layer] = LAYER[:-1] + bytes([LAYER[-1] ^ 1])
    async with mirror(tmp_path, odd) as made:
        await made.get("app/manifests/v1")
        with contextlib.suppress(
            httpx.RemoteProtocolError
        ):  # where its beginning went out before the end came
            assert (await made.get(f"app/blobs/{layer}")).status_code == 404
        assert made.store.package(REFERENCE) is None


async def test_many_clients_share_one_download(odd: OddRegistry, tmp_path: Path) -> None:
    publish(odd, LAYER, OTHER)
    async with mirror(tmp_path, odd) as made:
        pulled = await bounded(asyncio.gather(*(made.pull() for _ in range(16))))
        assert all(each == pulled[0] for each in pulled)
        assert odd.count("GET", "/manifests/") < 3  # who comes while it is asked shares the answer
        await made.listed(REFERENCE)
        assert sorted(blobs_asked_for(odd)) == sorted(pulled[0])


async def test_a_client_that_leaves_stops_nothing(odd: OddRegistry, tmp_path: Path) -> None:
    publish(odd, LAYER, OTHER)
    layer = blobs_of(odd)[-2]
    async with mirror(tmp_path, odd) as made:
        await made.get("app/manifests/v1")
        async with made.client.stream("GET", f"/v2/{NAME}/app/blobs/{layer}") as answer:
            await anext(answer.aiter_bytes())
        await made.listed(REFERENCE)


async def test_of_an_index_comes_what_was_asked_for(odd: OddRegistry, tmp_path: Path) -> None:
    children = [image(odd, data, config=config) for data, config in ((LAYER, b"{}"), (OTHER, b"[]"))]
    digests = [odd.add_manifest(each) for each in children]
    entries = [
        {"mediaType": OCI_MANIFEST, "digest": each, "size": len(odd.manifests[each][1])} for each in digests
    ]
    root = odd.add_manifest(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}, OCI_INDEX, tag="v1"
    )
    async with mirror(tmp_path, odd) as made:
        assert (await made.get("app/manifests/v1")).headers["Docker-Content-Digest"] == root
        await made.pull(tag=digests[0])
        await made.listed(REFERENCE)
        package = made.store.package(REFERENCE)
        assert package is not None
        assert len(package.blobs) == 4
        assert len(blobs_asked_for(odd)) == 2
        await made.pull(tag=digests[1])  # another platform: the package grows
        await until(lambda: len(getattr(made.store.package(REFERENCE), "blobs", ())) == 7)
        assert [name for name in made.store.roots() if name.startswith(NAME)] == [REFERENCE]


@pytest.mark.parametrize("has_referrers", [True, False])
async def test_what_refers_to_it_comes_with_it(odd: OddRegistry, tmp_path: Path, has_referrers: bool) -> None:
    """Signatures are listed where clients look for them; an upstream that has no such list costs nothing."""
    digest = publish(odd, LAYER)
    odd.has_referrers = has_referrers
    subject = {"mediaType": OCI_MANIFEST, "digest": digest, "size": len(odd.manifests[digest][1])}
    signature = odd.add_manifest(image(odd, b"signed", config=b"[]") | {"subject": subject})
    async with mirror(tmp_path, odd) as made:
        await made.pull()
        await made.listed(REFERENCE)
        await until(lambda: not made.transfers.running())
        listed = (await made.get(f"app/referrers/{digest}")).json()["manifests"]
        assert [each["digest"] for each in listed] == ([signature] if has_referrers else [])
        assert set(made.store.roots()) == {REFERENCE} | (
            {f"{NAME}/app@{signature}"} if has_referrers else set()
        )
        assert len(made.store.packages()) == len(made.store.roots())


async def test_a_second_tag_of_the_same_costs_a_question(odd: OddRegistry, tmp_path: Path) -> None:
    publish(odd, LAYER)
    odd.manifests["latest"] = odd.manifests["v1"]
    async with mirror(tmp_path, odd) as made:
        await made.pull()
        await made.listed(REFERENCE)
        await made.pull(tag="latest")
        await made.listed(f"{NAME}/app:latest")
        assert len(blobs_asked_for(odd)) == 2
        asked = len(odd.seen)
        await made.pull(tag="latest")
        assert len(odd.seen) == asked


async def test_the_mesh_first_asks_no_upstream_of_a_tag_that_is_here(
    odd: OddRegistry, tmp_path: Path
) -> None:
    publish(odd, LAYER)
    async with mirror(tmp_path, odd) as made:
        pulled = await made.pull()
        await made.listed(REFERENCE)
        publish(odd, OTHER)
        asked = len(odd.seen)
        assert await made.pull() == pulled
        assert len(odd.seen) == asked


async def test_the_upstream_first_says_what_a_tag_is(odd: OddRegistry, tmp_path: Path) -> None:
    publish(odd, LAYER)
    async with mirror(tmp_path, odd, is_first=True) as made:
        await made.pull()
        await made.listed(REFERENCE)
        new = publish(odd, OTHER)
        assert OTHER in (await made.pull()).values()
        await until(lambda: str(made.store.roots()[REFERENCE].digest) == new)
        asked = len(odd.seen)
        await made.pull()
        assert [each.method for each in odd.seen[asked:]] == ["HEAD"]


def failing(kind: str) -> Reply:
    html = {"Content-Type": "text/html"}
    return {
        "401": Reply(401, {"WWW-Authenticate": 'Basic realm="x"'}),
        "403": Reply(403),
        "429": Reply(429, {"Retry-After": "60"}),
        "500": Reply(500),
        "503": Reply(503),
        "html": Reply(200, html, b"<html>log in to the harbour's network</html>"),
        "silent": Reply(200, {}, b"{}", stall_after=0),
    }[kind]


KINDS = ["401", "403", "429", "500", "503", "html", "silent", "dead"]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_upstream_that_fails_costs_once_and_what_is_here_is_served(
    odd: OddRegistry, tmp_path: Path, kind: str
) -> None:
    publish(odd, LAYER)
    async with mirror(tmp_path, odd, is_first=True, ask_seconds=1) as made:
        pulled = await made.pull()
        await made.listed(REFERENCE)
        if kind == "dead":
            await odd.__aexit__(None, None, None)
        seen: list[Request] = []

        def rule(request: Request) -> Reply:
            seen.append(request)
            return failing(kind)

        odd.rules.append(rule)
        assert await bounded(made.pull()) == pulled
        asked = len(seen)
        absent = await bounded(made.get("app/manifests/v2"))
        assert (absent.status_code, "Retry-After" in absent.headers) == (503, True)
        assert await bounded(made.pull()) == pulled
        assert len(seen) == asked
        if kind != "dead":
            assert asked
            odd.rules.clear()
            made.time.advance(31)
            assert (await bounded(made.get("app/manifests/v2"))).status_code == 404
            assert not made.upstream.is_failing
        assert made.upstream.asked["failed"]


async def test_one_refused_repository_is_no_failure_of_others(odd: OddRegistry, tmp_path: Path) -> None:
    publish(odd, LAYER)
    odd.rules.append(lambda each: Reply(403) if "/secret/" in each.path else None)
    async with mirror(tmp_path, odd) as made:
        assert (await made.get("secret/manifests/v1")).status_code == 503
        assert (await made.get("app/manifests/v1")).status_code == 200
        asked = len(odd.seen)
        assert (await made.get("secret/manifests/v1")).status_code == 503
        assert len(odd.seen) == asked


async def test_one_refused_blob_is_no_failure_of_other_repositories(odd: OddRegistry, tmp_path: Path) -> None:
    publish(odd, LAYER)
    layer = blobs_of(odd)[-1]
    odd.rules.append(lambda each: Reply(403) if f"/secret/blobs/{layer}" in each.path else None)
    async with mirror(tmp_path, odd) as made:
        for path in ("secret", "app"):
            assert (await made.get(f"{path}/manifests/v1")).status_code == 200
        answers = await asyncio.gather(*(made.get(f"{path}/blobs/{layer}") for path in ("secret", "app")))
        assert [each.status_code for each in answers] == [503, 200]
        assert answers[1].content == LAYER
        assert not made.upstream.is_failing


async def test_a_full_disk_is_no_failure_of_the_upstream(odd: OddRegistry, tmp_path: Path) -> None:
    document = image(odd, LAYER)
    document["layers"][0]["size"] = 1 << 60
    odd.add_manifest(document, tag="v1")
    async with mirror(tmp_path, odd) as made:
        assert (await made.get("app/manifests/v1")).status_code == 200
        answer = await made.get(f"app/blobs/{blobs_of(odd)[-1]}")
        assert (answer.status_code, "room" in answer.text) == (503, True)
        assert not made.upstream.is_failing
        assert (await made.get(f"app/blobs/{blobs_of(odd)[0]}")).status_code == 200


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, b'{"schemaVersion": 1, "name": "old"}'), (200, b"[" + b" " * (5 << 20)), (400, b""), (416, b"")],
)
async def test_an_answer_that_cannot_be_used_is_no_failure_of_other_repositories(
    odd: OddRegistry, tmp_path: Path, status: int, body: bytes
) -> None:
    publish(odd, LAYER)
    reply = Reply(status, {"Content-Type": "application/json"}, body)
    odd.rules.append(lambda each: reply if "/odd/" in each.path else None)
    async with mirror(tmp_path, odd) as made:
        assert (await made.get("odd/manifests/v1")).status_code == 503
        assert not made.upstream.is_failing
        assert (await made.get("app/manifests/v1")).status_code == 200


async def test_a_portal_in_between_is_a_failure_of_all(odd: OddRegistry, tmp_path: Path) -> None:
    odd.rules.append(lambda each: failing("html"))
    async with mirror(tmp_path, odd) as made:
        assert (await made.get("app/manifests/v1")).status_code == 503
        assert made.upstream.is_failing


async def test_a_tag_that_moved_stays_there_while_old_layers_are_read(
    odd: OddRegistry, tmp_path: Path
) -> None:
    old = publish(odd, LAYER)
    layer = blobs_of(odd)[-1]
    async with mirror(tmp_path, odd, is_first=True) as made:
        assert (await made.get("app/manifests/v1")).status_code == 200
        new = publish(odd, OTHER)
        await made.pull()
        await made.listed(REFERENCE)
        assert (await made.get(f"app/blobs/{layer}")).content == LAYER
        await made.listed(f"{NAME}/app@{old}")
        assert str(made.store.roots()[REFERENCE].digest) == new


async def test_names_without_a_registry_are_looked_for_in_the_default_one(
    odd: OddRegistry, tmp_path: Path
) -> None:
    """As docker asks its mirrors."""
    publish(odd, LAYER)
    async with mirror(tmp_path, odd, default_registry=NAME) as made:
        for _ in range(2):
            answer = await made.client.get("/v2/app/manifests/v1")
            assert answer.status_code == 200
            layer = answer.json()["layers"][0]["digest"]
            assert (await made.client.get(f"/v2/app/blobs/{layer}")).content == LAYER
            await made.listed(REFERENCE)
        assert list(made.store.roots()) == [REFERENCE]
