"""Clients of the registry pull what is not here: through the mesh, while it comes."""

import asyncio
from pathlib import Path

import httpx
import pytest

from peat_sidecar.ids import Digest
from peat_sidecar.mesh import Collector, known_documents, reading
from peat_sidecar.store import StoredPackage
from tests.support.manifests import OCI_MANIFEST
from tests.support.mesh_nodes import Mesh, MeshNode, layer, mesh
from tests.support.nodes import sha256_of, until
from tests.support.on_demand import Endpoint, endpoint_of
from tests.support.real_files import real_bytes

REPOSITORY = "registry.example/team/app"
REF = f"{REPOSITORY}:v1"
MIB = 1 << 20


async def two(made: Mesh, layers: list[bytes]) -> tuple[MeshNode, MeshNode, StoredPackage]:
    """One that has a package, and one that knows of it."""
    a, b = await made.node("a"), await made.node("b")
    package = a.add(REF, layers)
    made.link(a, b)
    await until(lambda: b.p.offers.resolve(REF) is not None)
    return a, b, package


async def manifest_of(endpoint: Endpoint, name: str = "v1") -> httpx.Response:
    return await endpoint.get(f"{REPOSITORY}/manifests/{name}")


async def test_a_pull_brings_the_package(tmp_path: Path) -> None:
    layers = [layer(1), real_bytes(3 * MIB, 0), b"", real_bytes(MIB, 5)]
    async with mesh(tmp_path) as made:
        _, b, package = await two(made, layers)
        async with endpoint_of(b) as there:
            manifest = await manifest_of(there)
            assert manifest.status_code == 200
            assert manifest.headers["content-type"] == OCI_MANIFEST
            assert sha256_of(manifest.content) == package.root.digest
            assert b.content(REF) is None
            for digest in package.blobs:
                kind = "manifests" if digest == package.root.digest else "blobs"
                answer = await there.get(f"{REPOSITORY}/{kind}/{digest}")
                assert answer.status_code == 200
                assert sha256_of(answer.content) == digest
            await until(lambda: b.content(REF) is not None)
            await until(lambda: "content" in b.document(f"b:{REF}-amd64"))


async def test_a_part_of_a_layer(tmp_path: Path) -> None:
    data = real_bytes(3 * MIB, 0)
    async with mesh(tmp_path) as made:
        _, b, _ = await two(made, [data])
        async with endpoint_of(b) as there:
            path = f"{REPOSITORY}/blobs/{sha256_of(data)}"
            answer = await there.get(path, range="bytes=2000000-2000999")
            assert answer.status_code == 206
            assert answer.content == data[2_000_000:2_001_000]
            assert answer.headers["content-range"] == f"bytes 2000000-2000999/{len(data)}"
            head = await there.client.head(f"/v2/{path}")
            assert head.headers["content-length"] == str(len(data))


async def test_heads_fetch_no_layers(tmp_path: Path) -> None:
    data = real_bytes(3 * MIB, 0)
    async with mesh(tmp_path) as made:
        a, b, package = await two(made, [data])
        async with endpoint_of(b) as there:
            head = await there.client.head(f"/v2/{REPOSITORY}/manifests/v1")
            assert head.headers["docker-content-digest"] == str(package.root.digest)
            head = await there.client.head(f"/v2/{REPOSITORY}/blobs/{sha256_of(data)}")
            assert (head.status_code, head.headers["content-length"]) == (200, str(len(data)))
            assert not b.p.wants.list()
            assert made.made.memory.sent_bytes[a.id, b.id] < 64 << 10


async def test_what_nobody_has(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b, package = await two(made, [layer(1)])
        async with endpoint_of(b, wait_seconds=3600) as there:
            nothing = Digest("sha256", "0" * 64)
            assert (await there.get(f"{REPOSITORY}/blobs/{nothing}")).status_code == 404
            assert (await manifest_of(there, "v2")).status_code == 404
            assert (await manifest_of(there, str(nothing))).status_code == 404
            sent = made.made.memory.sent_bytes[a.id, b.id]
            made.unlink(a, b)
            assert (await there.get(f"{REPOSITORY}/blobs/{nothing}")).status_code == 404
            assert made.made.memory.sent_bytes[a.id, b.id] == sent
            # knowing a digest is not enough
            other = await there.get(f"registry.example/other/blobs/{package.blobs[1]}")
            assert other.status_code == 404


async def test_documents_are_kept_ahead(tmp_path: Path) -> None:
    """A layer is found by its digest, and what is none of anybody's is not, when nobody can be reached."""
    data = real_bytes(3 * MIB, 0)
    async with mesh(tmp_path) as made:
        a, b, _ = await two(made, [data])
        async with endpoint_of(b, keeps=True, wait_seconds=0.2) as there:
            offer = b.p.offers.resolve(REF)
            assert offer is not None
            await until(lambda: bool(there.documents.kept()))
            assert all(b.p.store.find(each) is not None for each in there.documents.kept())
            assert b.p.store.find(sha256_of(data)) is None
            careless = Collector(b.p.store, b.p.state, b.p.wants)
            careful = Collector(b.p.store, b.p.state, b.p.wants, kept=there.documents.kept)
            assert careless.garbage(0).orphans
            assert not careful.collect(0).orphans
            made.unlink(a, b)
            assert (await manifest_of(there)).status_code == 200
            head = await there.client.head(f"/v2/{REPOSITORY}/blobs/{sha256_of(data)}")
            assert (head.status_code, head.headers["content-length"]) == (200, str(len(data)))
            missing = await there.get(f"{REPOSITORY}/blobs/{sha256_of(data)}")
            assert missing.status_code == 503
            assert int(missing.headers["retry-after"]) > 0
            assert "none of them can be reached" in missing.json()["errors"][0]["message"]
            assert (await there.get(f"{REPOSITORY}/blobs/sha256:{'0' * 64}")).status_code == 404


async def test_no_more_documents_are_kept_ahead_than_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_documents, "KEPT_LIMIT", 2)
    async with mesh(tmp_path) as made:
        a, b, package = await two(made, [layer(0)])
        others = [a.add(f"{REPOSITORY}:other{number}", [layer(number)]) for number in range(1, 4)]
        await until(lambda: all(b.p.offers.resolve(str(each.collection)) is not None for each in others))
        async with endpoint_of(b) as there:
            for each in (package, *others):  # as their records come
                there.documents._look_at([each.collection])
                await there.documents._keep()
            kept = there.documents.kept()
            assert [each.collection in kept for each in (package, *others)] == [True, True, False, False]


async def test_nothing_is_kept_ahead_on_a_disk_without_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_documents, "ROOM_BYTES", 1 << 60)
    async with mesh(tmp_path) as made:
        _, b, package = await two(made, [layer(1)])
        async with endpoint_of(b) as there:
            await there.documents._look_at_all()
            await there.documents._keep()
            assert not there.documents.kept()
            assert b.p.store.find(package.root.digest) is None
            assert (await manifest_of(there)).status_code == 200  # asked for, it is brought
            assert b.p.store.find(package.root.digest) is not None


async def test_what_cannot_be_reached(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b, package = await two(made, [layer(1)])
        made.unlink(a, b)
        async with endpoint_of(b, wait_seconds=0.2) as there:
            answer = await manifest_of(there)
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
            assert (await there.get(f"{REPOSITORY}/blobs/{package.blobs[1]}")).status_code == 503


async def test_who_was_waited_for_in_vain_is_waited_for_again_when_back(tmp_path: Path) -> None:
    """A client asks for many blobs: each of them would cost the whole wait."""
    async with mesh(tmp_path) as made:
        a, b, package = await two(made, [layer(1)])
        made.unlink(a, b)
        async with endpoint_of(b, wait_seconds=0.2) as there:
            path = f"{REPOSITORY}/blobs/{package.blobs[1]}"
            first, second = await there.get(path), await there.get(path)
            assert (first.status_code, second.status_code) == (503, 503)
            asked = await there.client.head(f"/v2/{path}")
            assert asked.status_code == 404  # so whoever pushes it there sends it
            assert "a moment ago" not in first.json()["errors"][0]["message"]
            assert "a moment ago" in second.json()["errors"][0]["message"]
            made.link(a, b)
            await until(lambda: any(each.connected for each in b.p.providers.holders(package.collection)))
            assert (await there.get(path)).status_code == 200


async def test_many_clients_share_one_fetch(tmp_path: Path) -> None:
    data = real_bytes(4 * MIB, 0)
    async with mesh(tmp_path) as made:
        a, b, _ = await two(made, [data])
        async with endpoint_of(b) as there:
            path = f"{REPOSITORY}/blobs/{sha256_of(data)}"
            answers = await asyncio.gather(*(there.get(path) for _ in range(32)))
            assert all(each.content == data for each in answers)
            assert made.made.memory.sent_bytes[a.id, b.id] < 1.1 * len(data)
            assert len(b.p.wants.list()) == 1


async def test_a_want_that_is_there_is_used(tmp_path: Path) -> None:
    data = real_bytes(4 * MIB, 0)
    async with mesh(tmp_path) as made:
        _, b, _ = await two(made, [data])
        want = b.p.wants.add(REF)
        async with endpoint_of(b) as there:
            answer = await there.get(f"{REPOSITORY}/blobs/{sha256_of(data)}")
            assert answer.content == data
            assert [each.id for each in b.p.wants.list()] == [want.id]


async def slow(node: MeshNode, text: str = "16 Mbit/s") -> None:
    """What comes to a node comes so slowly that a test can do something meanwhile."""
    await node.p.limiter.change({"down": text})


async def test_a_fetch_ends_with_its_last_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "GRACE_SECONDS", 0.05)
    data = real_bytes(8 * MIB, 0)
    async with mesh(tmp_path) as made:
        _, b, _ = await two(made, [data])
        await slow(b)
        async with endpoint_of(b) as there:
            path = f"/v2/{REPOSITORY}/blobs/{sha256_of(data)}"
            async with there.client.stream("GET", path) as answer:
                async for _ in answer.aiter_raw(16 << 10):
                    break
            await until(lambda: not b.p.wants.list())
            await until(lambda: not b.p.transfers.running())
            info = b.p.store.find(sha256_of(data))
            assert info is not None
            assert not info.complete
            assert info.present


async def test_what_was_removed_here_is_gone_at_once(tmp_path: Path) -> None:
    """Though this node's record still names it, and its documents may still lie about."""
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        package = a.add(REF, [layer(1)])
        await until(lambda: "content" in a.document(f"a:{REF}-amd64"))
        async with endpoint_of(a) as there:
            a.p.tasks[2].cancel()  # the announcer
            a.p.store.remove_package(REF)
            for path in ("manifests/v1", f"manifests/{package.root.digest}", f"blobs/{package.blobs[1]}"):
                assert (await there.get(f"{REPOSITORY}/{path}")).status_code == 404
