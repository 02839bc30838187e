"""The handshake: both sides of a new mesh connection prove that they have a key of the formation.

    dialer                                   acceptor
    version, nonce (1 + 32 bytes)       ->
                                        <-   nonce (32 bytes)
    count, a proof for each of its keys ->
                                        <-   proof, by the key that both have (32 bytes)
    welcome (1 byte)                    <->  welcome (1 byte)

A proof is an HMAC over side, both endpoint ids and both nonces. The ids are those that QUIC has
authenticated, so what was recorded, relayed or sent back proves nothing on another connection. The dialer
proves first: a stranger who dials learns 32 random bytes. A side says welcome once the other one is admitted
here, so whoever has heard it may dial back on any protocol at once.

Nothing but these bytes is read or said before both are proven; reads ask for exact lengths.
"""

import contextlib
import hmac
import secrets
from asyncio import timeout
from collections.abc import AsyncIterator

from peat_sidecar.errors import PeerUnavailable, Refused, RemoteProtocolError
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh.formation import MAX_KEYS, NONCE_BYTES, PROOF_BYTES, Formation, Side
from peat_sidecar.net import ConnectionClosed, Stream
from peat_sidecar.wire import ErrorCode

VERSION = 1
HANDSHAKE_SECONDS = 10.0
_WELCOME = b"\x01"


async def prove_as_dialer(
    formation: Formation,
    stream: Stream,
    own: EndpointId,
    peer: EndpointId,
    *,
    seconds: float = HANDSHAKE_SECONDS,
) -> None:
    """Returns when both are proven. `Refused` when the two share no key, or the peer does not want this node;
    `RemoteProtocolError` when it says something else; `PeerUnavailable` when it leaves or the time is over.
    """
    async with _bounded(stream, peer, seconds):
        nonce = secrets.token_bytes(NONCE_BYTES)
        await stream.write(bytes([VERSION]) + nonce)
        nonces = nonce, await stream.read_exact(NONCE_BYTES)
        proofs = formation.proofs(Side.DIALER, dialer=own, acceptor=peer, nonces=nonces)
        await stream.write(bytes([len(proofs)]) + b"".join(proofs))
        answer = await stream.read_exact(PROOF_BYTES)
        if not _matches(formation.proofs(Side.ACCEPTOR, dialer=own, acceptor=peer, nonces=nonces), [answer]):
            raise _no_member(peer)


async def prove_as_acceptor(
    formation: Formation,
    stream: Stream,
    own: EndpointId,
    peer: EndpointId,
    *,
    seconds: float = HANDSHAKE_SECONDS,
) -> None:
    """As `prove_as_dialer`, from the other side: proves nothing before the dialer has."""
    async with _bounded(stream, peer, seconds):
        version = (await stream.read_exact(1))[0]
        if version != VERSION:
            raise RemoteProtocolError(
                f"peer {peer.short} speaks version {version} of the mesh and this node {VERSION};"
                " run the same release on both"
            )
        theirs = await stream.read_exact(NONCE_BYTES)
        nonces = theirs, secrets.token_bytes(NONCE_BYTES)
        await stream.write(nonces[1])
        count = (await stream.read_exact(1))[0]
        if not 1 <= count <= MAX_KEYS:
            raise RemoteProtocolError(f"peer {peer.short} wants to prove {count} keys; it may have 1 or 2")
        data = await stream.read_exact(count * PROOF_BYTES)
        given = [data[at : at + PROOF_BYTES] for at in range(0, len(data), PROOF_BYTES)]
        matches = _matches(formation.proofs(Side.DIALER, dialer=peer, acceptor=own, nonces=nonces), given)
        if not matches:
            raise _no_member(peer)
        answers = formation.proofs(Side.ACCEPTOR, dialer=peer, acceptor=own, nonces=nonces)
        await stream.write(answers[matches[0]])


async def exchange_welcomes(stream: Stream, peer: EndpointId, *, seconds: float = HANDSHAKE_SECONDS) -> None:
    """Says that the peer is admitted here, and waits until this node is admitted there. Errors as above."""
    async with _bounded(stream, peer, seconds):
        await stream.write(_WELCOME)
        if await stream.read_exact(1) != _WELCOME:
            raise RemoteProtocolError(f"peer {peer.short} ends the handshake with an unknown byte")


@contextlib.asynccontextmanager
async def _bounded(stream: Stream, peer: EndpointId, seconds: float) -> AsyncIterator[None]:
    """One time for all of it, and a refusal told from a break. The stream's own stall time is put back."""
    stall_seconds, stream.stall_seconds = stream.stall_seconds, None
    try:
        async with timeout(seconds):
            yield
    except TimeoutError:
        raise PeerUnavailable(
            f"peer {peer.short} did not finish the handshake within {seconds:g} s"
        ) from None
    except ConnectionClosed as error:
        if error.code == ErrorCode.PERMISSION:
            raise refused_by(peer) from None
        raise
    finally:
        stream.stall_seconds = stall_seconds


def refused_by(peer: EndpointId) -> Refused:
    """What it means that a peer closes a mesh connection for want of permission."""
    return Refused(
        f"peer {peer.short} does not take this node for a member: app id or formation key differ, it has"
        " banned or disconnected this node, or its roster does not have this node's endpoint id"
    )


def _matches(own: tuple[bytes, ...], given: list[bytes]) -> list[int]:
    """Which of the own proofs were given; takes the same time for every wrong one."""
    found = [[hmac.compare_digest(proof, other) for other in given] for proof in own]
    return [index for index, row in enumerate(found) if any(row)]


def _no_member(peer: EndpointId) -> Refused:
    return Refused(
        f"peer {peer.short} has no key of this formation; compare app_id and the formation key of both nodes"
    )
