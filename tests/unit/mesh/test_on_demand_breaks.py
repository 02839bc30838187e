"""Pulls through the mesh when peers leave, clients are slow, and tags have moved on."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from peat_sidecar.classes import TransferClass
from peat_sidecar.ids import Digest
from peat_sidecar.mesh import reading
from tests.support.mesh_nodes import Mesh, MeshNode, calm, layer, mesh
from tests.support.nodes import sha256_of, until
from tests.support.on_demand import Endpoint, endpoint_of
from tests.support.real_files import real_bytes

REPOSITORY = "registry.example/team/app"
REF = f"{REPOSITORY}:v1"
MIB = 1 << 20
SIZE = 6 * MIB
DATA = real_bytes(SIZE, 0)
PATH = f"{REPOSITORY}/blobs/{sha256_of(DATA)}"


async def slow(node: MeshNode) -> None:
    """What comes to it takes so long that a test can do something meanwhile."""
    await node.p.limiter.change({"down": "16 Mbit/s"})


async def providers(made: Mesh, *names: str) -> tuple[MeshNode, ...]:
    """Nodes that have the package, and last the one that has not."""
    nodes = [await made.node(name) for name in names]
    *having, last = nodes
    for each in having:
        each.add(REF, [DATA])
        made.link(each, last)
    await until(lambda: len(last.p.offers.holders(collection(last))) == len(having))
    return tuple(nodes)


def collection(node: MeshNode) -> object:
    offer = node.p.offers.resolve(REF)
    return offer.collection if offer is not None else None


async def manifest_digest(there: Endpoint) -> Digest:
    answer = await there.get(f"{REPOSITORY}/manifests/v1")
    assert answer.status_code == 200
    return Digest.parse(answer.headers["docker-content-digest"])


async def test_the_serving_peer_is_killed(tmp_path: Path) -> None:
    """The client goes on with bytes from another one, without a break."""
    async with mesh(tmp_path) as made:
        a, c, b = await providers(made, "a", "c", "b")
        await slow(b)
        sent = made.made.memory.sent_bytes
        async with endpoint_of(b) as there, there.client.stream("GET", f"/v2/{PATH}") as answer:
            body = b""
            async for piece in answer.aiter_raw():
                if len(body) < MIB <= len(body) + len(piece):
                    assert sent[a.id, b.id]
                    made.made.memory.kill(a.id)
                body += piece
        assert body == DATA
        assert sent[c.id, b.id] > MIB


async def test_nobody_is_left(tmp_path: Path) -> None:
    """The connection ends short of the length; the client goes on where it was when somebody is back."""
    async with mesh(tmp_path) as made:
        a, b = await providers(made, "a", "b")
        await slow(b)
        async with endpoint_of(b, wait_seconds=0.5) as there:
            body = bytearray()
            with pytest.raises(httpx.RemoteProtocolError):
                await read(there, body, lambda: made.made.memory.stall(a.id, b.id))
            assert 0 < len(body) < SIZE
            assert body == DATA[: len(body)]
            made.made.memory.resume(a.id, b.id)
            rest = await there.get(PATH, range=f"bytes={len(body)}-")
            assert rest.status_code == 206
            assert body + rest.content == DATA


async def read(there: Endpoint, body: bytearray, begun: Callable[[], None]) -> None:
    """Reads the layer into a body, and says when it has begun."""
    async with there.client.stream("GET", f"/v2/{PATH}") as answer:
        async for piece in answer.aiter_raw():
            begun()
            body += piece


async def test_a_slow_client_holds_up_nobody(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        _, b = await providers(made, "a", "b")
        async with endpoint_of(b) as there, there.client.stream("GET", f"/v2/{PATH}") as slow_one:
            pieces = slow_one.aiter_raw(1000)
            got = await anext(pieces)
            assert (await there.get(PATH)).content == DATA
            await until(lambda: b.content(REF) is not None)
            async for piece in pieces:
                got += piece
            assert got == DATA


async def test_a_clients_want_goes_first(tmp_path: Path) -> None:
    """A want of the last class is fetched in class high while it is read, and no longer."""
    async with mesh(tmp_path) as made:
        _, b = await providers(made, "a", "b")
        await slow(b)
        want = b.p.wants.add(REF, TransferClass.BULK)
        await until(lambda: bool(b.p.transfers.running()))
        (transfer,) = b.p.transfers.running()
        await until(lambda: transfer.progress.transfer_class is TransferClass.BULK)
        async with endpoint_of(b) as there, there.client.stream("GET", f"/v2/{PATH}") as answer:
            await anext(answer.aiter_raw(1000))
            assert b.p.transfers.running() == [transfer]
            assert transfer.progress.transfer_class is TransferClass.HIGH
        assert [each.id for each in b.p.wants.list()] == [want.id]


async def test_a_client_reads_on_when_the_policy_drops_the_want(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        _, b = await providers(made, "a", "b")
        await slow(b)
        async with endpoint_of(b) as there, there.client.stream("GET", f"/v2/{PATH}") as answer:
            pieces = answer.aiter_raw()
            body = await anext(pieces)
            want = b.p.wants.add(str(collection(b)), arch="amd64", origin="policy")
            assert [each.origin for each in b.p.wants.list()] == ["policy"]
            b.p.wants.drop(want.id)
            assert b.p.state.wants() == []
            assert [each.origin for each in b.p.wants.list()] == ["client"]
            assert body + b"".join([each async for each in pieces]) == DATA


async def test_a_client_reads_on_after_the_deadline_of_the_want(tmp_path: Path) -> None:
    """Whoever made the want still sees that it failed."""
    async with mesh(tmp_path) as made:
        _, b = await providers(made, "a", "b")
        await slow(b)
        want = b.p.wants.add(REF, deadline_seconds=60)
        await until(lambda: any(each > 50 for each in made.time.due))
        async with endpoint_of(b) as there, there.client.stream("GET", f"/v2/{PATH}") as answer:
            pieces = answer.aiter_raw()
            body = await anext(pieces)
            made.time.advance(61)
            await until(lambda: any(row.expired for row in b.p.state.wants()))
            assert body + b"".join([each async for each in pieces]) == DATA
        assert {each.id: each.state for each in b.p.wants.list()}[want.id] == "failed"


async def test_a_tag_that_has_moved_on(tmp_path: Path) -> None:
    """The newer content where it can be had; what is here where it cannot, at once."""
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        made.link(a, b)
        old = a.add(REF, [layer(1)])
        b.p.wants.add(REF)
        await until(lambda: b.content(REF) is not None)
        new = a.add(REF, [layer(2)])
        await until(lambda: getattr(b.p.offers.resolve(REF), "root", None) == new.root.digest)
        async with endpoint_of(b, wait_seconds=3600) as there:
            assert await manifest_digest(there) == new.root.digest
            made.unlink(a, b)
            assert await manifest_digest(there) == old.root.digest


async def test_what_was_just_put_here_is_the_newest(tmp_path: Path) -> None:
    """Before its record is written, the records name the older one."""
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        made.link(a, b)
        a.add(REF, [layer(1)])
        await until(lambda: b.p.offers.resolve(REF) is not None)
        await calm(a, b)
        async with endpoint_of(b) as there:
            b.p.tasks[2].cancel()  # the announcer
            mine = b.add(REF, [layer(2)])
            assert await manifest_digest(there) == mine.root.digest


async def test_a_client_waits_for_no_turn(tmp_path: Path) -> None:
    """Four others that are as urgent are being fetched."""
    async with mesh(tmp_path) as made:
        a, b = await providers(made, "a", "b")
        others = [f"{REPOSITORY}:other{number}" for number in range(4)]
        for number, name in enumerate(others):
            a.add(name, [real_bytes(SIZE, (number + 1) * SIZE)])
        await until(lambda: all(b.p.offers.resolve(name) is not None for name in others))
        await slow(b)
        for name in others:
            b.p.wants.add(name, TransferClass.HIGH)
        await until(lambda: len(b.p.transfers.running()) == len(others))
        async with endpoint_of(b) as there, there.client.stream("GET", f"/v2/{PATH}") as answer:
            await anext(answer.aiter_raw(1000))
            assert len(b.p.transfers.running()) == len(others) + 1


async def test_a_client_that_leaves_before_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "GRACE_SECONDS", 0.05)
    async with mesh(tmp_path) as made:
        a, b = await providers(made, "a", "b")
        async with endpoint_of(b, wait_seconds=3600) as there:
            assert (await there.client.head(f"/v2/{PATH}")).status_code == 200
            made.made.memory.stall(a.id, b.id)
            getting = asyncio.create_task(there.get(PATH))
            await until(lambda: bool(b.p.wants.list()))
            getting.cancel()
            await until(lambda: not b.p.wants.list())
            await until(lambda: not b.p.transfers.running())


async def test_documents_that_were_deleted_come_again(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        _, b = await providers(made, "a", "b")
        async with endpoint_of(b) as there:
            digest = await manifest_digest(there)
            info = b.p.store.find(digest)
            assert info is not None
            b.p.store.delete(info.hash)
            assert (await there.get(f"{REPOSITORY}/manifests/{digest}")).status_code == 200


async def test_content_that_is_not_what_its_record_says(tmp_path: Path) -> None:
    """The manifest that is said to be of that digest is of another one: nobody is given it."""
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        a.p.tasks[2].cancel()  # the announcer, which would take it back
        package = a.add(None, [layer(1)])
        false = {"root": f"sha256:{'0' * 64}", "collection": str(package.collection), "bytes": package.bytes}
        content = false | {"blobs": 3, "state": "complete", "listed_as": REF}
        a.p.records.put("packages", "a:false", {"reference": REF, "arch": "amd64", "content": content})
        made.link(a, b)
        await until(lambda: b.p.offers.resolve(REF) is not None)
        async with endpoint_of(b) as there:
            answer = await there.get(f"{REPOSITORY}/manifests/v1")
            assert answer.status_code == 503
            assert "is expected" in answer.json()["errors"][0]["message"]
