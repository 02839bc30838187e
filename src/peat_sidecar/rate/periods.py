"""Days and months of the calendar at a place. Each is named by its first day, so that a change of the clock
by an hour, or of the time zone, begins no new one.
"""

from datetime import date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from peat_sidecar.errors import ConfigError


class Period(StrEnum):
    """After which counting begins anew."""

    DAY = "day"
    MONTH = "month"

    def first(self, day: date) -> date:
        """The first day of the one that a day belongs to."""
        return day if self is Period.DAY else day.replace(day=1)

    def following(self, first: date) -> date:
        """The first day of the next one."""
        return self.first(first + timedelta(days=1 if self is Period.DAY else 31))

    def end(self, first: date, zone: ZoneInfo) -> datetime:
        """The moment at which the next one begins."""
        return datetime.combine(self.following(first), time(0), zone)


def parse_zone(text: str) -> ZoneInfo:
    """`ConfigError` for a name that is none."""
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"{text[:60]!r} is no time zone; one looks like Europe/Oslo, or UTC") from None
