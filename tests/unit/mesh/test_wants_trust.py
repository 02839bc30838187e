"""Wants whose content is not what was said of it: who sent it is told from who announced it."""

import math
from pathlib import Path
from typing import Any

from peat_sidecar.errors import IntegrityError
from peat_sidecar.ids import BlobHash
from peat_sidecar.records import FaultKind
from peat_sidecar.store import StoredPackage
from peat_sidecar.transfer import Getter, Progress, Sources
from peat_sidecar.wire import Collection, encode_collection
from tests.support.mesh_nodes import MeshNode, calm, layer, mesh, wanted
from tests.support.nodes import content, sha256_of, until
from tests.unit.mesh.test_wants import announced, the_want

REF = "registry.example/team/app:v1"


def misname(node: MeshNode, package: StoredPackage, right: bytes, wrong: bytes) -> BlobHash:
    """A collection of the package that names other bytes for the digest of some; held by the node."""
    store = node.p.store
    sequence = content(store, package.collection)
    hashes = [BlobHash(sequence[at : at + 32]) for at in range(32, len(sequence), 32)]
    hashes[2 + package.blobs.index(sha256_of(right))] = store.put(wrong).hash
    names = ("oci-layout", "index.json", *(digest.path for digest in package.blobs))
    metadata, false = encode_collection(Collection(names, tuple(hashes)))
    store.put(metadata)
    return store.put(false).hash


def announce(node: MeshNode, document: dict[str, Any], collection: BlobHash) -> None:
    """What its own announcer would never say."""
    node.p.announcer._known = dict  # type: ignore[method-assign]  # it would put it right
    lie = document["content"] | {"collection": str(collection)}
    node.p.records.put("packages", f"{node.name}:{REF}-amd64", document | {"content": lie})


async def test_a_digest_that_differs_from_the_record_blames_its_signer(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        package = a.add(REF, [layer(1, 200_000)])
        await announced(a, REF)
        false = misname(a, package, layer(1, 200_000), bytes(200_000))
        announce(a, a.document(f"a:{REF}-amd64"), false)
        made.link(a, b)
        b.p.wants.add(REF)
        await wanted(b, REF, "failed")
        assert f"it is not what a ({a.id.short}) has announced" in the_want(b).why
        (fault,) = [each for each in b.p.records.faults() if each.kind is FaultKind.MISNAMED]
        assert (fault.signer, fault.doc_id, fault.count) == (a.id, f"a:{REF}-amd64", 1)
        assert "was named for another" in fault.detail
        assert b.content(REF) is None
        # said once more it is not fetched once more
        announce(a, a.document(f"a:{REF}-amd64") | {"version": "2"}, false)
        await calm(a, b)
        assert the_want(b).state == "failed"
        assert [each.count for each in b.p.records.faults() if each.kind is FaultKind.MISNAMED] == [1]


async def test_what_another_one_says_of_it_goes_first_then(tmp_path: Path) -> None:
    """A digest is wanted; the first to announce it lies about its blobs, and the other one does not."""
    async with mesh(tmp_path) as made:
        a, c, b = await made.node("a"), await made.node("c"), await made.node("b")
        package, _ = (each.add(REF, [layer(1, 200_000)]) for each in (a, c))
        for each in (a, c):
            await announced(each, REF)
        root = str(package.root.digest)
        false = misname(c, package, layer(1, 200_000), bytes(200_000))
        announce(c, c.document(f"c:{REF}-amd64"), false)  # the newest, so it is believed first
        made.link(c, b)
        b.p.wants.add(root)
        await wanted(b, root, "failed")
        made.link(a, b)
        await wanted(b, root, "done")
        got = b.p.store.package(package.root.digest)
        assert got is not None
        assert got.blobs == package.blobs


class LiedTo:
    """A getter whose first peer sends something wrong, so that the others bring the package."""

    def __init__(self, getter: Getter) -> None:
        self._getter = getter

    async def fetch_package(
        self, collection: BlobHash, peers: Sources, progress: Progress, **more: Any
    ) -> StoredPackage:
        await until(lambda: len(peers.current) > 1)
        peers.ban(peers.current[0].endpoint_id, IntegrityError("wrong bytes"))
        return await self._getter.fetch_package(collection, peers, progress, **more)


async def test_a_holder_that_lied_is_not_asked_again_though_others_brought_it(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, c = await made.node("a"), await made.node("c")
        b = await made.node("b", getter_of=LiedTo)
        package, _ = (each.add(REF, [layer(1)]) for each in (a, c))
        for each in (a, c):
            await announced(each, REF)
            made.link(each, b)
        b.p.wants.add(REF)
        for _ in range(3):  # a look, at which the other one joins in
            await until(lambda: bool(made.time.due) or the_want(b).state == "done")
            made.time.advance(1)
        await wanted(b, REF, "done")
        waits = [each.wait_seconds for each in b.p.providers.holders(package.collection)]
        assert waits == [0.0, math.inf]
