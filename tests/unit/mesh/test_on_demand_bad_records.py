"""Records of bad packages in a repository: what is good in it is found nevertheless."""

import json
from pathlib import Path

from peat_sidecar.ids import Digest
from peat_sidecar.mesh.offers import offer_of
from peat_sidecar.packages import LAYOUT_FILE, Descriptor, layout_index
from peat_sidecar.store import Store
from peat_sidecar.wire import Collection, encode_collection
from tests.support.manifests import OCI_CONFIG, OCI_MANIFEST
from tests.support.mesh_nodes import Mesh, MeshNode, mesh
from tests.support.nodes import sha256_of, until
from tests.support.on_demand import endpoint_of
from tests.support.real_files import real_bytes

REPOSITORY = "registry.example/team/app"
REF = f"{REPOSITORY}:v1"
DATA = real_bytes(100_000, 0)
EXTRA = b"no blob of the package"
CONFIG = b"{}"
IMAGE = {
    "schemaVersion": 2,
    "mediaType": OCI_MANIFEST,
    "config": {"mediaType": OCI_CONFIG, "digest": str(sha256_of(CONFIG)), "size": len(CONFIG)},
    "layers": [],
}


async def two(made: Mesh) -> tuple[MeshNode, MeshNode]:
    """One that has a good package, and one that is to get it."""
    a, b = await made.node("a"), await made.node("b")
    a.add(REF, [DATA])
    made.link(a, b)
    await until(lambda: b.p.offers.resolve(REF) is not None)
    return a, b


async def tell_of(b: MeshNode, a: MeshNode, root: bytes, *others: bytes) -> None:
    """`a` says that a collection is a package of the repository; of it `b` has kept the documents."""
    content = put_listing(b.p.store, root, *others) | {"bytes": 1, "blobs": 1, "state": "complete"}
    bad = f"{REPOSITORY}:bad"
    a.p.tasks[2].cancel()  # the announcer, which would take it back
    a.p.records.put(
        "packages", "a:bad", {"reference": bad, "arch": "amd64", "content": content | {"listed_as": bad}}
    )
    await until(lambda: b.p.offers.resolve(bad) is not None)


def put_listing(store: Store, root: bytes, *others: bytes) -> dict[str, str]:
    """What a fetch leaves behind that was refused when its documents were read."""
    descriptor = Descriptor(OCI_MANIFEST, sha256_of(root), len(root))
    files = [LAYOUT_FILE, layout_index(descriptor), root, *others]
    hashes = [store.put(each).hash for each in files]
    names = ("oci-layout", "index.json", *(sha256_of(each).path for each in (root, *others)))
    metadata, sequence = encode_collection(Collection(names, tuple(hashes)))
    store.put(metadata)
    return {"root": str(descriptor.digest), "collection": str(store.put(sequence).hash)}


async def test_a_root_that_is_no_manifest_hides_nothing(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await two(made)
        await tell_of(b, a, json.dumps({"schemaVersion": 1, "name": "app"}).encode())
        async with endpoint_of(b) as there:
            assert (await there.get(f"{REPOSITORY}/blobs/{sha256_of(DATA)}")).content == DATA
            nothing = Digest("sha256", "0" * 64)
            assert (await there.get(f"{REPOSITORY}/blobs/{nothing}")).status_code == 404


async def test_what_a_collection_names_beside_its_package_is_not_there(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await two(made)
        manifest = json.dumps(IMAGE, separators=(",", ":")).encode()
        await tell_of(b, a, manifest, CONFIG, EXTRA)
        b.p.store.delete(b.p.store.put(EXTRA).hash)
        async with endpoint_of(b) as there:
            assert (await there.get(f"{REPOSITORY}/blobs/{sha256_of(EXTRA)}")).status_code == 404
            assert (await there.get(f"{REPOSITORY}/blobs/{sha256_of(DATA)}")).content == DATA


async def test_a_false_word_about_a_collection_hides_no_true_one(tmp_path: Path) -> None:
    """The newer one names another root; once it was disproved, it is passed over."""
    async with mesh(tmp_path) as made:
        _, b = await two(made)
        true = b.p.offers.resolve(REF)
        assert true is not None
        c = await made.node("c")
        content = {"root": f"sha256:{'0' * 64}", "collection": str(true.collection), "bytes": 1, "blobs": 1}
        content |= {"state": "complete", "listed_as": REF}
        c.p.tasks[2].cancel()  # the announcer, which would take it back
        c.p.records.put("packages", "c:false", {"reference": REF, "arch": "amd64", "content": content})
        made.link(c, b)
        await until(lambda: b.p.records.get("packages", "c:false") is not None)
        document = b.p.records.get("packages", "c:false")
        false = offer_of(document) if document is not None else None
        assert false is not None
        b.p.offers.disprove(false)
        async with endpoint_of(b) as there:
            assert (await there.get(f"{REPOSITORY}/blobs/{sha256_of(DATA)}")).content == DATA
