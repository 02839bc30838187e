"""Peers as people name them, and peer tickets, byte for byte as the official bindings write them."""

import base64

import pytest
from iroh import iroh_ffi

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import BlobHash, EndpointId, PeerAddress
from peat_sidecar.wire import Ticket, parse_peer, peer_ticket, ticket_addresses

# An ed25519 public key: the bindings take no other bytes for an id.
ID = EndpointId.parse("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")
HEAD = b"\x00" + ID.value
ADDRESSES = [
    (),
    ("127.0.0.1:4600",),
    ("9.0.0.1:70", "10.0.0.1:1"),
    ("192.0.2.7:65535", "[2001:db8::7]:443"),
    ("[::1]:5",),
]


def text_of(body: bytes) -> str:
    return "endpoint" + base64.b32encode(body).decode().rstrip("=").lower()


def their_ticket(addresses: tuple[str, ...], relay: str | None = None) -> str:
    key = iroh_ffi.EndpointId.from_bytes(ID.value)
    return str(iroh_ffi.EndpointTicket.from_addr(iroh_ffi.EndpointAddr(key, relay, list(addresses))))


@pytest.mark.parametrize("addresses", ADDRESSES)
def test_the_bindings_write_the_same(addresses: tuple[str, ...]) -> None:
    peer = PeerAddress(ID, addresses)
    text = peer_ticket(peer)
    assert text == their_ticket(addresses)
    assert parse_peer(text) == peer
    assert parse_peer(f" {text.upper()}\n") == peer
    read = iroh_ffi.EndpointTicket.from_string(text).endpoint_addr()
    assert sorted(read.direct_addresses()) == sorted(addresses)
    assert read.id().to_bytes() == ID.value


def test_a_relay_is_passed_over() -> None:
    text = their_ticket(("10.0.0.1:1", "[2001:db8::7]:443"), "https://relay.example/")
    assert parse_peer(text) == PeerAddress(ID, ("10.0.0.1:1", "[2001:db8::7]:443"))


def test_another_transport_is_passed_over() -> None:
    custom = b"\x02\x8b\x01\x03abc"
    body = HEAD + b"\x02" + custom + bytes.fromhex("01007f000001f823")
    assert parse_peer(text_of(body)) == PeerAddress(ID, ("127.0.0.1:4600",))
    theirs = iroh_ffi.EndpointTicket.from_string(text_of(body)).endpoint_addr()
    assert theirs.direct_addresses() == ["127.0.0.1:4600"]


def test_order_and_repetition_do_not_matter() -> None:
    given = ("[::1]:5", "10.0.0.2:1", "10.0.0.2:1", "[0::1]:5", "9.0.0.1:70")
    assert peer_ticket(PeerAddress(ID, given)) == their_ticket(given)


def test_names_of_hosts_do_not_stand_in_tickets() -> None:
    addresses = ("node.example:4433", "192.0.2.7:1", "[2001:db8::7]:2", "nonsense")
    assert ticket_addresses(addresses) == ("192.0.2.7:1", "[2001:db8::7]:2")
    assert peer_ticket(PeerAddress(ID, addresses)) == their_ticket(addresses[1:3])


def test_peers_in_other_words() -> None:
    blob = BlobHash(bytes(range(100, 132)))
    in_base32 = base64.b32encode(ID.value).decode().rstrip("=").lower()
    assert parse_peer(f"{ID}@node.example:1,[::1]:2") == PeerAddress(ID, ("node.example:1", "[::1]:2"))
    assert parse_peer(str(ID)) == PeerAddress(ID)
    assert parse_peer(in_base32) == PeerAddress(ID)
    ticket = Ticket(ID, ("192.0.2.7:4433", "192.0.2.8:0"), blob, True)
    assert parse_peer(str(ticket)) == PeerAddress(ID, ("192.0.2.7:4433",))


@pytest.mark.parametrize("word", ["blob", "endpoint"])
def test_an_id_in_base32_may_begin_like_a_ticket(word: str) -> None:
    text = word + "a" * (52 - len(word))
    assert parse_peer(text).endpoint_id == EndpointId.parse(text)


def test_a_port_of_nought_is_no_way_to_a_peer() -> None:
    assert parse_peer(their_ticket(("192.0.2.7:0", "192.0.2.7:1"))) == PeerAddress(ID, ("192.0.2.7:1",))


@pytest.mark.parametrize("addresses", ADDRESSES)
def test_cut_at_every_length(addresses: tuple[str, ...]) -> None:
    text = their_ticket(addresses)
    for length in range(len(text)):
        if length == 52:  # an id in base32, as far as anybody can tell
            continue
        with pytest.raises(ConfigError):
            parse_peer(text[:length])
    body = base64.b32decode(text[8:].upper() + "=" * (-len(text[8:]) % 8))
    for length in range(len(body)):
        if length == 27:  # whose text is as long as an id
            continue
        with pytest.raises(ConfigError, match=r"no ticket for a peer.*copy it again"):
            parse_peer(text_of(body[:length]))


@pytest.mark.parametrize(
    "body",
    [
        b"\x01" + ID.value + b"\x00",
        HEAD + b"\x01\x03\x00",
        HEAD + b"\x01\x01\x02" + bytes(6),
        HEAD + b"\x01\x01\x00" + bytes(4) + b"\xff\xff\x04",
        HEAD + b"\xff\xff\xff\xff\x0f" + bytes(60),
        HEAD + b"\x01\x00\x02\xff\xff",
        HEAD + b"\x01\x00\x02\x1b[",
        HEAD + b"\x01\x00\xb8\x17" + b"r" * 3000,
        HEAD + b"\x01\x02\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ],
)
def test_what_is_no_ticket(body: bytes) -> None:
    with pytest.raises(ConfigError, match="no ticket for a peer"):
        parse_peer(text_of(body))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "endpoint",
        "endpoint!",
        "endpointé",
        "endpoint" + "=" * 8,
        "endpoint" + "a" * 20000,
        "blob",
        "x@",
        "@",
    ],
)
def test_other_texts(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_peer(text)
    assert len(str(caught.value)) < 300
