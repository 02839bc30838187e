"""Rates and windows as people write them."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from peat_sidecar.errors import ConfigError
from peat_sidecar.rate import Schedule, format_rate, parse_rate

OSLO = ZoneInfo("Europe/Oslo")


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("512 kbit/s", 64000.0),
        ("1kbit/s", 125.0),
        ("2.5 MB/s", 2.5e6),
        ("20Mbps", 2.5e6),
        ("1 Gbit/s", 1.25e8),
        ("unlimited", None),
    ],
)
def test_rates(text: str, rate: float | None) -> None:
    assert parse_rate(text) == rate
    assert parse_rate(format_rate(rate)) == rate


@pytest.mark.parametrize(
    "text", ["", "fast", "512", "-1 kbit/s", "0 kbit/s", "1 bit/s", "1e99 bit/s", "k" * 999]
)
def test_no_rates(text: str) -> None:
    with pytest.raises(ConfigError, match=r"kbit/s"):
        parse_rate(text)


def test_the_night_is_free() -> None:
    schedule = Schedule.parse("22:00-06:00 unlimited, else 512 kbit/s", "Europe/Oslo")
    rates = {hour: schedule.rate_at(datetime(2026, 1, 5, hour, tzinfo=OSLO)) for hour in (5, 6, 21, 22, 23)}
    assert rates == {5: None, 6: 64000.0, 21: 64000.0, 22: None, 23: None}


def test_zones_count() -> None:
    schedule = Schedule.parse("22:00-06:00 unlimited, else 512 kbit/s", "Europe/Oslo")
    assert schedule.rate_at(datetime(2026, 7, 5, 20, 30, tzinfo=ZoneInfo("UTC"))) is None
    assert schedule.rate_at(datetime(2026, 1, 5, 20, 30, tzinfo=ZoneInfo("UTC"))) == 64000.0


def test_days() -> None:
    schedule = Schedule.parse("Fri-Mon 23:00-01:00 1 Mbit/s, 08:00-09:00 unlimited, else 8 kbit/s")
    friday = datetime(2026, 1, 2, tzinfo=ZoneInfo("UTC"))
    assert schedule.rate_at(friday.replace(hour=23)) == 125000
    assert schedule.rate_at(friday + timedelta(days=4, minutes=30)) == 125000, "the end of Monday's"
    assert schedule.rate_at(friday + timedelta(days=4, hours=23)) == 1000, "Tuesday has none"
    assert schedule.rate_at(friday.replace(hour=8)) is None


def test_when_it_changes() -> None:
    schedule = Schedule.parse("22:00-06:00 unlimited, else 512 kbit/s", "Europe/Oslo")
    at = datetime(2026, 1, 5, 12, tzinfo=OSLO)
    first = schedule.next_change(at)
    assert first == at.replace(hour=22)
    assert first is not None
    assert schedule.next_change(first) == at.replace(hour=6) + timedelta(days=1)
    assert Schedule.parse("1 Mbit/s").next_change(at) is None


@pytest.mark.parametrize(
    ("text", "zone", "said"),
    [
        ("22:00-06:00", "UTC", "no rate"),
        ("25:00-06:00 unlimited, else 1 Mbit/s", "UTC", "time of day"),
        ("else 1 Mbit/s, 22:00-06:00 unlimited", "UTC", "last part"),
        ("noon-night unlimited, else 1 Mbit/s", "UTC", "no window"),
        ("Foo 22:00-06:00 unlimited", "UTC", "days"),
        ("1 Mbit/s", "Mars/Base", "time zone"),
        ("1 Mbit/s", "../../etc/passwd", "time zone"),
    ],
)
def test_no_schedules(text: str, zone: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Schedule.parse(text, zone)
