"""Members that have the key and misuse it: what they say influences nothing, and each fault is visible."""

import time
from pathlib import Path

from tests.support.formations import (
    Formation,
    documents,
    eventually,
    eventually_equal,
    faults,
    formation,
    get,
    peer,
    put,
)
from tests.support.hostile_member import HostileMember, hostile_member

from peat_sidecar.records import SignedRecord, Signer, clock_at, sign_record

DEEP = b"[" * 100_000 + b"]" * 100_000
HUGE = b"1" + b"0" * 30
PACKAGE = "b:registry.example/app:v1-amd64"
EVIL = {"reference": "registry.example/evil:v1"}
YEAR_SECONDS = 365 * 86400
MEMORY_LIMIT_BYTES = 300 << 20


def now() -> int:
    return clock_at(time.time())


def body_with(signer: Signer, value: bytes) -> SignedRecord:
    """A record of a note whose value is those bytes, rightly signed; its sequence is 1."""
    body = (
        b'{"clock":"%016x","collection":"notes","doc_id":"poison","fields":{"%016x":{"x":%b}},'
        b'"sequence":"%016x","signer":"%b"}'
    ) % (now(), now(), value, 1, str(signer.id).encode())
    return SignedRecord(body, signer.sign(body))


async def two_nodes(fleet: Formation) -> None:
    """Of which the second owns something."""
    await fleet.start("a")
    await fleet.start("b", knows=["a"])
    await put(fleet["b"], "notes", "plan", by="b")
    await put(fleet["b"], "packages", PACKAGE, reference="registry.example/app:v1")
    await eventually_equal(fleet.running, "packages")
    await eventually_equal(fleet.running, "notes")


async def is_reported(fleet: Formation, kind: str, by: HostileMember) -> None:
    """In the status, with the peer that sent it."""

    async def is_there() -> bool:
        return any(fault.get("source") == str(by.signer.id) for fault in await faults(fleet["a"], kind))

    await eventually(is_there, f"the status names {kind}")


async def nothing_happened(fleet: Formation) -> None:
    """What there is, is what was; and the nodes go on."""
    await put(fleet["a"], "notes", "after", by="a")
    await eventually_equal(fleet.running, "notes")
    assert await documents(fleet["b"], "notes") == {"plan": {"by": "b"}, "after": {"by": "a"}}
    assert await documents(fleet["a"], "packages") == {PACKAGE: {"reference": "registry.example/app:v1"}}
    for node in fleet.running:
        assert (await node.call("GetStatus"))["phase"] == "NODE_PHASE_READY"
        assert node.peak_bytes() < MEMORY_LIMIT_BYTES


async def test_others_documents_and_words(tmp_path: Path) -> None:
    """Claims another's package, forges its signature, and comes from the future."""
    async with formation(tmp_path) as fleet:
        await two_nodes(fleet)
        async with hostile_member(fleet, "a") as mallory:
            claim = sign_record(mallory.signer, "packages", PACKAGE, EVIL, sequence=1, clock=now())
            await mallory.tell([claim], upto=1)
            await is_reported(fleet, "foreign", mallory)
        async with hostile_member(fleet, "a") as mallory:
            owner = Signer((fleet.folder_of("b") / "identity.key").read_bytes())
            right = sign_record(owner, "packages", PACKAGE, EVIL, sequence=now(), clock=now())
            forged = SignedRecord(right.body, mallory.signer.sign(right.body))
            await mallory.tell([forged], owner, upto=right.record.sequence)
            await is_reported(fleet, "forged", mallory)
        async with hostile_member(fleet, "a") as mallory:
            later = clock_at(time.time() + YEAR_SECONDS)
            ahead = sign_record(mallory.signer, "notes", "plan", {"by": "m"}, sequence=later, clock=later)
            await mallory.tell([ahead], upto=later)
            await is_reported(fleet, "future", mallory)
        await nothing_happened(fleet)


async def test_what_is_no_record(tmp_path: Path) -> None:
    """Rightly signed: 100,000 levels deep, integers beyond 64 bits, numbers and texts that JSON has not."""
    async with formation(tmp_path) as fleet:
        await two_nodes(fleet)
        for value in (DEEP, HUGE, b"1e999", b'"\\ud800"', b"{", b'{"b":1,"a":1}', b'{"a":1,"a":1}'):
            async with hostile_member(fleet, "a") as mallory:
                await mallory.tell([body_with(mallory.signer, value)], upto=1)
                await is_reported(fleet, "malformed", mallory)
        await nothing_happened(fleet)


async def test_floods(tmp_path: Path) -> None:
    """With rubbish after the key was proven, again and again."""
    rubbish = [
        b"\xff" * 100_000,
        (1 << 16).to_bytes(4, "little") + b"\x03" + b"\0" * (1 << 16),
        ((1 << 20) + 1).to_bytes(4, "little") + b"\x03",
        b"\x01\0\0\0\x63" * 20_000,
        b"\0\0\0\0" * 20_000,
    ]
    async with formation(tmp_path) as fleet:
        await two_nodes(fleet)
        for data in rubbish:
            async with hostile_member(fleet, "a") as mallory:
                await mallory.say(data)
                await dropped(fleet, mallory)
        await nothing_happened(fleet)


async def dropped(fleet: Formation, member: HostileMember) -> None:
    async def is_out() -> bool:
        return not (await peer(fleet["a"], member.signer.id)).get("connected", False)

    await eventually(is_out, "who does not keep to the protocol is dropped")


async def test_one_that_stops_reading(tmp_path: Path) -> None:
    """The others get everything all the same, and the node does not grow."""
    async with formation(tmp_path) as fleet:
        await two_nodes(fleet)
        async with hostile_member(fleet, "a") as mallory:

            async def is_in() -> bool:
                return bool((await peer(fleet["a"], mallory.signer.id)).get("connected"))

            await eventually(is_in, "it is a member like any other")
            await write_much(fleet)


async def write_much(fleet: Formation) -> None:
    before = fleet["a"].resident_bytes()
    text = "x" * 20_000
    for number in range(300):
        await put(fleet["a"], "large", str(number % 50), text=text, number=number)

    async def has_last() -> bool:
        found = await get(fleet["b"], "large", str(299 % 50))
        return found is not None and found["number"] == 299

    await eventually(has_last, "the other node has what was written last", 10)
    assert fleet["a"].resident_bytes() - before < 80 << 20
