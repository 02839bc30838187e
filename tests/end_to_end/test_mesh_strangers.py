"""Who does not belong: a wrong key, a stock Iroh node, someone banned, someone who is not on the roster."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from blake3 import blake3
from tests.support.aster_peer import AsterError, AsterPeer
from tests.support.formations import (
    RosterAdmin,
    documents,
    eventually,
    eventually_equal,
    faults,
    formation,
    get,
    load_roster,
    peer,
    put,
)
from tests.support.networks import everyone
from tools.sidecar import Sidecar, SidecarError

from peat_sidecar.errors import PeatError
from peat_sidecar.ids import BlobHash, PeerAddress
from peat_sidecar.mesh import BAN_WITHOUT_ROSTER, Role
from peat_sidecar.net import IrohEndpoint

MESH_ALPN = b"/peat-sidecar/mesh/1"
NONCE_BYTES = 32
SECRET = b"a blob that is for members only\n" * 1000


async def share_secret(sidecar: Sidecar, folder: Path) -> BlobHash:
    """A blob and a document that nobody else shall have."""
    (folder / "secret").write_bytes(SECRET)
    await put(sidecar, "notes", "secret", text="for members only")
    return await sidecar.import_file(folder / "secret")


async def test_another_key_gets_nothing(tmp_path: Path) -> None:
    """Neither side takes or tells anything; each one's status says why."""
    (tmp_path / "files").mkdir()
    async with formation(tmp_path / "ours") as ours, formation(tmp_path / "theirs") as theirs:
        await ours.start("a", import_roots=[tmp_path / "files"])
        blob = await share_secret(ours["a"], tmp_path / "files")
        await ours.start("b", knows=["a"])
        await theirs.start("stranger")
        await put(theirs["stranger"], "notes", "poison", text="x")
        target = ours.address("a")
        answer = await theirs["stranger"].call("ConnectPeer", endpointId=str(target))
        assert answer["peer"]["lastError"]

        async def is_counted() -> bool:
            return int((await ours["a"].call("GetStatus"))["formation"].get("refusedHandshakes", 0)) > 0

        await eventually(is_counted, "the status says that a handshake was refused")
        with pytest.raises(SidecarError):
            await theirs["stranger"].fetch_blob(blob, target)
        await eventually_equal(ours.running, "notes")  # so that what would come has had its time
        assert list(await documents(ours["a"], "notes")) == ["secret"]
        assert list(await documents(theirs["stranger"], "notes")) == ["poison"]
        assert await ours["a"].metric("provider_sent_bytes_total") == 0
        for node, other in ((ours["a"], theirs.id("stranger")), (theirs["stranger"], ours.id("a"))):
            assert not (await peer(node, other)).get("member", False)
        assert (await peer(ours["a"], ours.id("b")))["member"]


async def test_a_key_is_changed_node_by_node(tmp_path: Path) -> None:
    """One node has the old key, one the new one, and one between them both: they are one formation."""
    old, new = secrets.token_bytes(32).hex(), secrets.token_bytes(32).hex()
    async with formation(tmp_path) as ours:
        await ours.start("old", formation_key_files=[], formation_keys=[old])
        await ours.start("both", knows=["old"], formation_key_files=[], formation_keys=[new, old])
        await ours.start("new", knows=["both", "old"], formation_key_files=[], formation_keys=[new])
        await put(ours["old"], "notes", "one", text="x")
        await put(ours["new"], "notes", "two", text="x")
        await eventually_equal(ours.running, "notes")
        assert len(await documents(ours["new"], "notes")) == 2
        assert not (await peer(ours["new"], ours.id("old"))).get("member", False)


async def test_a_stock_iroh_node_gets_neither_a_document_nor_a_blob(tmp_path: Path) -> None:
    """Then the operator allows its id, and it gets blobs, and still no document."""
    (tmp_path / "files").mkdir()
    async with formation(tmp_path / "ours") as ours, await AsterPeer.start() as aster:
        await ours.start("a", import_roots=[tmp_path / "files"])
        blob = await share_secret(ours["a"], tmp_path / "files")
        with pytest.raises(AsterError):
            await aster.get(ours.address("a"), blob, timeout_seconds=5)
        assert (await aster.held(blob)).local_bytes == 0
        assert await ours["a"].metric("provider_sent_bytes_total") == 0

        await ours["a"].admit(aster.address)
        assert (await aster.get(ours.address("a"), blob)).size == len(SECRET)
        assert blob == BlobHash(blake3(SECRET).digest())
        assert not (await peer(ours["a"], aster.id)).get("member", False)


@asynccontextmanager
async def bare_endpoint() -> AsyncIterator[IrohEndpoint]:
    """Iroh with nothing on top."""
    endpoint = await IrohEndpoint.bind(
        secrets.token_bytes(32), bind_addresses=("127.0.0.1:0",), alpns=(MESH_ALPN,), admit=everyone
    )
    try:
        yield endpoint
    finally:
        await endpoint.close()


HELLO = b"\x01" + bytes(NONCE_BYTES)
WRONG_PROOFS = [b"\x01" + bytes(32), b"\x02" + bytes(64) + b"\0\0\0\x01\0" * 1000, b"\xff" + bytes(1000)]
RUBBISH = [b"\xff" * 4096, b"GET / HTTP/1.1\r\n\r\n" * 100, HELLO[:20]]


async def all_that_is_said(
    endpoint: IrohEndpoint, target: PeerAddress, said: bytes, then: bytes = b""
) -> bytes:
    """What a node answers on the mesh's protocol, up to its end; `then` is said once a nonce has come."""
    connection = await endpoint.connect(target, MESH_ALPN)
    stream = await connection.open_stream()
    heard = b""
    try:
        await stream.write(said)
        if then:
            heard += await stream.read_exact(NONCE_BYTES)
            await stream.write(then)
        while data := await stream.read(1 << 16):
            heard += data
    except PeatError:
        pass
    return heard


async def test_before_the_key_is_proven_nothing_but_a_nonce_is_told(tmp_path: Path) -> None:
    """To wrong proofs, with frames behind them, and to rubbish."""
    async with formation(tmp_path) as ours, bare_endpoint() as stranger, asyncio.timeout(30):
        await ours.start("a")
        await put(ours["a"], "notes", "secret", text="for members only")
        for proof in WRONG_PROOFS:
            assert len(await all_that_is_said(stranger, ours.address("a"), HELLO, proof)) == NONCE_BYTES
        for said in RUBBISH:
            assert len(await all_that_is_said(stranger, ours.address("a"), said)) <= NONCE_BYTES
        status = await ours["a"].call("GetStatus")
        assert status["phase"] == "NODE_PHASE_READY"
        assert int(status["formation"]["refusedHandshakes"]) >= len(WRONG_PROOFS)


async def test_a_ban_ends_a_live_connection(tmp_path: Path) -> None:
    """At once, for documents and blobs, through restarts, until it is lifted."""
    (tmp_path / "files").mkdir()
    async with formation(tmp_path / "ours") as ours:
        await ours.start("a", import_roots=[tmp_path / "files"])
        blob = await share_secret(ours["a"], tmp_path / "files")
        await ours.start("b", knows=["a"])
        await eventually_equal(ours.running, "notes")
        target = ours.address("a")

        began = time.monotonic()
        banned = await ours["a"].call("BanPeer", endpointId=str(ours.id("b")), reason="lost at sea")
        assert banned["ban"]["reason"] == "lost at sea"
        assert banned["note"] == BAN_WITHOUT_ROSTER
        assert not banned.get("isFinal", False)

        async def is_out() -> bool:
            return not (await peer(ours["a"], ours.id("b"))).get("connected", False)

        await eventually(is_out, "the connection is closed")
        assert time.monotonic() - began < 5
        await put(ours["a"], "notes", "later", text="not for b")
        with pytest.raises(SidecarError):
            await ours["b"].fetch_blob(blob, target)
        assert list(await documents(ours["b"], "notes")) == ["secret"]

        await ours.stop("a")
        await ours.start("a")
        (ban,) = (await ours["a"].call("ListBans"))["bans"]
        assert ban["endpointId"] == str(ours.id("b"))
        with pytest.raises(SidecarError):
            await ours["b"].fetch_blob(blob, target)
        assert list(await documents(ours["b"], "notes")) == ["secret"]

        await ours["a"].call("UnbanPeer", endpointId=str(ours.id("b")))
        await ours["b"].call("ConnectPeer", endpointId=str(target))
        await eventually_equal(ours.running, "notes")
        assert await get(ours["b"], "notes", "later") == {"text": "not for b"}
        await ours["b"].fetch_blob(blob, target)


async def test_the_roster_says_who_joins(tmp_path: Path) -> None:
    """With the key alone nobody does; who is taken off is dropped by all, though one of them was told."""
    async with formation(tmp_path / "ours") as ours:
        admin = RosterAdmin(tmp_path, ours)
        for name in ("a", "b", "c"):
            admin.add(name, Role.PUBLISHER)
        with_roster = admin.settings()
        (tmp_path / "files").mkdir()
        await ours.start("a", knows=["c"], import_roots=[tmp_path / "files"], **with_roster)
        await ours.start("b", knows=["a"], **with_roster)
        await ours.start("c", knows=["b"], **with_roster)
        await ours.start("unlisted", knows=["a", "b"])
        await put(ours["unlisted"], "notes", "poison", text="x")
        await put(ours["a"], "notes", "one", text="from a")
        listed = [ours[name] for name in ("a", "b", "c")]
        await eventually_equal(listed, "notes")
        assert list(await documents(ours["c"], "notes")) == ["one"]
        assert await documents(ours["unlisted"], "notes") == {"poison": {"text": "x"}}
        blob = await share_secret(ours["a"], tmp_path / "files")

        older = admin.sign().read_bytes()
        admin.remove("c")
        await load_roster(ours["a"], admin.sign().read_bytes())

        async def is_dropped() -> bool:
            return not (await peer(ours["b"], ours.id("c"))).get("member", False)

        await eventually(is_dropped, "b, which learnt it from a, drops c")
        await put(ours["a"], "notes", "two", text="not for c")
        await eventually_equal(listed[:2], "notes")
        assert "two" not in await documents(ours["c"], "notes")
        with pytest.raises(SidecarError, match="does not admit"):
            await ours["c"].fetch_blob(blob, ours.address("a"))
        shown = await ours["b"].call("GetRoster")
        assert {entry["agentId"] for entry in shown["roster"]["entries"]} == {"a", "b"}

        with pytest.raises(SidecarError, match="older"):
            await load_roster(ours["b"], older)
        await ours.stop("b")
        (tmp_path / "older.json").write_bytes(older)
        await ours.start("b", roster=str(tmp_path / "older.json"))
        shown = await ours["b"].call("GetRoster")
        assert {entry["agentId"] for entry in shown["roster"]["entries"]} == {"a", "b"}
        assert await faults(ours["b"], "forged") == []
