"""This node's documents about packages: made of what watchers see, the store holds and the wants bring."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from peat_sidecar.errors import StoreFull
from peat_sidecar.mesh.announcer import Announcer
from peat_sidecar.mesh.pulled import PULLED, PulledPackage
from peat_sidecar.mesh.vanished import Vanished
from peat_sidecar.packages import Descriptor
from peat_sidecar.state import ExportRow, State
from peat_sidecar.store import StoredPackage
from peat_sidecar.wire import Batches, WireBatch, WireRecord, encode_frame
from tests.support.manifests import OCI_INDEX, encoded, index, platform
from tests.support.mesh_nodes import MeshNode, calm, layer, mesh, put_image, wanted
from tests.support.nodes import until
from tests.unit.mesh.test_wants import Held, held

APP = "registry.example:5000/team/app:v1"


def pulled(reference: str = APP, **fields: Any) -> PulledPackage:
    made = PulledPackage(
        "registry.example:5000", "app", reference, "amd64", "1.0", 123, PULLED, 123, listed_as=reference
    )
    return replace(made, **fields)


def documents(node: MeshNode) -> dict[str, dict[str, Any]]:
    found = node.p.records.documents("packages", after=f"{node.name}:")
    return {each.doc_id: dict(each.fields) for each in found if each.owner == node.name}


def sequence(node: MeshNode) -> int:
    head = node.p.records.heads().get(node.id)
    return head.sequence if head is not None else 0


async def test_what_is_not_shared_is_not_announced(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a", share=["!registry.example:5000/secret/*"])
        for reference in ("registry.example:5000/secret/app:v1", "localhost/team/app:v1", APP):
            a.add(reference, [layer(1)])
        await until(lambda: f"a:{APP}-amd64" in documents(a))
        assert list(documents(a)) == [f"a:{APP}-amd64"]


async def test_a_stored_package_is_announced(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        package = a.add(APP, [layer(1), layer(2)])
        await until(lambda: len(documents(a)) == 1)
        assert documents(a) == {
            f"a:{APP}-amd64": {
                "agent_id": "a",
                "registry": "registry.example:5000",
                "package": "team/app",
                "reference": APP,
                "arch": "amd64",
                "version": "v1",
                "total_bytes": package.bytes,
                "content": {
                    "root": str(package.root.digest),
                    "manifest": str(package.root.digest),
                    "collection": str(package.collection),
                    "blobs": 4,
                    "bytes": package.bytes,
                    "state": "complete",
                },
            }
        }
        a.p.store.remove_package(APP)
        await until(lambda: documents(a) == {})


async def test_nothing_is_written_when_nothing_changed(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        package = a.add(APP, [layer(1)])
        a.p.announcer.set_pulled("agent", [pulled(), pulled("registry.example:5000/team/other:v1")])
        await until(lambda: len(documents(a)) == 2)
        await calm(a)
        before = sequence(a)
        for _ in range(5):
            a.p.announcer.set_pulled("agent", [pulled(), pulled("registry.example:5000/team/other:v1")])
            a.p.store.add_package(package)
            await calm(a)
        await a.stop()
        await a.start()
        a.p.announcer.set_pulled("agent", [pulled("registry.example:5000/team/other:v1"), pulled()])
        await calm(a)
        assert sequence(a) == before
        a.p.announcer.set_pulled(
            "agent", [pulled(version="1.1"), pulled("registry.example:5000/team/other:v1")]
        )
        await until(lambda: documents(a)[f"a:{APP}-amd64"]["version"] == "1.1")


async def test_what_a_watcher_sees_is_announced_and_gains_its_content(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        a.p.announcer.set_pulled("agent", [pulled("team/app:v1", listed_as=APP)])
        await until(lambda: len(documents(a)) == 1)
        key = "a:team/app:v1-amd64"
        plain = {
            "agent_id": "a",
            "registry": "registry.example:5000",
            "package": "app",
            "reference": "team/app:v1",
            "arch": "amd64",
            "version": "1.0",
            "total_bytes": 123,
            "pull_status": PULLED,
        }
        assert documents(a) == {key: plain}
        package = a.add(APP, [layer(1)])
        await until(lambda: "content" in documents(a)[key])
        (document,) = documents(a).values()
        assert document["content"]["collection"] == str(package.collection)
        assert document["content"]["listed_as"] == APP
        # it vanishes from the source, and stays in the store
        a.p.announcer.set_pulled("agent", [])
        given_up = {name: value for name, value in plain.items() if name != "pull_status"}
        await until(lambda: documents(a) == {key: given_up})
        a.p.announcer.set_pulled("agent", [pulled("team/app:v1", listed_as=APP)])
        await until(lambda: "content" in documents(a)[key] and len(documents(a)) == 1)
        # from the store, and from both
        a.p.store.remove_package(APP)
        await until(lambda: documents(a) == {key: plain})
        a.p.announcer.set_pulled("agent", None)
        await calm(a)
        assert documents(a) == {key: plain}


async def test_a_source_that_is_silent_takes_nothing_back(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        a.add(APP, [layer(1)])
        a.p.announcer.set_pulled("agent", [pulled("team/app:v1", listed_as=APP)])
        await until(lambda: "content" in documents(a).get("a:team/app:v1-amd64", {}))
        before, last = documents(a), sequence(a)
        await a.stop()
        await a.start()
        a.p.tasks[2].cancel()
        parts = a.p
        parts.announcer = Announcer(
            "a", parts.records, parts.store, parts.state, parts.offers, sources=["agent"], sleep=made_at_once
        )
        parts.tasks.append(asyncio.create_task(parts.announcer.run()))
        await calm(a)
        assert (documents(a), sequence(a)) == (before, last)
        parts.announcer.set_pulled("agent", [])
        await until(lambda: "content" not in documents(a)["a:team/app:v1-amd64"])


async def made_at_once(_: float) -> None:
    await asyncio.sleep(0)


async def test_two_packages_with_one_key_are_both_kept(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        one, other = pulled(registry="r1", listed_as=""), pulled(registry="r2", listed_as="")
        a.p.announcer.set_pulled("agent", [one, other, one])
        await until(lambda: len(documents(a)) == 2)
        first, second = sorted(documents(a))
        assert first == f"a:{APP}-amd64"
        assert second.startswith(f"a:{APP}-amd64@")
        assert len(second) == len(first) + 13
        assert {each["registry"] for each in documents(a).values()} == {"r1", "r2"}
        a.p.announcer.set_pulled("agent", [one])
        await calm(a)
        assert "content" not in documents(a)[second]


async def test_one_package_that_two_watchers_see_is_one(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        a.p.announcer.set_pulled("agent", [pulled()])
        a.p.announcer.set_pulled("registry", [pulled(pull_status="x")])
        await until(lambda: len(documents(a)) == 1)
        await calm(a)
        assert len(documents(a)) == 1


async def test_platforms(tmp_path: Path) -> None:
    """An index of several is `multi`; one of which a single manifest is here has that one's platform."""
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        store = a.p.store
        amd, arm = put_image(store, [layer(1)]), put_image(store, [layer(2)], arch="arm64")
        entries = [
            {"mediaType": each.root.media_type, "digest": str(each.root.digest), "size": each.root.size}
            | platform(f"linux/{arch}")
            for each, arch in ((amd, "amd64"), (arm, "arm64"))
        ]
        raw = encoded(index(*entries))
        root = store.put(raw)
        both = StoredPackage(
            APP,
            Descriptor(OCI_INDEX, root.proven_digest, len(raw)),
            amd.collection,
            (root.proven_digest, *amd.blobs, *arm.blobs),
            len(raw) + amd.bytes + arm.bytes,
        )
        for each in (amd, arm):
            store.remove_package(each.root.digest)
        store.add_package(both)
        await until(lambda: list(documents(a)) == [f"a:{APP}-multi"])
        content = documents(a)[f"a:{APP}-multi"]["content"]
        assert content["index"] == content["root"] == str(root.digest)
        assert "manifest" not in content
        a.p.announcer.set_pulled("agent", [pulled(), pulled(arch="arm64"), pulled(arch="", registry="x")])
        await until(lambda: len(documents(a)) == 3)
        await until(lambda: all("content" in each for each in documents(a).values()))
        await calm(a)
        assert documents(a)[f"a:{APP}-"]["content"]["arch"] == "multi"
        store.add_package(replace(both, blobs=(root.proven_digest, *arm.blobs)))
        await until(lambda: "content" not in documents(a)[f"a:{APP}-amd64"])
        await until(lambda: documents(a)[f"a:{APP}-arm64"]["content"].get("manifest") == str(arm.root.digest))
        assert documents(a)[f"a:{APP}-arm64"]["content"]["index"] == str(root.digest)


async def test_a_referrer_says_its_subject(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        image = a.add(APP, [layer(1)])
        subject = {
            "mediaType": image.root.media_type,
            "digest": str(image.root.digest),
            "size": image.root.size,
        }
        signature = a.add(None, [b"signed"], subject=subject)
        key = f"a:{signature.root.digest}-amd64"
        await until(lambda: key in documents(a))
        document = documents(a)[key]
        assert document["content"]["subject"] == str(image.root.digest)
        assert document["reference"] == ""


async def test_what_is_being_fetched_is_announced_as_partial_once_it_takes_a_while(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        getters: dict[str, Held] = {}
        a, b = await made.node("a"), await made.node("b", getter_of=held(getters, "b"))
        a.p.announcer.set_pulled("agent", [pulled("team/app:v1", listed_as=APP)])
        package = a.add(APP, [layer(1)])
        await until(lambda: "content" in documents(a).get("a:team/app:v1-amd64", {}))
        made.link(a, b)
        want = b.p.wants.add("team/app:v1")
        await until(lambda: len(getters["b"].fetches) == 1)
        await calm(b)
        assert documents(b) == {}
        for _ in range(2):
            await until(lambda: 1.0 in made.time.due)
            made.time.advance(1)
        key = "b:team/app:v1-amd64"
        await until(lambda: key in documents(b))
        document = documents(b)[key]
        assert document["origin"] == "a"
        assert document["content"] == {
            "root": str(package.root.digest),
            "collection": str(package.collection),
            "blobs": 3,
            "bytes": package.bytes,
            "state": "partial",
            "listed_as": APP,
        }
        await until(lambda: [each.state for each in a.p.providers.holders(package.collection)] == ["partial"])
        await b.stop()
        b.getter_of = held(getters, "b")
        await b.start()
        await until(lambda: len(getters["b"].fetches) == 1)
        await calm(b)
        assert documents(b)[key] == document  # what has come is still here
        getters["b"].gate.set()
        await wanted(b, "team/app:v1", "done")
        await until(lambda: documents(b)[key]["content"]["state"] == "complete")
        assert documents(b)[key]["origin"] == "a"
        assert len(documents(b)) == 1
        assert want.origin == "user"


async def test_a_cancelled_fetch_takes_its_document_back(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        getters: dict[str, Held] = {}
        a, b = await made.node("a"), await made.node("b", getter_of=held(getters, "b"))
        a.add(APP, [layer(1)])
        await until(lambda: len(documents(a)) == 1)
        made.link(a, b)
        want = b.p.wants.add(APP)
        await until(lambda: len(getters["b"].fetches) == 1)
        for _ in range(2):
            await until(lambda: 1.0 in made.time.due)
            made.time.advance(1)
        await until(lambda: len(documents(b)) == 1)
        b.p.wants.cancel(want.id)
        await until(lambda: documents(b) == {})


async def test_a_copy_stays_a_copy(tmp_path: Path) -> None:
    """Also one that came by a fetch without a want, and when the package itself has moved on."""
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        made.link(a, b)
        old = a.add(APP, [layer(1)])
        await until(lambda: b.p.records.get("packages", f"a:{APP}-amd64") is not None)
        b.add(APP, [layer(1)])
        await until(lambda: len(documents(b)) == 1)
        key = f"b:{APP}-amd64"
        assert documents(b)[key]["origin"] == "a"
        a.add(APP, [layer(2)])
        await until(lambda: documents(a)[f"a:{APP}-amd64"]["content"]["root"] != str(old.root.digest))
        b.p.store.add_package(replace(old, reference="registry.example:5000/another:v1"))
        await until(lambda: len(documents(b)) == 2)
        assert documents(b)[key]["origin"] == "a"


async def test_what_was_exported_is_said(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        package = a.add(APP, [layer(1)])
        await until(lambda: len(documents(a)) == 1)
        row = ExportRow("0" * 16, package.root.digest, "127.0.0.1:5000/team/app:v1", 1.0)
        a.p.state.put_export(row)
        a.p.state.put_export(replace(row, id="1" * 16, target="127.0.0.1:5001/app:v1", done=True))
        a.p.announcer._wake.set()
        await until(lambda: documents(a)[f"a:{APP}-amd64"].get("exported") == ["127.0.0.1:5001/app:v1"])


@pytest.mark.parametrize(
    ("agent", "reference"),
    [
        (
            "ship-7.fleet-a",
            "registry.ship-7.example:5000/team/platform/components/application:2025.11.25-rc1",
        ),
        ("", "registry.example:5000/team/platform/application:2025.11.25"),
    ],
)
async def test_records_stay_under_one_kibibyte(tmp_path: Path, agent: str, reference: str) -> None:
    """On the wire, with everything in them and 300 layers: with long names, and with the long agent id that
    is the default.
    """
    async with mesh(tmp_path) as made:
        name = agent or "f" * 64
        a = await made.node(name)
        layers = [layer(number, 40) for number in range(300)]
        plain = a.add(reference, layers)
        key = f"{name}:{reference}-amd64"
        await until(lambda: key in documents(a))
        wires = []

        def wire() -> int:
            batch = a.p.records.since(a.id, 0)
            assert batch is not None
            signed = batch.records[-1]
            record = WireRecord(signed.signature, signed.body)
            return len(encode_frame(Batches((WireBatch(batch.signer, 0, batch.upto, (record,)),))))

        wires.append(wire())
        a.p.announcer.set_pulled("agent", [pulled(reference, version="2025.11.25-rc1")])
        await until(lambda: "pull_status" in documents(a)[key])
        a.p.state.put_export(
            ExportRow(
                "1" * 16, plain.root.digest, "127.0.0.1:5000/team/platform/application:2025", 1.0, done=True
            )
        )
        a.p.announcer._wake.set()
        await until(lambda: "exported" in documents(a)[key])
        await calm(a)
        wires.append(wire())
        assert max(wires) < 1024, wires


async def test_a_document_that_cannot_be_written_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        put, broken = a.p.records.put, [StoreFull("no room"), StoreFull("no room")]

        def fails(collection: str, doc_id: str, document: Any) -> bool:
            if broken and "bad" in doc_id:
                raise broken.pop()
            return put(collection, doc_id, document)

        monkeypatch.setattr(a.p.records, "put", fails)
        a.p.announcer.set_pulled("agent", [pulled("bad:v1"), pulled("good:v1")])
        await until(lambda: "a:good:v1-amd64" in documents(a))
        await until(lambda: "a:bad:v1-amd64" in documents(a))


async def test_odd_references(tmp_path: Path) -> None:
    """What a source writes may be anything; what cannot be a document's id is left out, the rest is told."""
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        odd = ["", "x" * 3000, "with blank", "a:b:c@d", "é/ü:1", "good:v1", "line\nbreak"]
        a.p.announcer.set_pulled("agent", [pulled(text, listed_as="") for text in odd])
        await until(lambda: len(documents(a)) == 4)
        assert {each["reference"] for each in documents(a).values()} == {
            "with blank",
            "a:b:c@d",
            "é/ü:1",
            "good:v1",
        }


async def test_what_a_call_has_written_is_left_alone(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        a.p.records.put("packages", "a:by-hand-amd64", {"reference": "by-hand"})
        a.add(APP, [layer(1)])
        await until(lambda: f"a:{APP}-amd64" in documents(a))
        a.p.store.remove_package(APP)
        await until(lambda: f"a:{APP}-amd64" not in documents(a))
        assert documents(a) == {"a:by-hand-amd64": {"reference": "by-hand"}}


async def test_what_a_cluster_gave_up_is_offered_again_when_somebody_brings_it(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        package = a.add(APP, [layer(1)])
        key = f"a:{APP}-amd64"
        a.p.announcer.set_pulled("agent", [pulled()])
        await until(lambda: "pull_status" in documents(a).get(key, {}))
        a.p.announcer.set_pulled("agent", [])
        await until(lambda: "content" not in documents(a)[key])
        await calm(a)
        assert "content" not in documents(a)[key], "also at the next look"
        a.p.store.add_package(package)
        await until(lambda: "content" in documents(a)[key])


async def test_what_a_cluster_gave_up_stays_so_over_a_restart(tmp_path: Path) -> None:
    with State.open(tmp_path / "state.db") as state:
        Vanished(state).change(add=["aa", "bb"])
        Vanished(state).change(add=["cc"], drop=["aa", "cc"])
        assert Vanished(state).all() == {"bb"}
        state.set("vanished", "no JSON")
        assert Vanished(state).all() == set()
