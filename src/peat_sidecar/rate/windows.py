"""Rates that depend on the time of day: `22:00-06:00 unlimited, else 512 kbit/s`."""

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Self
from zoneinfo import ZoneInfo

from peat_sidecar.errors import ConfigError
from peat_sidecar.rate.periods import parse_zone
from peat_sidecar.rate.rates import format_rate, parse_rate

_WINDOW = re.compile(r"(?:(\w{3}(?:-\w{3})?) +)?(\d\d?:\d\d)-(\d\d?:\d\d) +(.+)")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LOOK_AHEAD = timedelta(days=8)


@dataclass(frozen=True, slots=True)
class _Window:
    days: frozenset[int]
    """0 is Monday: the day on which the window begins."""
    begin: time
    end: time
    """Not later than `begin`: on the day after."""
    rate: float | None

    def holds(self, at: datetime) -> bool:
        clock = at.time()
        today = at.weekday() in self.days
        if self.begin < self.end:
            return today and self.begin <= clock < self.end
        yesterday = (at.weekday() - 1) % 7 in self.days
        return (today and clock >= self.begin) or (yesterday and clock < self.end)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A rate for any moment. The first window that holds decides, then `else`."""

    text: str
    zone: ZoneInfo
    _windows: tuple[_Window, ...]
    _otherwise: float | None

    @classmethod
    def parse(cls, text: str, zone: str = "UTC") -> Self:
        """A rate, or windows with commas between them and `else` at the end; days as `Mon-Fri 08:00-17:00`.

        `ConfigError` for a zone or a text that is none.
        """
        place = parse_zone(zone)
        windows: list[_Window] = []
        otherwise: float | None = None
        parts = [part.strip() for part in text.split(",")]
        for number, part in enumerate(parts):
            rest = part.removeprefix("else").strip()
            if part.startswith("else") or (len(parts) == 1 and _WINDOW.fullmatch(part) is None):
                if number != len(parts) - 1:
                    raise ConfigError(f"{text[:80]!r} goes on behind its else; that is the last part")
                otherwise = parse_rate(rest)
            else:
                windows.append(_parse_window(part))
        return cls(text, place, tuple(windows), otherwise)

    def __str__(self) -> str:
        return self.text or format_rate(self._otherwise)

    def rate_at(self, at: datetime) -> float | None:
        """Bytes per second at a moment; a moment without a zone is refused."""
        local = _local(at, self.zone)
        return next((window.rate for window in self._windows if window.holds(local)), self._otherwise)

    @property
    def has_windows(self) -> bool:
        """Whether it is not the same rate always."""
        return bool(self._windows)

    def next_change(self, at: datetime) -> datetime | None:
        """The next moment at which another rate may hold; None when it never does."""
        if not self.has_windows:
            return None
        local = _local(at, self.zone)
        edges = {edge for window in self._windows for edge in (window.begin, window.end)}
        moments = (
            datetime.combine(local.date() + timedelta(days=day), edge, self.zone)
            for day in range(_LOOK_AHEAD.days)
            for edge in edges
        )
        return min((moment for moment in moments if moment > local), default=None)


def _local(at: datetime, zone: ZoneInfo) -> datetime:
    if at.tzinfo is None:
        raise ConfigError("a moment needs its time zone")
    return at.astimezone(zone)


def _parse_window(part: str) -> _Window:
    found = _WINDOW.fullmatch(part)
    if found is None:
        raise ConfigError(
            f"{part[:80]!r} is no window; one looks like 22:00-06:00 unlimited,"
            " or Mon-Fri 08:00-17:00 1 Mbit/s"
        )
    days = _parse_days(found[1]) if found[1] else frozenset(range(7))
    begin, end = _parse_time(found[2]), _parse_time(found[3])
    return _Window(days, begin, end, parse_rate(found[4]))


def _parse_days(text: str) -> frozenset[int]:
    first, _, last = text.lower().partition("-")
    if first not in _DAYS or (last and last not in _DAYS):
        raise ConfigError(f"{text[:20]!r} are no days; they look like Mon or Mon-Fri")
    start = _DAYS.index(first)
    length = (_DAYS.index(last) - start) % 7 + 1 if last else 1
    return frozenset((start + day) % 7 for day in range(length))


def _parse_time(text: str) -> time:
    hour, _, minute = text.partition(":")
    if text == "24:00":
        return time(0)
    if int(hour) > 23 or int(minute) > 59:
        raise ConfigError(f"{text!r} is no time of day; one looks like 06:30")
    return time(int(hour), int(minute))
