"""Which packages the policy wants here, ranked and cut to the room that there is, and which go for it. Pure.

Of one reference the newest content counts, for each platform. A package that was taken out for room, or
turned down by a person, stays out until the policy or what the formation says of it changes.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.mesh.offers import Offer
from peat_sidecar.mesh.policy import ANY_ARCH, Choice, arch_of

SPARE = 0.1
"""Of the quota, that is free after room had to be made: high water is the quota, low water this below it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A package that a rule fits."""

    offer: Offer
    choice: Choice
    is_fixed: bool = False
    """Of its name the first counts, not the newest."""

    @property
    def rank(self) -> tuple[int, bool, int, str]:
        """The lowest goes first: by class, own platforms, the newest."""
        return (
            self.choice.transfer_class.rank,
            not self.choice.is_own,
            -self.offer.clock,
            self.offer.doc_id,
        )


@dataclass(frozen=True, slots=True)
class Held:
    """A package in the store."""

    blobs: Mapping[Digest, int]
    """Its blobs, and their sizes."""
    may_go: bool
    """It may be taken out for room."""
    used_at: float = 0.0
    """Unix seconds."""
    in_use: bool = False
    """It is handed out just now, and goes later."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """What there should be."""

    chosen: tuple[Candidate, ...]
    """The first to want first, those that are here included."""
    evicted: tuple[BlobHash, ...]
    """Packages that have no room any more, the one that was used the longest ago first."""
    cut: int = 0
    """Packages that a rule fits and that have no room."""
    out: int = 0
    """Packages that a rule fits and that were taken out."""
    is_short: bool = False
    """What is in use keeps the room from being made."""


def newest(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Of each reference and platform the newest, or of a fixed name the first; one that fits every platform
    replaces all others.
    """
    kept: dict[str, list[Candidate]] = {}
    for each in sorted(candidates, key=_order):
        same = kept.setdefault(each.offer.listed_as or each.offer.reference, [])
        arch, archs = arch_of(each.offer.arch), {arch_of(other.offer.arch) for other in same}
        if not same or not (arch in archs or arch in ANY_ARCH or archs & ANY_ARCH):
            same.append(each)
    return [each for same in kept.values() for each in same]


def _order(candidate: Candidate) -> tuple[int, str]:
    clock = candidate.offer.clock
    return clock if candidate.is_fixed else -clock, candidate.offer.doc_id


def ranked(
    candidates: Iterable[Candidate],
    held: Mapping[BlobHash, Held],
    unwanted: Collection[BlobHash],
    quota_bytes: int,
    *,
    beside_bytes: int = 0,
    is_elsewhere: Callable[[BlobHash], bool] = lambda _: True,
) -> Ranked:
    """`quota_bytes` 0: no bound. What may not go counts first, and what is kept or comes `beside` these
    packages; then what policy wants; what else is here stays as long as there is room. Blobs that several
    packages share count once. What would go is asked for elsewhere, and may not go when it is not there.
    """
    latest, here = newest(candidates), dict(held)
    while True:
        found = _ranked(latest, here, unwanted, quota_bytes, beside_bytes)
        only = [each for each in found.evicted if not is_elsewhere(each)]
        if not only:
            return found
        here |= {each: replace(here[each], may_go=False) for each in only}


def _ranked(
    latest: Sequence[Candidate],
    held: Mapping[BlobHash, Held],
    unwanted: Collection[BlobHash],
    quota_bytes: int,
    beside_bytes: int,
) -> Ranked:
    room = _Room(quota_bytes - beside_bytes if quota_bytes else None)
    for fixed in held.values():
        if not fixed.may_go:
            room.take(fixed.blobs)
    chosen: list[Candidate] = []
    seen: set[BlobHash] = set()
    cut = out = 0
    for each in sorted(latest, key=lambda one: one.rank):
        collection = each.offer.collection
        here = held.get(collection)
        if here is None and collection in unwanted and collection not in seen:
            out += 1
            continue
        blobs = here.blobs if here is not None else {each.offer.root: each.offer.bytes}
        if not room.has(blobs):
            cut += 1
            continue
        seen.add(collection)
        chosen.append(each)
        room.take(blobs)
    rest = {name: each for name, each in held.items() if each.may_go and name not in seen}
    evicted, is_short = _evicted(rest, room, quota_bytes)
    return Ranked(tuple(chosen), tuple(evicted), cut, out, is_short)


class _Room:
    """What is left of the quota."""

    def __init__(self, left_bytes: int | None) -> None:
        """None: no bound."""
        self._left_bytes = left_bytes
        self._counted: set[Digest] = set()

    def needed(self, blobs: Mapping[Digest, int]) -> int:
        """Bytes of those that are not counted yet."""
        return sum(size for name, size in blobs.items() if name not in self._counted)

    def has(self, blobs: Mapping[Digest, int]) -> bool:
        """Whether they fit; what is counted already always does."""
        needed = self.needed(blobs)
        return self._left_bytes is None or not needed or needed <= self._left_bytes

    def excess(self, blobs: Mapping[Digest, int]) -> int:
        """Bytes of them that do not fit; below zero: what would be left."""
        return self.needed(blobs) - (self._left_bytes or 0)

    def take(self, blobs: Mapping[Digest, int]) -> None:
        """Counts them."""
        if self._left_bytes is not None:
            self._left_bytes -= self.needed(blobs)
        self._counted |= blobs.keys()


def _evicted(rest: Mapping[BlobHash, Held], room: _Room, quota_bytes: int) -> tuple[list[BlobHash], bool]:
    """Nothing while all fits; else those that were used the longest ago, until there is some room to spare:
    making room once for each package that comes would cost more. And whether that is short of room for what
    is in use, which is passed over.
    """
    holders = Counter(name for each in rest.values() for name in each.blobs)
    left = {name: size for each in rest.values() for name, size in each.blobs.items()}
    if room.has(left):
        return [], False
    excess = room.excess(left) + int(quota_bytes * SPARE)
    evicted: list[BlobHash] = []
    may_go_now = {name: each for name, each in rest.items() if not each.in_use}
    for name, each in sorted(may_go_now.items(), key=lambda one: (one[1].used_at, one[0])):
        if excess <= 0:
            break
        evicted.append(name)
        holders.subtract(each.blobs.keys())
        excess -= room.needed({blob: size for blob, size in each.blobs.items() if not holders[blob]})
    return evicted, excess > 0 and len(may_go_now) < len(rest)
