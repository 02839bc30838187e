"""What goes when there is no room any more, and what never does."""

from pathlib import Path

import pytest

from peat_sidecar.config import ReplicateRule
from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import BlobHash
from peat_sidecar.mesh.quota import Quota
from tests.support.mesh_nodes import MeshNode, calm, layer, mesh
from tests.support.nodes import until
from tests.support.stored_packages import list_again

APP = "registry.example/team/app"


def names(node: MeshNode) -> set[str]:
    return {each.reference or str(each.root.digest) for each in node.p.store.packages()}


async def fetch(node: MeshNode, origin: MeshNode, name: str, number: int) -> None:
    """As a person wants it: of about 40 kB."""
    package = origin.add(f"{APP}:{name}", [layer(number)])
    node.p.wants.add(str(package.collection))
    await until(lambda: f"{APP}:{name}" in names(node))


def layer_of(node: MeshNode, name: str) -> BlobHash:
    package = node.content(f"{APP}:{name}")
    assert package is not None
    blob = node.p.store.find(package.blobs[-1])
    assert blob is not None
    return blob.hash


@pytest.mark.parametrize(
    ("text", "disk_bytes", "quota_bytes"),
    [("", 1000, 0), ("200 GB", 1, 200 * 10**9), ("80 %", 1000, 800), ("12.5%", 1000, 125)],
)
def test_quotas(text: str, disk_bytes: int, quota_bytes: int) -> None:
    assert Quota.parse(text).of(disk_bytes) == quota_bytes


@pytest.mark.parametrize("text", ["0 %", "101 %", "-1", "all", "80", "0 B", "%"])
def test_what_is_no_quota(text: str) -> None:
    with pytest.raises(ConfigError, match="is no quota; one looks like 200 GB, or 80 % of the disk"):
        Quota.parse(text)


async def test_what_was_used_the_longest_ago_goes_for_what_comes(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b", quota_bytes=140_000)
        made.link(a, b)
        for number in (1, 2, 3):
            await fetch(b, a, f"v{number}", number)
        used = b.content(f"{APP}:v1")
        assert used is not None
        b.p.store.uses.note(used.root.digest)
        await fetch(b, a, "v4", 4)
        await until(lambda: names(b) == {f"{APP}:v1", f"{APP}:v3", f"{APP}:v4"})
        await until(lambda: b.p.store.usage().bytes <= 140_000)


async def test_a_pinned_package_stays_until_it_is_not_pinned_any_more(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b", quota_bytes=50_000)
        made.link(a, b)
        await fetch(b, a, "v1", 1)
        b.p.pins.set("*/app:v[1]")
        await fetch(b, a, "v2", 2)
        await until(lambda: names(b) == {f"{APP}:v1"})
        await b.stop()
        await b.start()  # pins are durable
        made.link(a, b)
        await calm(b)
        assert [each.name for each in b.p.pins.list()] == ["*/app:v[1]"]
        assert b.p.pins.remove("*/app:v[1]")
        await fetch(b, a, "v3", 3)
        await until(lambda: names(b) == {f"{APP}:v3"})


async def test_what_was_brought_here_never_goes_by_itself(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b", quota_bytes=50_000)
        made.link(a, b)
        for number in (1, 2, 3):
            b.add(f"{APP}:own{number}", [layer(number)])
        await fetch(b, a, "v1", 9)
        own = {f"{APP}:own{number}" for number in (1, 2, 3)}
        await until(lambda: names(b) == own)


async def test_what_is_handed_out_is_passed_over(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b", quota_bytes=50_000)
        made.link(a, b)
        await fetch(b, a, "v1", 1)
        with b.p.store.reader(layer_of(b, "v1"), hand_out=True) as reader:
            await fetch(b, a, "v2", 2)
            await until(lambda: names(b) == {f"{APP}:v1"})
            assert reader.read(0, 100) == layer(1)[:100]


async def test_what_policy_wants_stays_while_another_is_handed_out(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        rules = [ReplicateRule.model_validate({"reference": "registry.example/wanted:*"})]
        a, b = await made.node("a"), await made.node("b", rules=rules, quota_bytes=100_000)
        made.link(a, b)
        await fetch(b, a, "v1", 1)
        wanted = {f"registry.example/wanted:{name}" for name in ("v1", "v2")}
        a.add("registry.example/wanted:v1", [layer(2)])
        await until(lambda: len(names(b)) == 2)
        with b.p.store.reader(layer_of(b, "v1"), hand_out=True):
            a.add("registry.example/wanted:v2", [layer(3)])
            await until(lambda: names(b) == wanted | {f"{APP}:v1"})
            await until(lambda: "2 of them here" in b.p.replicator.status)
            assert names(b) == wanted | {f"{APP}:v1"}


async def test_what_came_from_an_upstream_may_go(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        b = await made.node("b", quota_bytes=50_000)
        cached = b.add(f"{APP}:cached", [layer(1)])
        b.p.store.cached.add(cached.root.digest)
        b.add(f"{APP}:own", [layer(2)])
        await until(lambda: names(b) == {f"{APP}:own"})


async def test_a_replica_that_is_pushed_here_stays(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b", quota_bytes=50_000)
        made.link(a, b)
        await fetch(b, a, "v1", 1)
        package = b.content(f"{APP}:v1")
        assert package is not None
        list_again(b.p.store, package, "localhost/app:v1")
        await fetch(b, a, "v2", 2)
        await until(lambda: names(b) == {f"{APP}:v1", "localhost/app:v1"})


async def test_what_has_changed_since_it_was_chosen_does_not_go(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        made.link(a, b)
        await fetch(b, a, "v1", 1)
        chosen = b.p.store.packages()
        (row,) = b.p.state.replicas()
        b.p.pins.set(f"{APP}:v1")
        b.p.replicator._evict(row.collection, row, chosen)
        assert names(b) == {f"{APP}:v1"}
        b.p.pins.remove(f"{APP}:v1")
        fresh = b.add(f"{APP}:v1", [layer(2)])
        b.p.replicator._evict(row.collection, row, chosen)
        assert [each.root for each in b.p.store.packages()] == [fresh.root]
