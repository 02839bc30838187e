"""The handshake over both networks, and what attackers make of it: each attack sends real recorded bytes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass

import pytest

from peat_sidecar.errors import PeatError, PeerUnavailable, Refused, RemoteProtocolError
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh.formation import Formation
from peat_sidecar.mesh.handshake import VERSION, exchange_welcomes, prove_as_acceptor, prove_as_dialer
from peat_sidecar.net import Endpoint, Stream
from tests.support.networks import ALPN, KINDS, Network, address_of, network

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
FORMATION = Formation("fleet", [KEY])
PROOF = 32


@pytest.fixture(params=KINDS)
async def net(request: pytest.FixtureRequest) -> AsyncIterator[Network]:
    async with network(request.param) as made, asyncio.timeout(30):
        yield made


@dataclass
class Line:
    """A connection between two nodes, and its one stream seen from both ends."""

    dialer: EndpointId
    acceptor: EndpointId
    near: Stream
    far: Stream

    async def dial(self, formation: Formation, **options: float) -> None:
        await prove_as_dialer(formation, self.near, self.dialer, self.acceptor, **options)

    async def accept(self, formation: Formation, **options: float) -> None:
        await prove_as_acceptor(formation, self.far, self.acceptor, self.dialer, **options)


async def connect(dialer: Endpoint, acceptor: Endpoint, *, first: bytes = b"") -> Line:
    """The acceptor learns of a stream with its first byte, so one is sent that both sides take out again."""
    accepting = asyncio.create_task(acceptor.accept())
    near = await dialer.connect(address_of(acceptor), ALPN)
    far = await accepting
    assert far is not None
    stream = await near.open_stream()
    await stream.write(b"!" + first)
    other = await far.accept_stream()
    assert other is not None
    await other.read_exact(1)
    return Line(dialer.id, acceptor.id, stream, other)


async def line(net: Network) -> Line:
    return await connect(await net.endpoint(), await net.endpoint())


async def ends(*works: Awaitable[None]) -> list[PeatError | None]:
    """How each of them ends; nothing but the program's own errors."""
    found = await asyncio.gather(*works, return_exceptions=True)
    for each in found:
        if each is not None and not isinstance(each, PeatError):
            raise each
    return found  # type: ignore[return-value]


async def closing_when_refused(line: Line, work: Awaitable[None]) -> None:
    """What the node does with an acceptor's refusal: nothing more is said on the stream."""
    try:
        await work
    except PeatError:
        await line.far.reset(1)
        raise


async def test_both_prove_the_key_and_the_stream_goes_on(net: Network) -> None:
    made = await line(net)
    assert await ends(made.dial(FORMATION), made.accept(FORMATION)) == [None, None]
    welcomes = exchange_welcomes(made.near, made.acceptor), exchange_welcomes(made.far, made.dialer)
    assert await ends(*welcomes) == [None, None]
    await made.near.write(b"what members say")
    assert await made.far.read_exact(16) == b"what members say"
    await made.far.write(b"and answer")
    assert await made.near.read_exact(10) == b"and answer"
    assert made.near.stall_seconds == made.far.stall_seconds == 5.0


@pytest.mark.parametrize(
    ("dialer", "acceptor", "agree"),
    [
        ([KEY], [KEY], True),
        ([KEY, OTHER], [KEY], True),
        ([KEY, OTHER], [OTHER], True),
        ([KEY], [OTHER, KEY], True),
        ([OTHER], [OTHER, KEY], True),
        ([KEY, OTHER], [OTHER, KEY], True),
        ([KEY], [OTHER], False),
        ([KEY, b"x" * 32], [OTHER, b"y" * 32], False),
    ],
)
async def test_one_key_in_common_is_needed_and_enough(
    dialer: list[bytes], acceptor: list[bytes], agree: bool
) -> None:
    async with network("memory") as net:
        made = await line(net)
        accepting = closing_when_refused(made, made.accept(Formation("fleet", acceptor)))
        found = await ends(made.dial(Formation("fleet", dialer)), accepting)
        if agree:
            assert found == [None, None]
        else:
            assert isinstance(found[0], PeerUnavailable)
            assert isinstance(found[1], Refused)
            assert "compare app_id and the formation key" in str(found[1])


async def test_another_app_id_is_another_formation(net: Network) -> None:
    made = await line(net)
    accepting = closing_when_refused(made, made.accept(Formation("other fleet", [KEY])))
    _, refused = await ends(made.dial(FORMATION), accepting)
    assert isinstance(refused, Refused)


async def test_a_stranger_learns_nothing_but_a_nonce(net: Network) -> None:
    """It is refused before a proof is made for it, and what it hears is new each time."""
    heard = []
    dialer, acceptor = await net.endpoint(), await net.endpoint()
    for _ in range(2):
        made = await connect(dialer, acceptor)
        accepting = asyncio.create_task(closing_when_refused(made, made.accept(FORMATION)))
        await made.near.write(bytes([VERSION]) + bytes(32))
        heard.append(await made.near.read_exact(32))
        await made.near.write(b"\x01" + bytes(PROOF))
        with pytest.raises(PeerUnavailable):
            await made.near.read_exact(1)
        with pytest.raises(Refused):
            await accepting
    assert heard[0] != heard[1]


async def test_a_recorded_handshake_is_worth_nothing(net: Network) -> None:
    """All that an honest dialer said is said again, under its own id, by whoever got hold of the bytes."""
    dialer, acceptor = await net.endpoint(), await net.endpoint()
    honest = await connect(dialer, acceptor)
    recorded: list[bytes] = []
    write = honest.near.write

    async def record(data: bytes) -> None:
        recorded.append(bytes(data))
        await write(data)

    honest.near.write = record  # type: ignore[method-assign,assignment]
    assert await ends(honest.dial(FORMATION), honest.accept(FORMATION)) == [None, None]

    again = await connect(dialer, acceptor, first=b"".join(recorded))
    with pytest.raises(Refused):
        await again.accept(FORMATION)


async def test_a_recorded_answer_does_not_fool_the_dialer(net: Network) -> None:
    dialer, acceptor = await net.endpoint(), await net.endpoint()
    honest = await connect(dialer, acceptor)
    recorded: list[bytes] = []
    write = honest.far.write

    async def record(data: bytes) -> None:
        recorded.append(bytes(data))
        await write(data)

    honest.far.write = record  # type: ignore[method-assign,assignment]
    assert await ends(honest.dial(FORMATION), honest.accept(FORMATION)) == [None, None]

    again = await connect(dialer, acceptor)
    await again.far.write(b"".join(recorded))
    with pytest.raises(Refused):
        await again.dial(FORMATION)


async def test_a_dialers_proof_sent_back_proves_nothing(net: Network) -> None:
    """A node without the key is dialled, and answers with what it has just heard."""
    made = await line(net)

    async def reflect() -> None:
        hello = await made.far.read_exact(1 + 32)
        await made.far.write(hello[1:])
        proofs = await made.far.read_exact(1 + PROOF)
        await made.far.write(proofs[1:])

    dialled, _ = await ends(made.dial(FORMATION), reflect())
    assert isinstance(dialled, Refused)


async def test_nobody_in_the_middle_can_pass_a_handshake_on(net: Network) -> None:
    """An attacker sits between two members, under an id of its own, and passes on every byte."""
    one, attacker, other = await net.endpoint(), await net.endpoint(), await net.endpoint()
    left = await connect(one, attacker)
    right = await connect(attacker, other)

    async def pass_on(source: Stream, target: Stream) -> None:
        while data := await source.read(1 << 16):
            await target.write(data)

    passing = [
        asyncio.create_task(ends(pass_on(left.far, right.near))),
        asyncio.create_task(ends(pass_on(right.near, left.far))),
    ]
    dialling = asyncio.create_task(ends(left.dial(FORMATION, seconds=2)))
    with pytest.raises(Refused):
        await right.accept(FORMATION)
    await right.far.reset(1)
    assert isinstance((await dialling)[0], PeerUnavailable)
    for task in passing:
        task.cancel()
    await asyncio.gather(*passing, return_exceptions=True)


async def test_two_handshakes_at_once_cannot_be_crossed(net: Network) -> None:
    """An attacker that two members dial makes each of them answer for the other one."""
    one, attacker, other = await net.endpoint(), await net.endpoint(), await net.endpoint()
    first, second = await connect(one, attacker), await connect(other, attacker)

    async def cross() -> None:
        hellos = [await each.far.read_exact(33) for each in (first, second)]
        await first.far.write(hellos[1][1:])
        await second.far.write(hellos[0][1:])
        proofs = [await each.far.read_exact(1 + PROOF) for each in (first, second)]
        await first.far.write(proofs[1][1:])
        await second.far.write(proofs[0][1:])

    found = await ends(first.dial(FORMATION), second.dial(FORMATION), cross())
    assert isinstance(found[0], Refused)
    assert isinstance(found[1], Refused)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"\x00", RemoteProtocolError),
        (b"\x02" + bytes(32), RemoteProtocolError),
        (b"GET / HTTP/1.1\r\n\r\n", RemoteProtocolError),
        (bytes([VERSION]) + bytes(32) + b"\x00", RemoteProtocolError),
        (bytes([VERSION]) + bytes(32) + b"\x03" + bytes(96), RemoteProtocolError),
        (bytes([VERSION]) + bytes(32) + b"\xff", RemoteProtocolError),
        (bytes([VERSION]) + bytes(32) + b"\x02" + bytes(64), Refused),
        (b"", PeerUnavailable),
        (bytes([VERSION]) + bytes(31), PeerUnavailable),
        (bytes([VERSION]) + bytes(32) + b"\x01" + bytes(31), PeerUnavailable),
    ],
)
async def test_what_is_no_handshake(net: Network, said: bytes, error: type[PeatError]) -> None:
    dialer, acceptor = await net.endpoint(), await net.endpoint()
    made = await connect(dialer, acceptor, first=said)
    await made.near.finish()
    with pytest.raises(error) as caught:
        await made.accept(FORMATION)
    assert type(caught.value) is error or error is PeerUnavailable


async def test_an_unknown_welcome_is_an_error() -> None:
    async with network("memory") as net:
        made = await line(net)
        await made.far.write(b"\x02")
        with pytest.raises(RemoteProtocolError, match="unknown byte"):
            await exchange_welcomes(made.near, made.acceptor)


async def test_silence_ends_at_every_step(net: Network) -> None:
    dialer, acceptor = await net.endpoint(), await net.endpoint()
    for said in (b"", bytes([VERSION]), bytes([VERSION]) + bytes(32)):
        made = await connect(dialer, acceptor, first=said)
        with pytest.raises(PeerUnavailable, match=r"did not finish the handshake within 0\.1 s"):
            await made.accept(FORMATION, seconds=0.1)
    for said in (b"", bytes(32)):
        made = await connect(dialer, acceptor)
        await made.far.write(said) if said else None
        with pytest.raises(PeerUnavailable, match="did not finish the handshake"):
            await made.dial(FORMATION, seconds=0.1)


async def test_bytes_may_come_one_by_one(net: Network) -> None:
    made = await line(net)
    for stream in (made.near, made.far):
        _one_by_one(stream)
    assert await ends(made.dial(FORMATION), made.accept(FORMATION)) == [None, None]


def _one_by_one(stream: Stream) -> None:
    write = stream.write

    async def slowly(data: bytes) -> None:
        for at in range(len(data)):
            await write(data[at : at + 1])
            await asyncio.sleep(0)

    stream.write = slowly  # type: ignore[method-assign,assignment]


async def test_a_close_for_want_of_permission_says_what_it_means(net: Network) -> None:
    dialer, acceptor = await net.endpoint(), await net.endpoint()
    accepting = asyncio.create_task(acceptor.accept())
    near = await dialer.connect(address_of(acceptor), ALPN)
    far = await accepting
    assert far is not None
    stream = await near.open_stream()
    dialling = asyncio.create_task(ends(prove_as_dialer(FORMATION, stream, dialer.id, acceptor.id)))
    kept = await far.accept_stream()
    assert kept is not None
    far.close(1, b"permission")
    (refused,) = await dialling
    assert isinstance(refused, Refused)
    assert "does not take this node for a member" in str(refused)
