"""What may go over a part of the network: so many bytes a day or month, or only classes that go first.

`500 MB a day, 10 GB a month, down, 10% for critical, zone Europe/Oslo` is a budget; all but an amount may be
left out.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self, cast
from zoneinfo import ZoneInfo

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import ConfigError
from peat_sidecar.rate.periods import Period, parse_zone
from peat_sidecar.rate.places import Path, Place
from peat_sidecar.rate.sizes import parse_size

Direction = Literal["up", "down", "total"]
_AMOUNT = re.compile(r"(.+?) +(?:a|per) +(day|month)")
_RESERVE = re.compile(r"(\d{1,2}(?:\.\d{1,3})?) *% +for +critical")


@dataclass(frozen=True, slots=True)
class Budget:
    """For everything that goes over one part of the network, counted on the wire."""

    place: Place
    amounts: Mapping[Period, int]
    """Bytes; at least one."""
    zone: ZoneInfo
    direction: Direction = "total"
    reserve: float = 0.0
    """The share of each amount that only what is critical may use."""

    @classmethod
    def parse(cls, place: Place, text: str, zone: str = "UTC") -> Self:
        """`zone` holds where the text names none. `ConfigError` says which part is none."""
        amounts: dict[Period, int] = {}
        direction, reserve = "total", 0.0
        for part in (part.strip() for part in text.split(",")):
            if found := _AMOUNT.fullmatch(part):
                amounts[Period(found[2])] = parse_size(found[1])
            elif part in ("up", "down", "total"):
                direction = part
            elif found := _RESERVE.fullmatch(part):
                reserve = float(found[1]) / 100
            elif part.startswith("zone "):
                zone = part.removeprefix("zone ").strip()
            else:
                raise ConfigError(
                    f"{part[:60]!r} is no part of a budget; one looks like 500 MB a day, 10 GB a month, down,"
                    " 10% for critical, zone Europe/Oslo"
                )
        if not amounts:
            raise ConfigError(f"{text[:60]!r} names no amount; one looks like 500 MB a day, 10 GB a month")
        return cls(place, amounts, parse_zone(zone), cast(Direction, direction), reserve)

    def amount(self, period: Period, transfer_class: TransferClass) -> int:
        """What that class may use of it; what others have used counts."""
        share = 1.0 if transfer_class is TransferClass.CRITICAL else 1.0 - self.reserve
        return int(self.amounts[period] * share)

    def counts(self, up: int, down: int) -> int:
        """Those of so many bytes that are charged."""
        return (up if self.direction != "down" else 0) + (down if self.direction != "up" else 0)


@dataclass(frozen=True, slots=True)
class Metered:
    """A part of the network that costs: classes behind one do not use it."""

    place: Place
    lowest: TransferClass

    @classmethod
    def parse(cls, place: Place, text: str) -> Self:
        """A class; those that go before it may use it as well."""
        if text.strip() not in list(TransferClass):
            raise ConfigError(f"{text[:40]!r} is no class; there are {', '.join(TransferClass)}")
        return cls(place, TransferClass(text.strip()))

    def admits(self, transfer_class: TransferClass) -> bool:
        """Whether that class may use it."""
        return transfer_class.rank <= self.lowest.rank


@dataclass(frozen=True, slots=True)
class Budgets:
    """All rules of a node about amounts."""

    budgets: tuple[Budget, ...] = ()
    metered: tuple[Metered, ...] = ()
    approve_above: int | None = None
    """Bytes that a fetch may lack without being approved; None: any number."""

    @property
    def ask_for_paths(self) -> bool:
        """Whether anything depends on where a connection goes."""
        return bool(self.budgets or self.metered)

    @property
    def ask_for_interfaces(self) -> bool:
        """Whether anything depends on the interface that leads there."""
        places = [each.place for each in self.budgets] + [each.place for each in self.metered]
        return any(place.interface for place in places)

    def of(self, path: Path) -> list[Budget]:
        """Those that what goes that way is charged to."""
        return [each for each in self.budgets if each.place.holds(path)]

    def why_metered(self, path: Path, transfer_class: TransferClass) -> str:
        """Why that class may not go that way; empty when it may."""
        for each in self.metered:
            if each.place.holds(path) and not each.admits(transfer_class):
                return f"{each.place.shown} is metered, and only for what is {each.lowest} or goes before it"
        return ""
