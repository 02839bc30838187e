"""Addresses that peers are told: what may stand there, and which port it gets."""

import pytest

from peat_sidecar.errors import ConfigError
from peat_sidecar.net import IrohEndpoint
from peat_sidecar.net.advertised import Advertised

BOTH = ["0.0.0.0:4433", "[::]:5544"]


@pytest.mark.parametrize(
    ("text", "bound", "told"),
    [
        ("198.51.100.7:30000", BOTH, "198.51.100.7:30000"),
        ("198.51.100.7", BOTH, "198.51.100.7:4433"),
        ("[2001:DB8::7]:1", BOTH, "[2001:db8::7]:1"),
        ("[2001:db8::7]", BOTH, "[2001:db8::7]:5544"),
        ("2001:db8::7", BOTH, "[2001:db8::7]:5544"),
        ("node.example:65535", BOTH, "node.example:65535"),
        ("node.example", BOTH, "node.example:4433"),
        ("node.example", ["[::]:5544"], "node.example:5544"),
        ("198.51.100.7", ["[::]:5544"], "198.51.100.7:5544"),
        ("2001:db8::7", ["10.0.0.1:1"], "[2001:db8::7]:1"),
        ("ship-7", BOTH, "ship-7:4433"),
    ],
)
def test_what_is_told(text: str, bound: list[str], told: str) -> None:
    assert Advertised.parse(text).at(bound) == told


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":4433",
        "198.51.100.7:0",
        "198.51.100.7:65536",
        "198.51.100.7:4433:1",
        "198.51.100.7:" + "9" * 5000,
        "198.51.100.7:٤",
        "198.51.100.700",
        "198.51.100:1",
        "0.0.0.0:4433",
        "[::]:4433",
        "224.0.0.251:1",
        "[ff02::fb]:1",
        "[fe80::1]:4433",
        "fe80::1%eth0",
        "[198.51.100.7]:1",
        "[node]:1",
        "node.example:",
        "node_example:1",
        "node example:1",
        "-node:1",
        "n" * 300,
        "https://node.example:1",
    ],
)
def test_what_nobody_can_dial(text: str) -> None:
    with pytest.raises(ConfigError, match="cannot be advertised") as caught:
        Advertised.parse(text)
    assert len(str(caught.value)) < 300


async def bind(*advertise: str) -> IrohEndpoint:
    return await IrohEndpoint.bind(
        b"a" * 32,
        bind_addresses=("127.0.0.1:0",),
        alpns=[b"/none"],
        advertise=advertise,
        admit=lambda *_: False,
    )


async def test_an_endpoint_tells_what_is_advertised_instead_of_its_own() -> None:
    endpoint = await bind("node.example", "198.51.100.7:30000", "2001:db8::7", "198.51.100.7:30000")
    (own,) = endpoint.interface_addresses()
    port = own.rpartition(":")[2]
    # The other IP version is bound to a loopback of its own, at a port that is nobody's business.
    assert endpoint.addresses() == (
        f"node.example:{port}",
        "198.51.100.7:30000",
        f"[2001:db8::7]:{port}",
    )
    await endpoint.close()
    assert endpoint.addresses() == endpoint.interface_addresses() == ()


async def test_an_endpoint_is_not_bound_with_a_wrong_one() -> None:
    with pytest.raises(ConfigError, match="cannot be advertised"):
        await bind("0.0.0.0:1")
