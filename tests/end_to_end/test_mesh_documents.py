"""Documents among real daemons with one key: they reach everyone, and no clock forces them."""

import asyncio
from pathlib import Path

from tests.support.formations import (
    delete,
    documents,
    eventually,
    eventually_equal,
    faults,
    formation,
    get,
    put,
)
from tools.sidecar import Sidecar

YEAR_SECONDS = 365 * 86400


async def test_documents_reach_everyone(tmp_path: Path) -> None:
    """In a chain, from each end: put, changed, deleted, and while one is away."""
    async with formation(tmp_path) as fleet:
        await fleet.start("a")
        await fleet.start("b", knows=["a"])
        await fleet.start("c", knows=["b"])
        await put(fleet["a"], "notes", "one", text="from a", five=5)
        await put(fleet["c"], "notes", "two", text="from c")
        await eventually_equal(fleet.running, "notes")
        assert await documents(fleet["b"], "notes") == {
            "one": {"text": "from a", "five": 5},
            "two": {"text": "from c"},
        }

        await fleet.stop("c")
        await put(fleet["a"], "notes", "one", text="again", five=5)
        await delete(fleet["b"], "notes", "two")
        await fleet.start("c")
        await eventually_equal(fleet.running, "notes")
        assert await documents(fleet["c"], "notes") == {"one": {"text": "again", "five": 5}}


async def test_what_a_node_with_a_derived_identity_says_is_believed(tmp_path: Path) -> None:
    """Also where nobody gave it an agent id."""
    async with formation(tmp_path) as ours:
        options = ["--formation-key-file", str(ours.key_file), "--app-id", ours.app_id]
        options += ["--identity", "derived", "--node-id", "one", "--no-discover-mdns"]
        async with Sidecar.start(tmp_path / "derived", options=options) as derived:
            await ours.start("a", peers=[str(derived.peer)])
            await eventually_equal([ours["a"], derived], "nodes")
            said = [each["endpoint_addr"] for each in (await documents(ours["a"], "nodes")).values() if each]
            assert sorted(said) == sorted([str(derived.peer), str(ours.address("a"))])
            assert await faults(ours["a"], "foreign") == []


async def test_what_two_sides_wrote_while_they_were_apart(tmp_path: Path) -> None:
    """Different fields of one document both survive; of one field all have the same; a delete stays one."""
    async with formation(tmp_path) as fleet:
        await fleet.start("a")
        await fleet.start("b", knows=["a"])
        await put(fleet["a"], "notes", "shared", left=0, right=0, both="")
        await put(fleet["a"], "notes", "gone", text="x")
        await eventually_equal(fleet.running, "notes")
        for node in fleet.running:
            await node.call("StopSync")
            assert not (await node.call("GetStatus")).get("syncActive", False)
        await put(fleet["a"], "notes", "shared", left=1, right=0, both="a")
        await put(fleet["b"], "notes", "shared", left=0, right=2, both="b")
        await delete(fleet["b"], "notes", "gone")
        assert (await get(fleet["a"], "notes", "shared")) == {"left": 1, "right": 0, "both": "a"}

        await asyncio.gather(*(node.call("StartSync") for node in fleet.running))
        await eventually_equal(fleet.running, "notes")
        (shared,) = (await documents(fleet["a"], "notes")).values()
        assert shared == {"left": 1, "right": 2, "both": "b"}  # written later
        stats = await fleet["a"].call("GetSyncStats")
        assert stats["syncActive"]
        assert stats["connectedPeers"] == 1
        assert int(stats["bytesSent"]) > 0
        assert int(stats["bytesReceived"]) > 0


async def test_a_clock_that_is_a_year_ahead_wins_nothing(tmp_path: Path) -> None:
    """Its records are visible as faults, and its node takes part again once its clock is right."""
    async with formation(tmp_path) as fleet:
        await fleet.start("a")
        await fleet.start("b", knows=["a"])
        await put(fleet["a"], "notes", "plan", by="a")
        await put(fleet["a"], "notes", "left", by="a")
        await fleet.start("wrong", knows=["b"], clock_seconds=YEAR_SECONDS)

        async def has_all() -> bool:
            return len(await documents(fleet["wrong"], "notes")) == 2

        await eventually(has_all, "the node with the wrong clock has what the others have")
        await put(fleet["wrong"], "notes", "plan", by="wrong")
        await delete(fleet["wrong"], "notes", "left")
        for name in ("a", "b"):

            async def is_told(name: str = name) -> bool:
                found = await faults(fleet[name], "future")
                return any(fault["signer"] == str(fleet.id("wrong")) for fault in found)

            await eventually(is_told, f"the status of {name} says that a clock is ahead")
            assert await documents(fleet[name], "notes") == {"plan": {"by": "a"}, "left": {"by": "a"}}
        await put(fleet["a"], "notes", "plan", by="a, later")

        async def has_later() -> bool:
            return await get(fleet["b"], "notes", "plan") == {"by": "a, later"}

        await eventually(has_later, "the others go on")

        await fleet.stop("wrong")
        await fleet.start("wrong", clock_seconds=0.0)
        await put(fleet["wrong"], "notes", "right", by="wrong")
        await eventually_equal(fleet.running, "notes")
        assert await get(fleet["a"], "notes", "right") == {"by": "wrong"}


async def test_a_clock_that_is_a_year_behind(tmp_path: Path) -> None:
    """What it wrote alone is older than what others wrote, and reaches them where they wrote nothing. To
    itself all others are ahead, which its status says, until its clock is right.
    """
    async with formation(tmp_path) as fleet:
        await fleet.start("behind", clock_seconds=-YEAR_SECONDS)
        await put(fleet["behind"], "notes", "plan", by="behind")
        await put(fleet["behind"], "notes", "own", by="behind")
        await fleet.start("a")
        await put(fleet["a"], "notes", "plan", by="a")
        await fleet.start("b", knows=["a", "behind"])
        right = {"plan": {"by": "a"}, "own": {"by": "behind"}}
        for name in ("a", "b"):

            async def is_right(name: str = name) -> bool:
                return await documents(fleet[name], "notes") == right

            await eventually(is_right, f"{name} has what each wrote last")

        async def says_so() -> bool:
            ahead = {fault["signer"] for fault in await faults(fleet["behind"], "future")}
            return str(fleet.id("a")) in ahead

        await eventually(says_so, "the status of the node says that the others are ahead")
        await put(fleet["behind"], "notes", "plan", by="behind, again")
        await put(fleet["a"], "notes", "more", by="a")

        await fleet.stop("behind")
        await fleet.start("behind", clock_seconds=0.0)
        await eventually_equal(fleet.running, "notes")
        assert await documents(fleet["behind"], "notes") == right | {"more": {"by": "a"}}
