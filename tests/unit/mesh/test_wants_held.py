"""Wants that wait for a person, or for a budget."""

from pathlib import Path

import pytest

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import NotFound
from tests.support.mesh_nodes import MeshNode, layer, mesh, wanted
from tests.support.nodes import until
from tests.unit.mesh.test_wants import REF, announced, the_want

LARGE = [layer(1, 300_000)]
WHY = "are more than 100 kB: approve it with `peat-sidecar wants approve "


def came(node: MeshNode) -> int:
    assert node.node is not None
    return sum(sent for (_, to), sent in node.made.memory.sent_bytes.items() if to == node.id)


async def test_what_is_large_waits_until_it_is_approved_also_over_a_restart(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        a.add(REF, LARGE)
        await announced(a, REF)
        await b.p.limiter.change({"approve_above": "100 kB"})
        made.link(a, b)
        want = b.p.wants.add(REF)
        await until(lambda: WHY + want.id in the_want(b).why)
        assert the_want(b).state == "waiting"
        assert came(b) == 0
        assert not made.time.due, "a person is waited for, not time"
        b.peers.change(a.address, False)
        await b.stop()
        await b.start()
        b.peers.change(a.address, True)
        await until(lambda: WHY in the_want(b).why)
        with pytest.raises(NotFound):
            b.p.wants.approve("none")
        b.p.wants.approve(want.id)
        assert [row.approved for row in b.p.state.wants()] == [True]
        await wanted(b, REF, "done")


async def test_what_is_approved_beforehand_or_small_does_not_wait(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        a.add(REF, LARGE)
        other = a.add("registry.example/team/small:v1", [layer(2)])
        await announced(a, REF, "registry.example/team/small:v1")
        await b.p.limiter.change({"approve_above": "100 kB"})
        made.link(a, b)
        b.p.wants.add(REF, approved=True)
        b.p.wants.add(str(other.root.digest))
        await wanted(b, REF, "done")
        await wanted(b, str(other.root.digest), "done")


async def test_what_waits_for_approval_can_be_cancelled_or_let_through_by_a_new_limit(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        a.add(REF, LARGE)
        await announced(a, REF)
        await b.p.limiter.change({"approve_above": "100 kB"})
        made.link(a, b)
        want = b.p.wants.add(REF)
        await until(lambda: WHY in the_want(b).why)
        b.p.wants.cancel(want.id)
        assert b.p.wants.list() == []
        b.p.wants.add(REF)
        await until(lambda: WHY in the_want(b).why)
        await b.p.limiter.change({"approve_above": "1 MB"})
        await wanted(b, REF, "done")


async def test_a_budget_that_is_spent_holds_a_want_until_it_is_raised(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        a.add(REF, LARGE)
        await announced(a, REF)
        await b.p.limiter.change({"budget any": "100 kB a day"})
        made.link(a, b)
        b.p.wants.add(REF)
        await until(lambda: "the day's 100 kB over any path are used; it goes on" in the_want(b).why)
        await until(lambda: the_want(b).state == "waiting")
        asked = len(b.peers.asked)
        assert came(b) < 200_000
        await b.p.limiter.change({"budget any": "9 MB a day"})
        await wanted(b, REF, "done")
        assert len(b.peers.asked) == asked + 1
        assert came(b) < 400_000, "nothing came twice"


async def test_a_metered_path_waits_for_a_better_class_and_others_are_asked(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b, c = await made.node("a"), await made.node("b"), await made.node("c")
        a.add(REF, LARGE)
        await announced(a, REF)
        host = a.address.addresses[0].rpartition(":")[0]
        for each in (b, c):
            await each.p.limiter.change({f"metered {host}": "critical"})
            made.link(a, each)
        want = b.p.wants.add(REF)
        await until(lambda: "is metered, and only for what is critical" in the_want(b).why)
        await until(lambda: the_want(b).state == "waiting")
        c.p.wants.add(REF)
        await until(lambda: "is metered" in the_want(c).why)
        b.p.wants.set_class(want.id, TransferClass.CRITICAL)
        await wanted(b, REF, "done")
        made.link(b, c)
        await wanted(c, REF, "done")
