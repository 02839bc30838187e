"""Hybrid logical clocks."""

import pytest
from tests.support.signed_records import DAY, NOW

from peat_sidecar.records.bounds import NUMBER_LIMIT
from peat_sidecar.records.clock import HybridClock, clock_at, horizon_at


def test_rises_whatever_the_wall_clock_does() -> None:
    clock = HybridClock()
    times = [NOW, NOW, NOW + 0.0001, NOW - 3600, NOW + 1, NOW + 0.5, NOW + 2]
    given = [clock.next(now) for now in times]
    assert given == sorted(set(given))
    assert given[0] == clock_at(NOW)
    assert given[-1] == clock_at(NOW + 2)


def test_is_later_than_what_was_seen() -> None:
    clock = HybridClock(clock_at(NOW + 60))
    assert clock.next(NOW) == clock_at(NOW + 60) + 1
    clock.saw(clock_at(NOW + 90))
    clock.saw(clock_at(NOW))
    assert clock.next(NOW) == clock_at(NOW + 90) + 1


def test_forgets_what_is_more_than_a_day_ahead() -> None:
    assert HybridClock(horizon_at(NOW)).next(NOW) == horizon_at(NOW) + 1
    assert HybridClock(horizon_at(NOW) + 1).next(NOW) == clock_at(NOW)
    assert HybridClock(horizon_at(NOW) + 1).next(NOW, behind=True) == horizon_at(NOW) + 2


@pytest.mark.parametrize("now", [-5.0, 0.0, NOW, 1e300])
def test_stays_within_its_bounds(now: float) -> None:
    for _ in range(3):
        assert 0 <= HybridClock(NUMBER_LIMIT).next(now, behind=True) <= NUMBER_LIMIT
        assert 0 <= clock_at(now) <= horizon_at(now) <= NUMBER_LIMIT


def test_a_day() -> None:
    assert horizon_at(NOW) == clock_at(NOW + DAY)
