"""What policy wants comes here, within the quota, and nothing comes twice."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from peat_sidecar.classes import TransferClass
from peat_sidecar.config import ReplicateRule
from peat_sidecar.state import State
from peat_sidecar.store import Store
from tests.support.mesh_nodes import MeshNode, calm, layer, mesh, put_image, wanted
from tests.support.nodes import until

APP = "registry.example/team/app"


def rule(reference: str = "registry.example/team/*", **fields: Any) -> ReplicateRule:
    return ReplicateRule.model_validate({"reference": reference} | fields)


async def announced(node: MeshNode, name: str, arch: str = "amd64") -> None:
    await until(lambda: "content" in node.document(f"{node.name}:{name}-{arch}"))


def names(node: MeshNode) -> set[str]:
    return {each.reference or str(each.root.digest) for each in node.p.store.packages()}


async def test_nothing_comes_by_itself_without_rules(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        a.add(f"{APP}:v1", [layer(1)])
        await announced(a, f"{APP}:v1")
        made.link(a, b)
        await calm(b)
        assert b.p.wants.list() == []
        assert b.p.store.packages() == []
        assert b.p.transfers.all() == []
        assert "no rule" in b.p.replicator.status


async def test_what_a_rule_fits_comes_and_nothing_else(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        b = await made.node("b", rules=[rule(f"{APP}:*", **{"class": "high"})])
        made.link(a, b)
        package = a.add(f"{APP}:v1", [layer(1)])
        a.add(f"{APP}:arm", [layer(2)], arch="arm64")
        a.add("registry.example/other:v1", [layer(3)])
        await until(lambda: names(b) == {f"{APP}:v1"})
        await announced(a, "registry.example/other:v1")
        await announced(a, f"{APP}:arm", "arm64")
        await wanted(b, str(package.collection), "done")
        await until(lambda: "1 of them here" in b.p.replicator.status)
        await calm(b)
        assert names(b) == {f"{APP}:v1"}
        (want,) = b.p.wants.list()
        assert (want.origin, want.transfer_class, want.state) == ("policy", TransferClass.HIGH, "done")
        (row,) = b.p.state.replicas()
        assert (row.collection, row.agent_id, row.origin) == (package.collection, "a", "policy")


async def test_store_carry_forward(tmp_path: Path) -> None:
    """A and C are never connected: B carries, for a platform that it does not run."""
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        b = await made.node("b", rules=[rule(carry=True)])
        c = await made.node("c", rules=[rule()], platforms=["linux/arm64"])
        package = a.add(f"{APP}:v1", [layer(1), layer(2, 200_000)], arch="arm64")
        await announced(a, f"{APP}:v1", "arm64")
        made.link(a, b)
        await until(lambda: names(b) == {f"{APP}:v1"})
        made.unlink(a, b)
        await a.stop()
        assert a.node is not None
        sent = a.node.provider.sent_bytes
        await announced(b, f"{APP}:v1", "arm64")
        made.link(b, c)
        await until(lambda: names(c) == {f"{APP}:v1"})
        got = c.content(f"{APP}:v1")
        assert got is not None
        assert (got.root, got.blobs) == (package.root, package.blobs)
        for digest in package.blobs:
            info = c.p.store.find(digest)
            assert info is not None
            assert info.complete
        assert a.node.provider.sent_bytes == sent
        assert c.peers.asked == [b.id]


async def test_it_is_wanted_until_somebody_has_it(tmp_path: Path) -> None:
    """B hears of a package of A's from C, which does not hold it; it comes when A is there."""
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b", rules=[rule()])
        c = await made.node("c")
        a.add(f"{APP}:v1", [layer(1)])
        await announced(a, f"{APP}:v1")
        made.link(a, c)
        made.unlink(a, c)
        made.link(c, b)
        await until(lambda: len(b.p.wants.list()) == 1)
        await b.stop()
        await b.start()
        await until(lambda: len(b.p.wants.list()) == 1)
        made.link(a, b)
        await until(lambda: names(b) == {f"{APP}:v1"})


async def test_a_superseded_version_is_dropped_before_it_came(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b", rules=[rule()])
        c = await made.node("c")
        made.link(a, c)
        made.link(b, c)
        old = a.add(f"{APP}:latest", [layer(1)])
        await until(lambda: [each.name for each in b.p.wants.list()] == [str(old.collection)])
        new = a.add(f"{APP}:latest", [layer(2)])
        await until(lambda: [each.name for each in b.p.wants.list()] == [str(new.collection)])
        assert [row.name for row in b.p.state.wants()] == [str(new.collection)]
        made.link(a, b)
        await until(lambda: names(b) == {f"{APP}:latest"})
        assert b.p.store.find(old.root.digest) is None


async def test_a_new_version_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b", rules=[rule()])
        made.link(a, b)
        old = a.add(f"{APP}:latest", [layer(1), layer(9)])
        await until(lambda: names(b) == {f"{APP}:latest"})
        new = a.add(f"{APP}:latest", [layer(2), layer(9)])
        await wanted(b, str(new.collection), "done")
        await until(lambda: [each.root for each in b.p.store.packages()] == [new.root])
        assert names(b) == {f"{APP}:latest"}
        await until(lambda: b.p.store.find(old.root.digest) is None)
        assert b.p.store.find(new.blobs[-1]) is not None  # the layer that both share
        assert [row.collection for row in b.p.state.replicas() if not row.unwanted_by] == [new.collection]
        a.p.store.add_package(old)  # and back again
        await until(lambda: [each.root for each in b.p.store.packages()] == [old.root])


async def test_the_quota_keeps_the_newest_and_nothing_is_fetched_again(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b", rules=[rule()], quota_bytes=100_000)
        made.link(a, b)
        for number in range(1, 5):  # each has a little over 40,000 bytes
            a.add(f"{APP}:v{number}", [layer(number)])
            await announced(a, f"{APP}:v{number}")
            await until(lambda number=number: f"{APP}:v{number}" in names(b))  # type: ignore[misc]
        await until(lambda: names(b) == {f"{APP}:v3", f"{APP}:v4"})
        fetched = len(b.p.transfers.all())
        assert fetched == 4
        await until(lambda: "2 taken out" in b.p.replicator.status)
        await b.stop()
        await b.start()
        made.link(a, b)
        await until(lambda: "2 of them here" in b.p.replicator.status)
        a.add("registry.example/nothing/to:do", [layer(20)])
        await calm(b)
        assert names(b) == {f"{APP}:v3", f"{APP}:v4"}
        assert b.p.transfers.all() == []
        # room again: what was evicted stays out until the policy or its content changes
        a.p.store.remove_package(f"{APP}:v4")
        await until(lambda: a.document(f"a:{APP}:v4-amd64") == {})
        await calm(b)
        assert b.p.transfers.all() == []
        await b.stop()
        b.quota_bytes = 1_000_000
        await b.start()
        made.link(a, b)
        await until(lambda: names(b) >= {f"{APP}:v1", f"{APP}:v2", f"{APP}:v3"})


async def test_evicted_content_is_wanted_again_when_it_had_left_the_formation(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b", rules=[rule()], quota_bytes=50_000)
        made.link(a, b)
        old = a.add(f"{APP}:v1", [layer(1)])
        await until(lambda: names(b) == {f"{APP}:v1"})
        a.add(f"{APP}:v2", [layer(2)])
        await until(lambda: names(b) == {f"{APP}:v2"})
        a.p.store.remove_package(f"{APP}:v1")
        await until(lambda: a.document(f"a:{APP}:v1-amd64") == {})
        await until(lambda: all(row.collection != old.collection for row in b.p.state.replicas()))
        a.p.store.add_package(old)  # it was gone from the formation: this is a change
        await until(lambda: names(b) == {f"{APP}:v1"})


async def test_the_last_copy_in_the_formation_stays(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b", rules=[rule()], quota_bytes=50_000)
        made.link(a, b)
        old = a.add(f"{APP}:v1", [layer(1)])
        await until(lambda: names(b) == {f"{APP}:v1"})
        a.p.store.remove_package(f"{APP}:v1")
        await until(lambda: a.document(f"a:{APP}:v1-amd64") == {})
        a.add(f"{APP}:v2", [layer(2)])
        await until(lambda: "1 without room" in b.p.replicator.status)
        await calm(b)
        assert names(b) == {f"{APP}:v1"}
        a.p.store.add_package(replace(old, reference="registry.example/elsewhere:v1"))  # now it may go
        await until(lambda: names(b) == {f"{APP}:v2"})


async def test_packages_that_people_brought_stay(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b", rules=[rule()], quota_bytes=100_000)
        made.link(a, b)
        b.add(f"{APP}:mine", [layer(7)])
        b.add("registry.example/mine:v1", [layer(8)])
        await announced(b, f"{APP}:mine")
        a.add(f"{APP}:v1", [layer(1)])
        await announced(a, f"{APP}:v1")
        await calm(b)
        assert names(b) == {f"{APP}:mine", "registry.example/mine:v1"}
        wish = b.p.wants.add(f"{APP}:v1")  # a person may
        await until(lambda: f"{APP}:v1" in names(b))
        assert wish.origin == "user"
        await calm(b)
        assert len(names(b)) == 3


async def test_what_a_person_takes_out_stays_out(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b", rules=[rule()])
        made.link(a, b)
        a.add(f"{APP}:v1", [layer(1)])
        await until(lambda: "1 of them here" in b.p.replicator.status)
        await wanted(b, b.p.wants.list()[0].name, "done")
        b.p.store.remove_package(f"{APP}:v1")
        await until(lambda: any(row.unwanted_by for row in b.p.state.replicas()))
        await calm(b)
        await b.stop()
        await b.start()
        made.link(a, b)
        await calm(b)
        assert names(b) == set()
        a.add(f"{APP}:v1", [layer(2)])  # other content is another matter
        await until(lambda: names(b) == {f"{APP}:v1"})


async def test_a_want_of_the_policy_that_is_cancelled_stays_so(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b, c = await made.node("a"), await made.node("b", rules=[rule()]), await made.node("c")
        made.link(a, c)
        made.link(b, c)
        a.add(f"{APP}:v1", [layer(1)])
        await until(lambda: len(b.p.wants.list()) == 1 and b.p.wants.list()[0].total_bytes > 0)
        b.p.wants.cancel(b.p.wants.list()[0].id)
        made.link(a, b)
        await calm(b)
        assert b.p.wants.list() == []
        assert names(b) == set()


async def test_documents_that_do_not_decide_cause_nothing(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b", rules=[rule()])
        trusted: set[str] = set()
        b.p.trust.decides = lambda document: document.owner in trusted  # type: ignore[method-assign]
        made.link(a, b)
        a.add(f"{APP}:v1", [layer(1)])
        await announced(a, f"{APP}:v1")
        await calm(b)
        assert b.p.wants.list() == []
        trusted.add("a")
        b.p.replicator.look_again()  # as a new roster makes it
        await until(lambda: names(b) == {f"{APP}:v1"})


async def test_a_document_of_another_owner_decides_nothing(tmp_path: Path) -> None:
    """B says that a package of A's is something else."""
    async with mesh(tmp_path) as made:
        a, b, c = await made.node("a"), await made.node("b"), await made.node("c", rules=[rule()])
        good = a.add(f"{APP}:v1", [layer(1)])
        await announced(a, f"{APP}:v1")
        made.link(a, c)
        await until(lambda: names(c) == {f"{APP}:v1"})
        other = b.add("registry.example/bad:v1", [layer(2)])
        await announced(b, "registry.example/bad:v1")
        document: dict[str, Any] = b.document("b:registry.example/bad:v1-amd64")
        b.p.records.put("packages", f"a:{APP}:v1-amd64", document | {"reference": f"{APP}:v1"})
        made.link(b, c)
        await until(lambda: any(each.kind == "foreign" for each in c.p.records.faults()))
        await calm(c)
        assert c.content(f"{APP}:v1") is not None
        assert {each.root for each in c.p.store.packages()} == {good.root}
        assert c.p.store.find(other.root.digest) is None


async def test_a_class_that_another_document_changes(tmp_path: Path) -> None:
    """Classes come first: what has a better one is within the quota, whatever is newer."""
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        rules = [rule(f"{APP}:base", **{"class": "critical"}), rule()]
        b = await made.node("b", rules=rules, quota_bytes=50_000)
        made.link(a, b)
        a.add(f"{APP}:v1", [layer(1)])
        await until(lambda: names(b) == {f"{APP}:v1"})
        a.add(f"{APP}:base", [layer(2)])
        await until(lambda: names(b) == {f"{APP}:base"})
        a.add(f"{APP}:v2", [layer(3)])
        await announced(a, f"{APP}:v2")
        await calm(b)
        assert names(b) == {f"{APP}:base"}


async def test_both_platforms_of_one_reference_are_kept_under_two_names(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, d = await made.node("a"), await made.node("d")
        b = await made.node("b", rules=[rule(carry=True)])
        arm = a.add(f"{APP}:v1", [layer(1)], arch="arm64")
        amd = d.add(f"{APP}:v1", [layer(2)])
        await announced(a, f"{APP}:v1", "arm64")
        await announced(d, f"{APP}:v1")
        made.link(a, b)
        await until(lambda: names(b) == {f"{APP}:v1"})
        made.link(d, b)
        await until(lambda: names(b) == {f"{APP}:v1", f"{APP}:v1@{arm.root.digest}"})
        plain = b.content(f"{APP}:v1")
        assert plain is not None
        assert plain.root == amd.root  # this cluster's platform has the name
        await announced(b, f"{APP}:v1")
        await announced(b, f"{APP}:v1", "arm64")
        await calm(b)
        assert len(b.p.transfers.all()) == 2
        c = await made.node("c", rules=[rule()], platforms=["linux/arm64"])
        made.unlink(a, b)
        made.link(b, c)
        await until(lambda: names(c) == {f"{APP}:v1"})
        got = c.content(f"{APP}:v1")
        assert got is not None
        assert got.root == arm.root


async def test_an_eviction_that_a_kill_broke_off_is_finished(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b", rules=[rule()], quota_bytes=50_000)
        made.link(a, b)
        old = a.add(f"{APP}:v1", [layer(1)])
        await until(lambda: names(b) == {f"{APP}:v1"})
        a.add(f"{APP}:v2", [layer(2)])
        await until(lambda: names(b) == {f"{APP}:v2"})
        await wanted(b, str(b.p.store.packages()[0].collection), "done")
        await b.stop()
        b.rules = []
        await b.start()  # the old one is brought back as a kill would have left it: marked, and here
        rows = {row.collection: row for row in b.p.state.replicas()}
        await b.stop()
        with Store.open(b.directory / "store") as store, State.open(b.directory / "state.db") as state:
            put_image(store, [layer(1)])
            state.put_replica(rows[old.collection])
        b.rules = [rule()]
        await b.start()
        await until(lambda: names(b) == {f"{APP}:v2"})


async def test_many_changes_at_once(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("peat_sidecar.mesh.replicator._CHANGES_LIMIT", 3)
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b", rules=[rule()])
        for number in range(12):
            a.add(f"{APP}:v{number}", [layer(number, 3_000)])
        await announced(a, f"{APP}:v11")
        made.link(a, b)
        await until(lambda: len(names(b)) == 12)
