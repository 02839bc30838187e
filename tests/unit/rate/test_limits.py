"""All limits of a node: what is taken, what is refused, what holds when."""

from datetime import UTC, datetime

import pytest

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import EndpointId
from peat_sidecar.rate import Limits

ID = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29"
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def test_nothing_is_limited_by_default() -> None:
    limits = Limits.parse({})
    assert limits.at(NOON).are_none
    assert limits.next_change(NOON) is None
    assert limits.share == 0.02


def test_what_holds_when() -> None:
    limits = Limits.parse(
        {
            "up": "22:00-06:00 unlimited, else 512 kbit/s",
            "total": "1 Mbit/s",
            f"peer {ID.upper()}": "1 kbit/s",
            "class bulk": "13:00-14:00 8 kbit/s",
            "time_zone": "Europe/Oslo",
            "class_share": "0",
        }
    )
    rates = limits.at(NOON)
    assert (rates.up, rates.down, rates.total) == (64000, None, 125000)
    assert rates.peers == {EndpointId.parse(ID): 125}
    assert rates.classes == {TransferClass.BULK: 1000}, "noon in London is one o'clock in Oslo"
    assert limits.at(NOON.replace(hour=23)).up is None
    assert limits.next_change(NOON) == NOON.replace(hour=13)
    assert limits.share == 0
    assert f"peer {ID}" in limits.texts


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("up", "fast", "limit up: 'fast' is no rate"),
        ("sideways", "1 Mbit/s", "cannot be limited"),
        ("class urgent", "1 Mbit/s", "cannot be limited"),
        ("peer me", "1 Mbit/s", "id"),
        ("time_zone", "Mars", "no time zone"),
        ("class_share", "0.9", "from 0 to 0.5"),
        ("class_share", "nan", "from 0 to 0.5"),
        ("up", "1 Mbit/s" + " " * 2000, "shorten"),
    ],
)
def test_what_is_refused(name: str, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Limits.parse({name: text})


def test_there_is_an_end_to_how_many() -> None:
    with pytest.raises(ConfigError, match="more than 1000"):
        Limits.parse({f"peer {number:064x}": "1 Mbit/s" for number in range(1001)})


def test_what_is_left_of_the_way_in_for_a_class() -> None:
    assert Limits.parse({"up": "8 kbit/s"}).at(NOON).of_fetch(TransferClass.NORMAL) is None
    rates = Limits.parse({"down": "2 Mbit/s", "total": "1 Mbit/s", "class bulk": "8 kbit/s"}).at(NOON)
    assert rates.of_fetch(TransferClass.NORMAL) == 125_000
    assert rates.of_fetch(TransferClass.BULK) == 1000
