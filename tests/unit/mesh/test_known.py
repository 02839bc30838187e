"""The table itself: where addresses come from, which go first, and that it is bounded."""

import pytest

from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.mesh import known
from peat_sidecar.mesh.known import KnownPeers

A, B, C = (EndpointId(bytes([n]) * 32) for n in (1, 2, 3))


def at(peer: EndpointId, *addresses: str) -> PeerAddress:
    return PeerAddress(peer, addresses)


def test_a_word_of_one_kind_does_not_push_out_another() -> None:
    table = KnownPeers()
    assert table.learn(at(A, "10.0.0.1:1"), "inbound", 0)
    assert table.learn(at(A, "10.0.0.2:1"), "mdns", 0)
    row = table.name(at(A, "10.0.0.3:1"), "named")
    assert row.addresses == ("10.0.0.3:1", "10.0.0.2:1", "10.0.0.1:1")
    assert row.source == "named"
    table.name(at(A), "named")
    assert row.addresses[0] == "10.0.0.3:1"
    table.name(at(A, "10.0.0.4:1"), "named")
    assert row.addresses == ("10.0.0.4:1", "10.0.0.2:1", "10.0.0.1:1")
    assert len(table) == 1


def test_only_a_new_address_is_news() -> None:
    table = KnownPeers()
    table.name(at(A, "10.0.0.1:1"), "named")
    assert not table.learn(at(A, "10.0.0.1:1"), "dns", 0)
    assert table.learn(at(A, "10.0.0.1:1", "10.0.0.2:1"), "dns", 0)
    assert not table.learn(at(A, "10.0.0.2:1"), "dns", 0)


def test_addresses_of_one_kind_are_bounded_and_the_newest_stay() -> None:
    table = KnownPeers()
    for number in range(100):
        table.learn(at(A, f"10.0.0.{number}:1"), "inbound", 0)
    (row,) = table
    assert len(row.addresses) == known.MAX_ADDRESSES
    assert row.addresses[0] == "10.0.0.99:1"


def test_a_name_has_room_for_the_addresses_of_many_peers() -> None:
    """Any of which may be this one; that they are there does not say that it is."""
    table = KnownPeers()
    table.learn(at(A, "10.0.0.1:1"), "inbound", 1)
    table.learn(at(A, *(f"10.1.0.{number}:1" for number in range(100))), "dns", 5)
    (row,) = table
    assert len(row.found["dns"]) == known.MAX_DNS_ADDRESSES
    assert row.heard_at == 1
    table.learn(at(B, "10.0.0.1:1"), "dns", 5)
    assert [row.heard_at for row in table] == [1, 5]


def test_the_table_is_bounded_but_for_those_that_people_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "MAX_PEERS", 2)
    table = KnownPeers()
    table.name(at(A), "allowed")
    table.learn(at(B, "10.0.0.1:1"), "record", 0)
    assert table.is_full
    assert not table.learn(at(C, "10.0.0.1:1"), "record", 0)
    assert C not in table
    assert list(table.forgettable()) == [B]
    table.name(at(C, "10.0.0.1:1"), "named")
    assert C in table
    table.drop(B)
    table.drop(B)
    assert list(table.forgettable()) == []


def test_a_mistake_is_taken_back() -> None:
    table = KnownPeers()
    before = dict(table.name(at(A, "10.0.0.1:1"), "named").found)
    table.name(at(A, "10.0.0.2:1"), "named")
    table.put_back(A, before)
    assert [row.addresses for row in table] == [("10.0.0.1:1",)]
    table.put_back(A, None)
    assert A not in table
