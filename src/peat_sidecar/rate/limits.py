"""All limits of a node as texts, which people write and the state keeps, and as rates at a moment."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import EndpointId
from peat_sidecar.rate.gate import DEFAULT_SHARE
from peat_sidecar.rate.windows import Schedule

PEER, CLASS = "peer ", "class "
"""What the names of such limits begin with; behind it stands whose they are."""
PLAIN = ("up", "down", "total")
TIME_ZONE, CLASS_SHARE = "time_zone", "class_share"
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
    """Checked. By name: `up`, `down`, `total`, `peer ID`, `class bulk`; beside them `time_zone` and
    `class_share`.
    """

    texts: Mapping[str, str]
    share: float
    _schedules: Mapping[str, Schedule]

    @classmethod
    def parse(cls, texts: Mapping[str, str]) -> Self:
        """`ConfigError` says which one is none, and how one looks."""
        if len(texts) > COUNT_LIMIT:
            raise ConfigError(f"there are {len(texts)} limits, more than {COUNT_LIMIT}; take some out")
        zone = texts.get(TIME_ZONE, "UTC")
        Schedule.parse("unlimited", zone)
        kept: dict[str, str] = {}
        schedules: dict[str, Schedule] = {}
        share = DEFAULT_SHARE
        for name, text in texts.items():
            if len(text) > TEXT_LIMIT:
                raise ConfigError(f"the limit {name[:80]} has more than {TEXT_LIMIT} characters; shorten it")
            if name == CLASS_SHARE:
                share = parse_share(text)
                kept[name] = text
            elif name == TIME_ZONE:
                kept[name] = text
            else:
                canonical = canonical_name(name)
                try:
                    schedules[canonical] = Schedule.parse(text, zone)
                except ConfigError as error:
                    raise ConfigError(f"limit {canonical}: {error}") from None
                kept[canonical] = text
        return cls(kept, share, schedules)

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

    def next_change(self, moment: datetime) -> datetime | None:
        """When other rates may hold; None: never."""
        changes = [schedule.next_change(moment) for schedule in self._schedules.values()]
        return min((each for each in changes if each is not None), default=None)


def canonical_name(name: str) -> str:
    """Of a limit; `ConfigError` for what has none."""
    if name in PLAIN:
        return name
    if name.startswith(PEER):
        return f"{PEER}{EndpointId.parse(name.removeprefix(PEER).strip())}"
    if name.startswith(CLASS) and name.removeprefix(CLASS) in list(TransferClass):
        return name
    raise ConfigError(
        f"{name[:80]!r} cannot be limited; up, down, total, peer ID, and class critical, high, normal, low or"
        " bulk can"
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


def _within(begin: str, rates: Mapping[str, float | None]) -> Iterator[tuple[str, float | None]]:
    for name, rate in rates.items():
        if name.startswith(begin):
            yield name.removeprefix(begin), rate
