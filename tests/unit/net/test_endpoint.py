"""The endpoint on Iroh: what it binds, how it bears floods and dead peers, and what it leaves behind."""

import asyncio
import contextlib
import gc
import os
import socket
import threading
from collections.abc import AsyncIterator

import pytest

from peat_sidecar.errors import ConfigError, PeerUnavailable
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.net import ConnectionClosed, IrohEndpoint, StreamReset, StreamStopped, endpoint
from peat_sidecar.net.bindings import plain, translate
from tests.support.networks import ALPN, address_of, everyone, network, stream_pair

PEER = EndpointId(bytes(range(32)))


@pytest.fixture(autouse=True)
async def time_limit() -> AsyncIterator[None]:
    async with asyncio.timeout(30):
        yield


async def bound(*addresses: str, **options: object) -> IrohEndpoint:
    return await IrohEndpoint.bind(
        os.urandom(32),
        bind_addresses=addresses,
        alpns=(ALPN,),
        admit=everyone,
        **options,  # type: ignore[arg-type]
    )


def own_udp6_sockets() -> set[str]:
    """Local ends of this process's IPv6 UDP sockets, as the kernel lists them."""
    own = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            own.add(os.readlink(f"/proc/self/fd/{descriptor}"))
    with open("/proc/net/udp6") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return {row[1] for row in rows if f"socket:[{row[9]}]" in own}


async def test_loopback_only_is_not_reachable_over_the_other_ip_version() -> None:
    made = await bound("127.0.0.1:0")
    wildcards = [row for row in own_udp6_sockets() if set(row.partition(":")[0]) == {"0"}]
    assert not wildcards
    (address,) = made.addresses()
    assert address.startswith("127.0.0.1:")
    await made.close()
    assert made.addresses() == ()


async def test_fixed_port_is_taken_and_given_back() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(ConfigError, match="Address already in use"):
            await bound(where)
    made = await bound(where)
    assert made.addresses() == (where,)
    await made.close()
    again = await bound(where)
    await again.close()


async def test_wildcard_gives_addresses_that_can_be_dialled() -> None:
    made, dialler = await bound("0.0.0.0:0"), await bound("0.0.0.0:0")
    assert made.addresses()
    assert not any(address.startswith("0.0.0.0") for address in made.addresses())
    connection = await dialler.connect(address_of(made), ALPN)
    assert not connection.is_closed
    await dialler.close()
    await made.close()


async def test_speaks_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 on this machine")
    made, dialler = await bound("[::1]:0"), await bound("[::1]:0")
    (address,) = made.addresses()
    assert address.startswith("[::1]:")
    connection = await dialler.connect(address_of(made), ALPN)
    assert connection.remote_addresses[0] == address
    await dialler.close()
    await made.close()


async def test_same_key_gives_the_same_id() -> None:
    first = await IrohEndpoint.bind(b"k" * 32, bind_addresses=("127.0.0.1:0",), alpns=(ALPN,), admit=everyone)
    await first.close()
    second = await IrohEndpoint.bind(
        b"k" * 32, bind_addresses=("127.0.0.1:0",), alpns=(ALPN,), admit=everyone
    )
    assert second.id == first.id
    await second.close()


async def test_dials_by_name() -> None:
    made, dialler = await bound("127.0.0.1:0"), await bound("127.0.0.1:0")
    port = made.addresses()[0].rpartition(":")[2]
    await dialler.connect(PeerAddress(made.id, (f"localhost:{port}",)), ALPN)
    await dialler.close()
    await made.close()


async def test_id_that_is_no_key_is_a_config_error() -> None:
    dialler = await bound("127.0.0.1:0")
    bad = EndpointId(bytes([2]) * 32)
    with pytest.raises(ConfigError, match="no public key"):
        await dialler.connect(PeerAddress(bad, ("127.0.0.1:9",)), ALPN)
    await dialler.close()


async def first_packets(dialler: IrohEndpoint, target: EndpointId, count: int) -> list[bytes]:
    """What `count` dials send first, caught by a socket that never answers."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trap:
        trap.bind(("127.0.0.1", 0))
        trap.setblocking(False)
        trap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        where = PeerAddress(target, (f"127.0.0.1:{trap.getsockname()[1]}",))
        dials = asyncio.gather(*[dialler.connect(where, ALPN) for _ in range(count)], return_exceptions=True)
        await asyncio.sleep(0.2)
        packets = []
        with contextlib.suppress(BlockingIOError):
            while True:
                packets.append(trap.recv(65536))
        # What they send when they give up would end the handshakes, so it is not caught.
        assert all(isinstance(result, PeerUnavailable) for result in await dials)
    return packets


async def test_half_open_handshakes_do_not_keep_others_out() -> None:
    """First packets are sent again and never followed up: the flood gets its share and no more."""
    made, dialler = await bound("127.0.0.1:0"), await bound("127.0.0.1:0", connect_timeout_seconds=0.3)
    packets = await first_packets(dialler, made.id, 3 * endpoint.VALIDATE_ABOVE)
    host, _, port = made.addresses()[0].rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
        for packet in packets:
            flood.sendto(packet, (host, int(port)))
        await asyncio.sleep(0.2)
        assert len(made._handshakes) == endpoint.VALIDATE_ABOVE
        friend = await bound("127.0.0.1:0")
        await friend.connect(address_of(made), ALPN)
        accepted = await made.accept()
    assert accepted is not None
    assert accepted.remote_id == friend.id
    for each in (friend, dialler, made):
        await each.close()


async def test_half_open_handshakes_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "HANDSHAKE_SECONDS", 0.2)
    made, dialler = await bound("127.0.0.1:0"), await bound("127.0.0.1:0", connect_timeout_seconds=0.3)
    packets = await first_packets(dialler, made.id, 3)
    host, _, port = made.addresses()[0].rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
        for packet in packets:
            flood.sendto(packet, (host, int(port)))
        await asyncio.sleep(0.1)
        pending = list(made._handshakes)
        assert pending
        await asyncio.wait(pending, timeout=2)
    assert not made._handshakes
    await dialler.close()
    await made.close()


async def test_connections_of_one_peer_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "MAX_CONNECTIONS_PER_PEER", 2)
    made, dialler = await bound("127.0.0.1:0"), await bound("127.0.0.1:0")
    kept = [await dialler.connect(address_of(made), ALPN) for _ in range(2)]
    refused = await dialler.connect(address_of(made), ALPN)
    assert "limit" in await refused.closed()
    kept[0].close()
    accepted = await made.accept()
    assert accepted is not None
    await accepted.closed()
    assert not (await dialler.connect(address_of(made), ALPN)).is_closed
    await dialler.close()
    await made.close()


async def test_ids_that_have_left_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where any id may connect, a flood of new ones must not fill a table."""
    monkeypatch.setattr(endpoint, "SWEEP_AT", 4)
    made = await bound("127.0.0.1:0")
    made._sweep_at = 4
    kept = await bound("127.0.0.1:0")
    stays = await kept.connect(address_of(made), ALPN)
    for _ in range(12):
        passing = await bound("127.0.0.1:0")
        await passing.connect(address_of(made), ALPN)
        accepted = await made.accept()
        assert accepted is not None
        while accepted.remote_id == kept.id:
            accepted = await made.accept()
            assert accepted is not None
        await passing.close()
        await accepted.closed()
        assert len(made._inbound) <= 5
    assert kept.id in made._inbound
    assert not stays.is_closed
    await kept.close()
    await made.close()


async def test_failing_admission_is_a_no(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: EndpointId, __: bytes) -> bool:
        raise LookupError

    made = await IrohEndpoint.bind(
        os.urandom(32), bind_addresses=("127.0.0.1:0",), alpns=(ALPN,), admit=broken
    )
    dialler = await bound("127.0.0.1:0")
    connection = await dialler.connect(address_of(made), ALPN)
    assert "permission" in await connection.closed()
    assert "cannot decide about peer" in caplog.text
    await dialler.close()
    await made.close()


async def test_leaves_nothing_behind() -> None:
    async def use() -> None:
        async with network("iroh") as net:
            near, far = await net.pair()
            here, _ = await stream_pair(near, far)
            reading = asyncio.create_task(here.read(1))
            waiting = asyncio.create_task(far.accept_stream())
            await asyncio.sleep(0.01)
        with pytest.raises(ConnectionClosed):
            await reading
        assert await waiting is None

        gc.collect()  # a failed task and its frame hold each other, and with them a handle

    await use()  # the runtime's own threads and descriptors come with the first endpoint
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(3):
        await use()
    assert len(asyncio.all_tasks()) == 1
    assert threading.active_count() == threads
    async with asyncio.timeout(5):  # Rust closes the sockets on a thread of its own
        while len(os.listdir("/proc/self/fd")) > descriptors:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)


def test_loops_may_follow_one_another() -> None:
    async def use() -> None:
        async with network("iroh") as net:
            near, far = await net.pair()
            here, there = await stream_pair(near, far)
            await there.write(b"x")
            assert await here.read_exact(1) == b"x"

    with asyncio.Runner() as first:
        first.run(use())
    with asyncio.Runner() as second:
        second.run(use())


class FakeError:
    """An Iroh error of a given text; the real ones cannot be made."""

    def __init__(self, text: str) -> None:
        self._text = text

    def message(self) -> str:
        return self._text

    def kind(self) -> object:
        return None


@pytest.mark.parametrize(
    ("text", "kind", "code", "words"),
    [
        ("Reset(3)", StreamReset, 3, "gave up its stream"),
        ("ReadError(Reset(5))", StreamReset, 5, "code 5"),
        ("Stopped(9)", StreamStopped, 9, "wants no more"),
        (
            'ConnectionLost(ApplicationClosed(ApplicationClose { error_code: 1, reason: b"permission" }))',
            ConnectionClosed,
            1,
            "does not admit this node",
        ),
        (
            'ApplicationClosed(ApplicationClose { error_code: 0, reason: b"" })',
            ConnectionClosed,
            0,
            "no reason given",
        ),
        ("ConnectionLost(LocallyClosed)", ConnectionClosed, None, "was closed here"),
        ("ConnectionLost(TimedOut)", ConnectionClosed, None, "broke: ConnectionLost"),
    ],
)
def test_errors_are_translated(text: str, kind: type, code: int | None, words: str) -> None:
    error = translate(FakeError(text), PEER)  # type: ignore[arg-type]
    assert type(error) is kind
    assert error.code == code  # type: ignore[attr-defined]
    assert words in str(error)
    assert PEER.short in str(error)


def test_unknown_errors_keep_their_words() -> None:
    text = "Outer (/build/src/a.rs:1:2)\nCaused by:\n    Inner (/build/src/b.rs:3:4)"
    assert plain(text) == "Outer; Caused by:; Inner"
    error = translate(FakeError(text), PEER)  # type: ignore[arg-type]
    assert type(error) is PeerUnavailable


async def test_refusals_do_not_fill_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can send a packet can cause one."""
    caplog.set_level("INFO", endpoint.__name__)
    made = await IrohEndpoint.bind(
        os.urandom(32), bind_addresses=("127.0.0.1:0",), alpns=(ALPN,), admit=lambda *_: False
    )
    dialler = await bound("127.0.0.1:0")

    async def refused() -> None:
        with contextlib.suppress(ConnectionClosed):
            await (await dialler.connect(address_of(made), ALPN)).closed()

    for _ in range(4):
        await refused()
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"refused peer {dialler.id}: it is not allowed here"]
    monkeypatch.setattr(endpoint, "LOG_EVERY_SECONDS", 0.0)
    await refused()
    assert "3 times more" in caplog.records[-1].getMessage()
    await dialler.close()
    await made.close()
