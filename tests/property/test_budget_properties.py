"""Budgets as arithmetic: periods of any place and time, what is used of them, and clocks that jump."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from peat_sidecar.classes import TransferClass
from peat_sidecar.rate import Budget, Limits, Usage
from peat_sidecar.rate.periods import Period

ZONES = ("UTC", "Europe/Oslo", "America/New_York", "Asia/Kathmandu", "Asia/Beirut", "America/Asuncion")
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2036, 1, 1), timezones=st.just(UTC))
SECOND = timedelta(seconds=1)


def budget(text: str) -> Budget:
    (made,) = Limits.parse({"budget any": text}).budgets.budgets
    return made


def used(usage: Usage, of: Budget, now: datetime) -> list[int]:
    return [each.used for each in usage.left(of, TransferClass.CRITICAL, now)]


@given(MOMENTS, st.sampled_from(ZONES), st.sampled_from(Period))
def test_a_period_ends_where_the_next_one_begins(now: datetime, name: str, period: Period) -> None:
    zone = ZoneInfo(name)
    first = period.first(now.astimezone(zone).date())
    end = period.end(first, zone).astimezone(UTC)
    assert now < end <= now + timedelta(days=31, hours=25)
    assert period.first(end.astimezone(zone).date()) == period.following(first) > first
    assert period.first((end - SECOND).astimezone(zone).date()) == first


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 40 * 86400))), st.sampled_from(ZONES))
def test_what_is_used_is_what_went_since_the_period_began(steps: list[tuple[int, int]], name: str) -> None:
    of = budget(f"5 MB a day, 1 GB a month, zone {name}")
    usage, now, zone = Usage(), datetime(2026, 2, 27, 12, tzinfo=UTC), ZoneInfo(name)
    went: list[tuple[datetime, int]] = []
    for size, pause in steps:
        now += timedelta(seconds=pause)
        usage.charge(of, size, now)
        went.append((now.astimezone(zone), size))
    local = now.astimezone(zone)
    day = sum(size for at, size in went if at.date() == local.date())
    month = sum(size for at, size in went if (at.year, at.month) == (local.year, local.month))
    assert used(usage, of, now) == [day, month]
    for each, count in zip(usage.left(of, TransferClass.NORMAL, now), (day, month), strict=True):
        assert each.left == max(0, of.amounts[each.period] - count)
        assert each.until > now


@given(MOMENTS, st.lists(st.integers(0, 86400 * 400), max_size=5), st.integers(1, 10**12))
def test_a_clock_that_jumps_back_resets_nothing(now: datetime, jumps: list[int], size: int) -> None:
    of, usage = budget("1 MB a day, 1 MB a month"), Usage()
    usage.charge(of, size, now)
    for back in jumps:
        earlier = now - timedelta(seconds=back)
        assert used(usage, of, earlier) == [size, size]
        assert all(each.until > earlier for each in usage.left(of, TransferClass.LOW, earlier))


@given(MOMENTS, st.integers(1, 10**12))
def test_a_budget_that_is_taken_away_is_forgotten_and_others_are_not(now: datetime, size: int) -> None:
    one, other, usage = budget("1 MB a day"), budget("1 MB a day, up"), Usage()
    usage.charge(one, size, now)
    usage.charge(other, size, now)
    usage.keep([other])
    assert used(usage, one, now) == [0]
    assert used(usage, other, now) == [size]


@given(MOMENTS, st.lists(st.integers(0, 10**15), max_size=3), st.sampled_from(("up", "down", "total")))
def test_what_is_kept_is_read_again(now: datetime, sizes: list[int], direction: str) -> None:
    of, usage = budget(f"1 GB a month, {direction}"), Usage()
    for size in sizes:
        usage.charge(of, size, now)
    assert used(Usage.of_values(usage.as_values()), of, now) == [sum(sizes)]


@given(st.integers(0, 10**6), st.integers(0, 99))
def test_a_reserve_is_for_what_is_critical(size: int, percent: int) -> None:
    of, usage, now = budget(f"1 MB a day, {percent}% for critical"), Usage(), datetime(2026, 1, 1, tzinfo=UTC)
    usage.charge(of, size, now)
    (critical,) = usage.left(of, TransferClass.CRITICAL, now)
    (high,) = usage.left(of, TransferClass.HIGH, now)
    assert critical.left == 10**6 - size
    assert abs(high.left - max(0, critical.left - percent * 10**4)) <= 1
