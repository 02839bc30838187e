"""Socket addresses: what may be bound, and where a bound socket is reached."""

import socket
from pathlib import Path

import pytest

from peat_sidecar.errors import ConfigError, PeerUnavailable
from peat_sidecar.net import addresses


@pytest.mark.parametrize(
    ("asked", "plan"),
    [
        (("0.0.0.0:4433",), {4: "0.0.0.0:4433"}),
        (("127.0.0.1:0", "[::1]:0"), {4: "127.0.0.1:0", 6: "[::1]:0"}),
        (("[::]:65535",), {6: "[::]:65535"}),
    ],
)
def test_plan(asked: tuple[str, ...], plan: dict[int, str]) -> None:
    assert addresses.bind_plan(asked) == plan


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ((), "no address to listen on"),
        (("127.0.0.1",), "is no socket address"),
        ((":4433",), "is no socket address"),
        (("127.0.0.1:65536",), "is no socket address"),
        (("127.0.0.1:4-",), "is no socket address"),
        (("localhost:4433",), "name an IP address"),
        (("127.0.0.1:1", "127.0.0.2:2"), "one IPv4 address only"),
    ],
)
def test_plan_refuses(asked: tuple[str, ...], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        addresses.bind_plan(asked)


def test_reachable_leaves_out_what_was_not_asked_for() -> None:
    bound = ["127.0.0.1:5000", "[::1]:6000"]
    assert addresses.reachable(bound, {4: "127.0.0.1:0"}, bound) == ("127.0.0.1:5000",)
    assert addresses.reachable(bound, {4: "x", 6: "x"}, []) == ("127.0.0.1:5000", "[::1]:6000")


def test_reachable_at_a_wildcard_is_every_interface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "if_inet6"
    table.write_text(
        "20010db8000000000000000000000007 02 40 00 80 eth0\n"
        "fe80000000000000000000000000000a 02 40 20 80 eth0\n"
        "00000000000000000000000000000001 01 80 10 80 lo\n"
    )
    monkeypatch.setattr(addresses, "_INTERFACES_6", table)
    bound = ["0.0.0.0:5000", "[::]:6000"]
    known = ["192.0.2.7:5000", "198.51.100.1:5000"]
    assert addresses.reachable(bound, {4: "x", 6: "x"}, known) == (
        "192.0.2.7:5000",
        "198.51.100.1:5000",
        "[2001:db8::7]:6000",
    )
    monkeypatch.setattr(addresses, "_INTERFACES_6", tmp_path / "absent")
    assert addresses.reachable(bound, {4: "x", 6: "x"}, []) == ("127.0.0.1:5000", "[::1]:6000")


def test_reason_of_a_failed_bind() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        taken = f"127.0.0.1:{holder.getsockname()[1]}"
        assert "Address already in use; choose another" in addresses.why_not_bound({4: taken})
    assert "cannot listen on 127.0.0.1:0" in addresses.why_not_bound({4: "127.0.0.1:0"})


async def test_resolve_keeps_addresses_and_looks_names_up() -> None:
    assert await addresses.resolve(("192.0.2.7:1", "[2001:DB8::1]:2")) == ["192.0.2.7:1", "[2001:db8::1]:2"]
    assert "127.0.0.1:9" in await addresses.resolve(("localhost:9",))


async def test_resolve_says_which_name_is_unknown() -> None:
    with pytest.raises(PeerUnavailable, match=r"nowhere\.invalid"):
        await addresses.resolve(("nowhere.invalid:9",))
    assert await addresses.resolve(("nowhere.invalid:9", "192.0.2.7:1")) == ["192.0.2.7:1"]
