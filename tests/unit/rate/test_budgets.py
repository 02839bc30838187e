"""Budgets, metered parts of the network and amounts, as people write them and as they are said again."""

import ipaddress
from datetime import UTC, datetime

import pytest

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import ConfigError
from peat_sidecar.rate import Limits, Path, Usage, format_size
from peat_sidecar.rate.periods import Period
from peat_sidecar.rate.sizes import parse_size

SHORE = Path(ipaddress.ip_address("10.1.2.3"), "eth0")
SATELLITE = Path(ipaddress.ip_address("fd00::5"), "wwan0")
NOON = datetime(2026, 3, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1 B", 1),
        ("500 MB", 500_000_000),
        ("1.5GiB", 3 << 29),
        ("2 kB", 2000),
        ("1 KiB", 1024),
        ("3TB", 3 * 10**12),
    ],
)
def test_amounts(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "5", "0 MB", "500 Mbit", "-1 MB", "1e3 B", "1 MB a day", "100000 PB", "9" * 30 + " PB"]
)
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(ConfigError, match="looks like 500 MB"):
        parse_size(text)


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (999_600, "1 MB"), (12e9, "12 GB")])
def test_amounts_are_said(size: float, text: str) -> None:
    assert format_size(size) == text


def test_a_budget_in_full() -> None:
    text = "500 MB per day, 10 GB a month, down, 2.5% for critical, zone Europe/Oslo"
    (made,) = Limits.parse({"budget interface  wwan0": text}).budgets.budgets
    assert made.place.name == "interface wwan0"
    assert made.amounts == {Period.DAY: 500_000_000, Period.MONTH: 10**10}
    assert (made.direction, made.reserve, made.zone.key) == ("down", 0.025, "Europe/Oslo")
    assert made.counts(7, 5) == 5


def test_the_zone_is_that_of_the_limits_where_none_is_named() -> None:
    limits = Limits.parse({"time_zone": "Europe/Oslo", "budget any": "1 B a day"})
    assert limits.budgets.budgets[0].zone.key == "Europe/Oslo"


@pytest.mark.parametrize(
    ("place", "holds"),
    [
        ("any", [True, True]),
        ("interface wwan0", [False, True]),
        ("10.0.0.0/8", [True, False]),
        ("fd00::/8", [False, True]),
        ("10.1.2.3", [True, False]),
    ],
)
def test_where_a_rule_holds(place: str, holds: list[bool]) -> None:
    budgets = Limits.parse({f"budget {place}": "1 MB a day", f"metered {place}": "high"}).budgets
    assert [bool(budgets.of(path)) for path in (SHORE, SATELLITE)] == holds
    assert [bool(budgets.why_metered(path, TransferClass.NORMAL)) for path in (SHORE, SATELLITE)] == holds
    assert not budgets.why_metered(SHORE, TransferClass.HIGH)
    assert not any(map(budgets.of, [Path()])) or place == "any"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("budget wwan0", "1 MB a day", "one looks like any, interface wwan0"),
        ("budget 10.0.0.1/8", "1 MB a day", "no part of the network"),
        ("budget interface ", "1 MB a day", "no part of the network"),
        ("budget any", "1 MB a week", "no part of a budget; one looks like 500 MB a day"),
        ("budget any", "down", "names no amount"),
        ("budget any", "many a day", "no amount of bytes"),
        ("budget any", "1 MB a day, zone Mars", "no time zone"),
        ("metered any", "urgent", "no class; there are critical, high"),
        ("approve_above", "much", "limit approve_above: 'much' is no amount"),
    ],
)
def test_what_is_none_says_how_one_looks(name: str, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Limits.parse({name: text})


def test_why_it_stops_and_until_when() -> None:
    limits = Limits.parse({"budget interface wwan0": "500 MB a day, 10% for critical, zone Europe/Oslo"})
    usage, (made,) = Usage(), limits.budgets.budgets
    usage.charge(made, 500_000_000, NOON)
    (left,) = usage.left(made, TransferClass.NORMAL, NOON)
    assert left.why == "the day's 500 MB over wwan0 are used; it goes on at 2026-03-29 00:00 Europe/Oslo"
    assert left.until == datetime(2026, 3, 28, 23, tzinfo=UTC)
    usage = Usage()
    usage.charge(made, 450_000_000, NOON)
    (left,) = usage.left(made, TransferClass.NORMAL, NOON)
    assert left.left == 0
    assert "500 MB over wwan0, but for 50 MB for what is critical, are used" in left.why


@pytest.mark.parametrize(
    "values", [{"any total week": ["2026-01-01", 5]}, {"any total day": 5}, {"any total day": ["soon", 5]}]
)
def test_what_was_kept_and_is_none(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Usage.of_values(values)
