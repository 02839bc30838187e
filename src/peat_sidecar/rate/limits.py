"""All limits of a node as texts, which people write and the state keeps, and as rates at a moment."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import EndpointId
from peat_sidecar.rate.budgets import Budget, Budgets, Metered
from peat_sidecar.rate.gate import DEFAULT_SHARE
from peat_sidecar.rate.periods import parse_zone
from peat_sidecar.rate.places import Place
from peat_sidecar.rate.sizes import parse_size
from peat_sidecar.rate.windows import Schedule

PEER, CLASS = "peer ", "class "
"""What the names of such limits begin with; behind it stands whose they are."""
BUDGET, METERED = "budget ", "metered "
"""The same; behind it stands the part of the network."""
PLAIN = ("up", "down", "total")
TIME_ZONE, CLASS_SHARE, APPROVE_ABOVE = "time_zone", "class_share", "approve_above"
RATED = (*PLAIN, PEER, CLASS)
COUNT_LIMIT = 1000
TEXT_LIMIT = 1000
LARGEST_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Rates:
    """Bytes per second at a moment; None, and what is not named, is unlimited."""

    up: float | None
    down: float | None
    total: float | None
    peers: Mapping[EndpointId, float | None]
    """Each way."""
    classes: Mapping[TransferClass, float | None]
    """Of what is fetched here: what others ask for has no class."""

    @property
    def are_none(self) -> bool:
        """Nothing is limited."""
        return all(
            rate is None
            for rate in (self.up, self.down, self.total, *self.peers.values(), *self.classes.values())
        )

    def of_fetch(self, transfer_class: TransferClass) -> float | None:
        """What is left of the way in for a class alone, whoever it is fetched from."""
        rates = (self.down, self.total, self.classes.get(transfer_class))
        return min((rate for rate in rates if rate is not None), default=None)


@dataclass(frozen=True, slots=True)
class Limits:
    """Checked. By name: `up`, `down`, `total`, `peer ID`, `class bulk`, `budget any`, `metered 10.0.0.0/8`;
    beside them `time_zone`, `class_share` and `approve_above`.
    """

    texts: Mapping[str, str]
    share: float
    budgets: Budgets
    _schedules: Mapping[str, Schedule]

    @classmethod
    def parse(cls, texts: Mapping[str, str]) -> Self:
        """`ConfigError` says which one is none, and how one looks."""
        if len(texts) > COUNT_LIMIT:
            raise ConfigError(f"there are {len(texts)} limits, more than {COUNT_LIMIT}; take some out")
        zone = texts.get(TIME_ZONE, "UTC")
        parse_zone(zone)
        kept: dict[str, str] = {}
        schedules: dict[str, Schedule] = {}
        share = DEFAULT_SHARE
        for name, text in texts.items():
            if len(text) > TEXT_LIMIT:
                raise ConfigError(f"the limit {name[:80]} has more than {TEXT_LIMIT} characters; shorten it")
            canonical = canonical_name(name)
            kept[canonical] = text
            if canonical == CLASS_SHARE:
                share = parse_share(text)
            elif canonical.startswith(RATED):
                with _naming(canonical):
                    schedules[canonical] = Schedule.parse(text, zone)
        return cls(kept, share, _budgets(kept, zone), schedules)

    def at(self, moment: datetime) -> Rates:
        """What holds then."""
        rates = {name: schedule.rate_at(moment) for name, schedule in self._schedules.items()}
        return Rates(
            rates.get("up"),
            rates.get("down"),
            rates.get("total"),
            {EndpointId.parse(name): rate for name, rate in _within(PEER, rates)},
            {TransferClass(name): rate for name, rate in _within(CLASS, rates)},
        )

    @property
    def have_windows(self) -> bool:
        """Whether other rates may hold at another time."""
        return any(schedule.has_windows for schedule in self._schedules.values())

    def next_change(self, moment: datetime) -> datetime | None:
        """When other rates may hold; None: never."""
        changes = [schedule.next_change(moment) for schedule in self._schedules.values()]
        return min((each for each in changes if each is not None), default=None)


def canonical_name(name: str) -> str:
    """Of a limit; `ConfigError` for what has none."""
    if name in (*PLAIN, TIME_ZONE, CLASS_SHARE, APPROVE_ABOVE):
        return name
    if name.startswith(PEER):
        return f"{PEER}{EndpointId.parse(name.removeprefix(PEER).strip())}"
    if name.startswith(CLASS) and name.removeprefix(CLASS) in list(TransferClass):
        return name
    for begin in (BUDGET, METERED):
        if name.startswith(begin):
            return f"{begin}{Place.parse(name.removeprefix(begin)).name}"
    raise ConfigError(
        f"{name[:80]!r} cannot be limited; up, down, total, peer ID, and class critical, high, normal, low or"
        " bulk can; beside them there are budget PLACE, metered PLACE and approve_above"
    )


def parse_share(text: str) -> float:
    """From 0 to a half."""
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= LARGEST_SHARE:
        raise ConfigError(f"{text[:40]!r} is no share of the lower classes; it is a number from 0 to 0.5")
    return share


def _budgets(texts: Mapping[str, str], zone: str) -> Budgets:
    budgets, metered, above = [], [], None
    for name, text in texts.items():
        with _naming(name):
            if name.startswith(BUDGET):
                budgets.append(Budget.parse(Place.parse(name.removeprefix(BUDGET)), text, zone))
            elif name.startswith(METERED):
                metered.append(Metered.parse(Place.parse(name.removeprefix(METERED)), text))
            elif name == APPROVE_ABOVE:
                above = parse_size(text)
    return Budgets(tuple(budgets), tuple(metered), above)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"limit {name}: {error}") from None


def _within(begin: str, rates: Mapping[str, float | None]) -> Iterator[tuple[str, float | None]]:
    for name, rate in rates.items():
        if name.startswith(begin):
            yield name.removeprefix(begin), rate
