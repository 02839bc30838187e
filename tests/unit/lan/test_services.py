"""What a node announces, and what is made of what others announce."""

import base64
from typing import Any

import pytest
from zeroconf.asyncio import AsyncServiceInfo

from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.lan.services import (
    SERVICE_TYPE,
    Announcement,
    is_reachable,
    multicast_addresses,
    parse_service,
    services_of,
)

ID = EndpointId(bytes(range(32)))
TAG = bytes(range(100, 116))
GOOD = {"id": str(ID), "tag": TAG.hex()}


def service(properties: Any = GOOD, port: int | None = 4433, hosts: tuple[str, ...] = ("192.0.2.7",)) -> Any:
    return AsyncServiceInfo(
        SERVICE_TYPE, f"one.{SERVICE_TYPE}", port=port, properties=properties, parsed_addresses=list(hosts)
    )


def test_what_is_announced_is_understood() -> None:
    own = PeerAddress(
        ID,
        (
            "192.0.2.7:4433",
            "[2001:db8::7]:4434",
            "198.51.100.1:4433",
            "127.0.0.1:1",
            "[fe80::1]:4434",
            "host.example:1",
        ),
    )
    four, six = services_of(own, TAG)
    assert four.name != six.name
    assert four.server != six.server
    assert parse_service(four) == Announcement(ID, TAG, ("192.0.2.7:4433", "198.51.100.1:4433"))
    assert parse_service(six) == Announcement(ID, TAG, ("[2001:db8::7]:4434",))
    assert multicast_addresses(own) == ["192.0.2.7", "2001:db8::7", "198.51.100.1"]


def test_one_port_for_both_versions_is_one_service() -> None:
    (both,) = services_of(PeerAddress(ID, ("192.0.2.7:4433", "[2001:db8::7]:4433")), TAG)
    said = parse_service(both)
    assert said is not None
    assert set(said.addresses) == {"192.0.2.7:4433", "[2001:db8::7]:4433"}


def test_a_node_on_loopback_announces_nothing() -> None:
    own = PeerAddress(ID, ("127.0.0.1:4433", "[::1]:4433"))
    assert services_of(own, TAG) == []
    assert multicast_addresses(own) == []


def test_what_is_announced_is_bounded() -> None:
    own = PeerAddress(
        ID, tuple(f"10.0.{port}.{host}:{port}" for port in range(1, 60) for host in range(1, 60))
    )
    services = services_of(own, TAG)
    assert len(services) == 4
    assert all(len(each.parsed_addresses()) == 16 for each in services)


def test_the_name_holds_the_whole_id_and_fits_a_label() -> None:
    (made,) = services_of(PeerAddress(ID, ("192.0.2.7:65535",)), TAG)
    label = made.get_name()
    assert label.startswith(base64.b32encode(ID.value).decode().rstrip("=").lower())
    assert len(label) <= 63


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"id": GOOD["id"]},
        {"tag": GOOD["tag"]},
        {"id": None, "tag": None},
        {"id": "", "tag": ""},
        {"id": GOOD["id"][:-1], "tag": GOOD["tag"]},
        {"id": GOOD["id"] + "00", "tag": GOOD["tag"]},
        {"id": "g" * 64, "tag": GOOD["tag"]},
        {"id": " " * 64, "tag": GOOD["tag"]},
        {"id": b"\xff" * 64, "tag": GOOD["tag"]},
        {"id": GOOD["id"], "tag": GOOD["tag"] * 2},
        {"id": GOOD["id"], "tag": "+" + GOOD["tag"][1:]},
        b"",
        b"\x00",
        b"\xff",
        b"\xffid=",
        b"\x04id=\xff\x01",
        b"=" * 255,
    ],
)
def test_what_no_node_says(properties: Any) -> None:
    assert parse_service(service(properties)) is None


@pytest.mark.parametrize("port", [0, None])
def test_a_service_without_a_port(port: int | None) -> None:
    assert parse_service(service(port=port)) is None


def test_addresses_that_cannot_be_dialled_are_passed_over() -> None:
    useless = ("127.0.0.1", "0.0.0.0", "224.0.0.251", "::1", "::", "fe80::1", "ff02::fb")
    assert parse_service(service(hosts=useless)) is None
    said = parse_service(service(hosts=(*useless, "169.254.1.1")))
    assert said is not None
    assert said.addresses == ("169.254.1.1:4433",)


def test_a_flood_of_addresses_is_cut() -> None:
    said = parse_service(service(hosts=tuple(f"10.0.0.{number}" for number in range(200))))
    assert said is not None
    assert len(said.addresses) == 16


def test_a_name_is_no_address() -> None:
    assert not is_reachable("host.example")
    assert is_reachable("10.0.0.1")
