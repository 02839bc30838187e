"""Who may connect, who is dialled, and what becomes of a peer that is disconnected."""

import asyncio
from pathlib import Path

import pytest

from peat_sidecar.errors import ConfigError, NotFound, PeerUnavailable
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.mesh import Peers
from peat_sidecar.net import ConnectionClosed, Pool
from peat_sidecar.store import Store
from peat_sidecar.transfer import Getter, Progress, Provider
from peat_sidecar.wire import ALPN, MESH_ALPN
from tests.support.networks import KINDS, address_of, network
from tests.support.nodes import bounded, content, hasty, until
from tests.support.real_files import real_bytes

STRANGER = EndpointId(bytes([9]) * 32)


def test_named_and_allowed_peers_are_admitted_and_nobody_else() -> None:
    one, other = EndpointId(bytes([1]) * 32), EndpointId(bytes([2]) * 32)
    peers = Peers(named=[PeerAddress(one, ("192.0.2.1:4433",))], allowed=[other])
    for peer, admitted in ((one, True), (other, True), (STRANGER, False)):
        assert peers.admits(peer, ALPN) is admitted
        assert not peers.admits(peer, MESH_ALPN)
        assert not peers.admits(peer, b"/other/1")
    assert [(info.endpoint_id, info.connected) for info in peers.list()] == [(other, False), (one, False)]


def test_resolving_names() -> None:
    one, other = EndpointId(bytes([1]) * 32), EndpointId(bytes([2]) * 32)
    peers = Peers(named=[PeerAddress(one, ("192.0.2.1:4433",))], allowed=[other])
    assert peers.resolve(str(one)).addresses == ("192.0.2.1:4433",)
    assert peers.resolve(f"{STRANGER}@192.0.2.2:1").addresses == ("192.0.2.2:1",)
    for unknown in (other, STRANGER):
        with pytest.raises(NotFound, match="no address is known"):
            peers.resolve(str(unknown))


def test_whom_only_a_record_names_is_not_missed() -> None:
    one, other, third = (EndpointId(bytes([n]) * 32) for n in (1, 2, 3))
    peers = Peers(named=[PeerAddress(one, ("192.0.2.1:4433",)), PeerAddress(third)], allowed=[other])
    peers.discovered(PeerAddress(STRANGER, ("192.0.2.2:4433",)), "record")
    assert set(peers.missing()) == {one, other, third}
    peers.ban(third, "")
    assert set(peers.missing()) == {one, other}


@pytest.mark.parametrize("kind", KINDS)
async def test_only_admitted_peers_get_in(tmp_path: Path, kind: str) -> None:
    data = real_bytes(100_000)
    async with network(kind) as made:
        with Store.open(tmp_path / "one") as provided, Store.open(tmp_path / "other") as got:
            blob = provided.put(data).hash
            peers = Peers()
            server = await made.endpoint(admit=peers.admits)
            client = await made.endpoint()
            pools = Pool(server), Pool(client)
            serving = asyncio.create_task(peers.run(server, pools[0], Provider(provided)))
            getter = Getter(got, pools[1], patience=hasty)
            address = address_of(server)

            with pytest.raises(ConnectionClosed, match=f"does not admit this node.*{client.id}"):
                await bounded(getter.fetch_blob(blob, address, Progress()))

            named = await bounded(peers.connect(PeerAddress(client.id)))
            assert (named.endpoint_id, named.connected, named.last_error) == (client.id, False, "")
            await bounded(getter.fetch_blob(blob, address, Progress()))
            assert content(got, blob) == data
            await until(lambda: peers.connected == 1)
            (info,) = peers.list()
            assert info.connected
            assert info.sent_bytes > len(data)

            # an open connection ends with the admission
            peers.disconnect(client.id)
            await until(lambda: pools[1].find(server.id, ALPN) is None)
            got.delete(blob)
            with pytest.raises(ConnectionClosed, match="does not admit this node"):
                await bounded(getter.fetch_blob(blob, address, Progress()))
            with pytest.raises(NotFound):
                peers.disconnect(client.id)
            for pool in pools:
                await pool.close()
            for endpoint in (client, server):
                await endpoint.close()
            await bounded(serving)


async def test_a_peer_that_cannot_be_reached_is_admitted_and_the_reason_kept(tmp_path: Path) -> None:
    async with network("memory") as made:
        with Store.open(tmp_path) as store:
            peers = Peers()
            endpoint = await made.endpoint(admit=peers.admits, connect_timeout_seconds=0.1)
            pool = Pool(endpoint)
            serving = asyncio.create_task(peers.run(endpoint, pool, Provider(store)))
            info = await bounded(peers.connect(PeerAddress(STRANGER, ("127.0.0.1:9",))))
            assert not info.connected
            assert "did not answer" in info.last_error
            assert peers.admits(STRANGER, ALPN)
            assert peers.list() == [info]
            with pytest.raises(PeerUnavailable):
                await pool.connection(peers.resolve(str(STRANGER)), ALPN)
            await pool.close()
            await endpoint.close()
            await bounded(serving)


async def test_a_peer_that_is_disconnected_between_its_handshake_and_its_turn_stays_out(
    tmp_path: Path,
) -> None:
    async with network("memory") as made:
        with Store.open(tmp_path) as store:
            server, client = await made.endpoint(), await made.endpoint()
            peers = Peers(allowed=[client.id])
            pools = Pool(server), Pool(client)
            connection = await bounded(pools[1].connection(address_of(server), ALPN))
            peers.disconnect(client.id)
            serving = asyncio.create_task(peers.run(server, pools[0], Provider(store)))
            await until(lambda: connection.is_closed)
            for pool in pools:
                await pool.close()
            for endpoint in (client, server):
                await endpoint.close()
            await bounded(serving)


async def test_a_peer_that_is_named_wrongly_stays_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = EndpointId(bytes([7]) * 32)
    async with network("memory") as made:
        with Store.open(tmp_path) as store:
            peers = Peers(named=[PeerAddress(one, ("192.0.2.1:4433",))])
            endpoint = await made.endpoint()
            pool = Pool(endpoint)
            serving = asyncio.create_task(peers.run(endpoint, pool, Provider(store)))
            await asyncio.sleep(0)

            async def refuse(*_: object) -> None:
                raise ConfigError("no public key")

            monkeypatch.setattr(pool, "connection", refuse)
            with pytest.raises(ConfigError):
                await peers.connect(PeerAddress(one, ("192.0.2.2:1",)))
            assert peers.resolve(str(one)).addresses == ("192.0.2.1:4433",)
            with pytest.raises(ConfigError):
                await peers.connect(PeerAddress(STRANGER, ("192.0.2.2:1",)))
            assert not peers.admits(STRANGER, ALPN)
            await pool.close()
            await endpoint.close()
            await bounded(serving)
