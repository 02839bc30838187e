"""Asks whether a QUIC endpoint answers at an address, with one small datagram and without a connection.

A packet of a version that nobody speaks is answered with the versions that are spoken (RFC 9000, section 6).
Iroh answers the smallest as well: 51 bytes on the wire with their headers, where a dial has 2,456 at once and
9,824 in ten seconds. It comes from a socket of its own, so whoever is behind an address translation that was
opened by the endpoint's own socket is not found by it.
"""

import asyncio
import contextlib
import ipaddress
import itertools
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from peat_sidecar.net import addresses

_UNSPOKEN = bytes([0xC0]) + bytes.fromhex("0a1a2a3a")
"""A long header, and a version that is kept free for this (section 15)."""
_ID_BYTES = 8
MOST_ADDRESSES = 4
"""Of one peer, that are probed at once."""
_ANY = {4: "0.0.0.0", 6: "::"}


class _Answers(asyncio.DatagramProtocol):
    """Knows the answer by the numbers that it must repeat: nobody who does not see the probe has them."""

    def __init__(self, came: asyncio.Event) -> None:
        self._came = came
        to, of = (bytes([_ID_BYTES]) + secrets.token_bytes(_ID_BYTES) for _ in range(2))
        self.packet = _UNSPOKEN + to + of
        self._expected = bytes(4) + of + to

    def datagram_received(self, data: bytes, _: Any) -> None:
        if data[1:].startswith(self._expected):
            self._came.set()


async def answers(found: Iterable[str], bound: Mapping[int, str], seconds: float) -> bool:
    """Whether one of the socket addresses answers within that time; it is waited for that long otherwise.

    `bound` is the address by IP version that probes come from.
    """
    came = asyncio.Event()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds), contextlib.AsyncExitStack() as open_sockets:
            for address in itertools.islice(found, MOST_ADDRESSES):
                host, port = addresses.split(address)
                version = ipaddress.ip_address(host).version
                with contextlib.suppress(OSError):  # this machine has no way there at the moment
                    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
                        lambda: _Answers(came), local_addr=(bound.get(version, _ANY[version]), 0)
                    )
                    open_sockets.callback(transport.close)
                    transport.sendto(protocol.packet, (host, port))
            await came.wait()
    return came.is_set()
