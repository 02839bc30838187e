"""What has been used of budgets, by day and month. No clock: the moment is a parameter.

A period that was begun is never left for an earlier one: a machine without a battery begins in 1970 at each
start, and would forget what was used when it learns the time. After a clock that was far ahead, taking the
budget away and setting it again begins anew.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Self

from peat_sidecar.classes import TransferClass
from peat_sidecar.rate.budgets import Budget
from peat_sidecar.rate.periods import Period
from peat_sidecar.rate.sizes import format_size


@dataclass(slots=True)
class _Count:
    first: date
    used: int = 0


@dataclass(frozen=True, slots=True)
class Left:
    """How one amount of a budget stands."""

    budget: Budget
    period: Period
    used: int
    left: int
    """For the class that was asked about."""
    until: datetime
    """When counting begins anew."""

    @property
    def why(self) -> str:
        """For who may not go on."""
        whole = self.budget.amounts[self.period]
        what = f"the {self.period}'s {format_size(whole)}"
        kept = format_size(whole * self.budget.reserve)
        share = f", but for {kept} for what is critical," if self.used < whole else ""
        return (
            f"{what} over {self.budget.place.shown}{share} are used;"
            f" it goes on at {self.until:%Y-%m-%d %H:%M} {self.budget.zone.key}"
        )


class Usage:
    """Bytes by budget and period."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Period], _Count] = {}

    def charge(self, budget: Budget, size: int, now: datetime) -> None:
        """So many bytes went."""
        for period in Period:
            self._count(budget, period, now).used += size

    def left(self, budget: Budget, transfer_class: TransferClass, now: datetime) -> list[Left]:
        """Of each of its amounts."""
        found = []
        for period in budget.amounts:
            count = self._count(budget, period, now)
            left = max(0, budget.amount(period, transfer_class) - count.used)
            found.append(Left(budget, period, count.used, left, period.end(count.first, budget.zone)))
        return found

    def keep(self, budgets: Iterable[Budget]) -> None:
        """Forgets all others."""
        names = {_name(each) for each in budgets}
        self._counts = {key: count for key, count in self._counts.items() if key[0] in names}

    def as_values(self) -> dict[str, list[str | int]]:
        """For keeping: the first day and the bytes of each."""
        return {
            f"{name} {period}": [count.first.isoformat(), count.used]
            for (name, period), count in self._counts.items()
        }

    @classmethod
    def of_values(cls, values: Mapping[str, object]) -> Self:
        """`ValueError` for what `as_values` has not made."""
        usage = cls()
        for key, value in values.items():
            name, _, period = key.rpartition(" ")
            match value:
                case [str(first), int(used)] if used >= 0:
                    usage._counts[name, Period(period)] = _Count(date.fromisoformat(first), used)
                case _:
                    raise ValueError(key)
        return usage

    def _count(self, budget: Budget, period: Period, now: datetime) -> _Count:
        first = period.first(now.astimezone(budget.zone).date())
        key = _name(budget), period
        count = self._counts.setdefault(key, _Count(first))
        if first > count.first:
            self._counts[key] = count = _Count(first)
        return count


def _name(budget: Budget) -> str:
    return f"{budget.place.name} {budget.direction}"
