"""The table of who was heard: what it tells, and that nobody can fill it."""

from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.lan.neighbours import SERVICES_LIMIT, SERVICES_PER_PEER, Neighbours


def peer(number: int, *addresses: str) -> PeerAddress:
    return PeerAddress(EndpointId(number.to_bytes(32, "big")), addresses)


def test_the_services_of_a_peer_are_put_together_the_newest_first() -> None:
    table = Neighbours()
    assert table.take("a", peer(1, "10.0.0.1:1")) == peer(1, "10.0.0.1:1")
    assert table.take("b", peer(1, "[fd00::1]:2")) == peer(1, "[fd00::1]:2", "10.0.0.1:1")
    assert table.take("c", peer(2, "10.0.0.2:1")) == peer(2, "10.0.0.2:1")
    assert len(table) == 2
    table.drop("b")
    table.drop("b")
    assert table.take("a", peer(1, "10.0.0.9:1")) == peer(1, "10.0.0.9:1")
    table.drop("a")
    assert len(table) == 1


def test_a_service_that_says_the_same_again_is_told_again() -> None:
    table = Neighbours()
    for _ in range(2):
        assert table.take("a", peer(1, "10.0.0.1:1")) == peer(1, "10.0.0.1:1")


def test_one_peer_has_few_services_however_many_are_said_in_its_name() -> None:
    table = Neighbours()
    for number in range(5000):
        told = table.take(f"service {number}", peer(1, f"10.0.0.1:{number + 1}"))
        assert told is not None
        assert len(told.addresses) <= SERVICES_PER_PEER
    assert told is not None
    assert told.addresses[0] == "10.0.0.1:5000"
    assert table.take("another", peer(2, "10.0.0.2:1")) is not None


def test_the_table_is_bounded() -> None:
    table = Neighbours()
    told = [
        table.take(f"service {number}", peer(number, "10.0.0.1:1")) for number in range(SERVICES_LIMIT + 50)
    ]
    assert sum(each is not None for each in told) == SERVICES_LIMIT == len(table)
    assert table.take("service 3", peer(3, "10.0.0.1:1")) is not None
    table.drop("service 4")
    assert table.take("late", peer(9999, "10.0.0.1:1")) is not None
    table.clear()
    assert len(table) == 0
