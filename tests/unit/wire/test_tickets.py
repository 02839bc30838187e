"""Tickets: every part, and what people make of them by copying half."""

import base64

import pytest

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import BlobHash, EndpointId
from peat_sidecar.wire import Ticket

ID, HASH = EndpointId(bytes(range(32))), BlobHash(bytes(range(100, 132)))
HEAD = b"\x00" + ID.value
TICKETS = [
    (Ticket(ID, (), HASH, False), HEAD + b"\x00\x00\x00" + HASH.value),
    (
        Ticket(ID, ("127.0.0.1:4600",), HASH, True),
        HEAD + bytes.fromhex("00 01 007f000001f823 01") + HASH.value,
    ),
    (
        Ticket(ID, ("[2001:db8::7]:443", "10.0.0.1:1"), HASH, True),
        HEAD + bytes.fromhex("00 02 000a00000101 0120010db8000000000000000000000007bb03 01") + HASH.value,
    ),
    (
        Ticket(ID, (), HASH, False, "https://relay.example/"),
        HEAD + b"\x01\x16https://relay.example/\x00\x00" + HASH.value,
    ),
]


def text_of(body: bytes) -> str:
    return "blob" + base64.b32encode(body).decode().rstrip("=").lower()


@pytest.mark.parametrize(("ticket", "body"), TICKETS)
def test_there_and_back(ticket: Ticket, body: bytes) -> None:
    text = text_of(body)
    assert str(ticket) == text
    assert Ticket.parse(text) == ticket
    assert Ticket.parse(f"  {text.upper()}\n") == ticket
    assert Ticket.parse(text_of(body + b"more")) == ticket


@pytest.mark.parametrize(("ticket", "body"), TICKETS)
def test_cut_at_every_length(ticket: Ticket, body: bytes) -> None:
    text = str(ticket)
    for length in range(len(text)):
        with pytest.raises(ConfigError, match="copy it again"):
            Ticket.parse(text[:length])
    for length in range(len(body)):
        with pytest.raises(ConfigError, match="copy it again"):
            Ticket.parse(text_of(body[:length]))


def test_addresses_are_a_sorted_set() -> None:
    given = ("[::1]:5", "10.0.0.2:1", "9.0.0.1:70", "10.0.0.2:1", "9.0.0.1:7", "[0::1]:5")
    ticket = Ticket(ID, given, HASH, False)
    assert ticket.addresses == ("9.0.0.1:7", "9.0.0.1:70", "10.0.0.2:1", "[::1]:5")
    assert Ticket.parse(str(ticket)) == ticket


@pytest.mark.parametrize(
    "address",
    [
        "",
        "node.example:1",
        "1.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:65536",
        "1.2.3.4:-1",
        "1.2.3.4:1٢",
        "::1:5",
        "[::1%eth0]:5",
        "[1.2.3.4]:5",
    ],
)
def test_addresses_that_do_not_stand_in_a_ticket(address: str) -> None:
    with pytest.raises(ConfigError, match="192"):
        Ticket(ID, (address,), HASH, False)


@pytest.mark.parametrize(
    "body",
    [
        b"\x01" + ID.value + b"\x00\x00\x00" + HASH.value,
        HEAD + b"\x02\x00\x00" + HASH.value,
        HEAD + b"\x00\x00\x02" + HASH.value,
        HEAD + b"\x00\x01\x02" + bytes(6) + b"\x00" + HASH.value,
        HEAD + b"\x00\x01\x00" + bytes(4) + b"\xff\xff\x04\x00" + HASH.value,
        HEAD + b"\x00\xff\xff\xff\xff\x0f" + bytes(60),
        HEAD + b"\x01\x02\xff\xff\x00\x00" + HASH.value,
        HEAD + b"\x01\x02\x1b[\x00\x00" + HASH.value,
        HEAD + b"\x01\xb8\x17" + b"r" * 3000 + b"\x00\x00" + HASH.value,
    ],
)
def test_what_is_no_ticket(body: bytes) -> None:
    with pytest.raises(ConfigError, match="no ticket"):
        Ticket.parse(text_of(body))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "blob",
        "hello",
        "blob!",
        "blob1",
        "blobé",
        "node" + "a" * 60,
        "blob" + "=" * 8,
        "blob" + "a" * 20000,
    ],
)
def test_other_texts(text: str) -> None:
    with pytest.raises(ConfigError, match="no ticket") as caught:
        Ticket.parse(text)
    assert len(str(caught.value)) < 300


def test_a_wrong_last_letter() -> None:
    text = str(TICKETS[0][0])
    accepted = []
    for letter in "abcdefghijklmnopqrstuvwxyz234567":
        try:
            accepted.append(Ticket.parse(text[:-1] + letter))
        except ConfigError:
            continue
    assert len(accepted) == 16
    assert len(set(accepted)) == len(accepted)
