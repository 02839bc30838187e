"""Peer tickets: a peer and where to dial it, in one line of text that other Iroh programs read and write.

`endpoint` and base32 of: 0, endpoint id, how many ways there are to it, and each: 0 and a relay's URL, or
1 and a socket address, or 2 and what only its transport understands. Ours hold socket addresses only; of
others' the rest is passed over, for this program uses no relay.
"""

from peat_sidecar.errors import ConfigError, RemoteProtocolError
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.wire import ticket_parts as parts
from peat_sidecar.wire.postcard import Reader, encode_varint
from peat_sidecar.wire.tickets import Ticket

_PREFIX = "endpoint"
_BLOB_PREFIX = "blob"
_RELAY, _SOCKET, _CUSTOM = range(3)
_SHORTEST_WAY_BYTES = 2
# An id in base32 may begin with the letters of a ticket, but no ticket is so short.
_BASE32_ID_LENGTH = 52


def parse_peer(text: str) -> PeerAddress:
    """From `ID@host:port[,host:port...]`, an id alone, a peer ticket or a blob ticket; `ConfigError` else."""
    plain = text.strip()
    lower = plain[: len(_PREFIX)].lower()
    if "@" in plain or len(plain) == _BASE32_ID_LENGTH:
        return PeerAddress.parse(plain)
    if lower == _PREFIX:
        return _parse_ticket(plain)
    if lower.startswith(_BLOB_PREFIX):
        ticket = Ticket.parse(plain)
        return PeerAddress(ticket.endpoint_id, _diallable(ticket.addresses))
    return PeerAddress.parse(plain)


def peer_ticket(peer: PeerAddress) -> str:
    """The ticket of a peer. Names of hosts cannot stand in it and are left out."""
    known = {parts.parse_address(text) for text in parts.ticket_addresses(peer.addresses)}
    body = b"".join(
        [
            b"\x00" + peer.endpoint_id.value + encode_varint(len(known)),
            *(bytes([_SOCKET]) + parts.encode_address(each) for each in sorted(known, key=parts.order)),
        ]
    )
    return parts.encode_body(_PREFIX, body)


def _parse_ticket(plain: str) -> PeerAddress:
    try:
        reader = Reader(parts.decode_body(plain, _PREFIX))
        if reader.number() != 0:
            raise RemoteProtocolError("it is of a version that this program does not know")
        endpoint_id = EndpointId(reader.take(32))
        ways = [_read_way(reader) for _ in range(reader.count(_SHORTEST_WAY_BYTES))]
    except RemoteProtocolError as error:
        raise ConfigError(
            f"{parts.shortened(plain)!r} is no ticket for a peer ({error}); copy it again as a whole"
        ) from None
    return PeerAddress(endpoint_id, _diallable(tuple(dict.fromkeys(filter(None, ways)))))


def _read_way(reader: Reader) -> str:
    """A socket address; empty for another way."""
    kind = reader.number(_CUSTOM)
    if kind == _SOCKET:
        return parts.show_address(parts.read_address(reader))
    if kind == _RELAY:
        parts.read_relay(reader)
    else:
        reader.number()
        reader.take(reader.number())
    return ""


def _diallable(addresses: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text for text in addresses if not text.endswith(":0"))
