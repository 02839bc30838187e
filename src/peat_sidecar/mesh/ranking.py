"""Which packages the policy wants here, ranked and cut to the room that there is. Pure.

Of one reference the newest content counts, for each platform. A package that was taken out for room, or
turned down by a person, stays out until the policy or what the formation says of it changes.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from peat_sidecar.ids import BlobHash
from peat_sidecar.mesh.offers import Offer
from peat_sidecar.mesh.policy import ANY_ARCH, Choice, arch_of


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

    bytes: int
    by_policy: bool
    """It may be taken out for room."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """What there should be."""

    chosen: tuple[Candidate, ...]
    """The first to want first, those that are here included."""
    evicted: tuple[BlobHash, ...]
    """Packages of the policy's that have no room any more."""
    cut: int = 0
    """Packages that a rule fits and that have no room."""
    out: int = 0
    """Packages that a rule fits and that were taken out."""


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
) -> Ranked:
    """`quota_bytes` 0: no bound. What people brought counts and is never evicted; what policy brought and
    does not want any more stays as long as there is room.
    """
    left = max(0, quota_bytes - sum(each.bytes for each in held.values() if not each.by_policy))
    chosen: list[Candidate] = []
    seen: set[BlobHash] = set()
    evicted: list[BlobHash] = []
    cut = out = 0
    for each in sorted(newest(candidates), key=lambda one: one.rank):
        collection = each.offer.collection
        here = held.get(collection)
        costs = each.offer.bytes if here is None else here.bytes if here.by_policy else 0
        if collection in seen:
            costs = 0
        elif here is None and collection in unwanted:
            out += 1
            continue
        if quota_bytes and costs > left:
            cut += 1
            continue
        seen.add(collection)
        chosen.append(each)
        left -= costs
    for collection, here in held.items():
        if not here.by_policy or collection in seen:
            continue
        if quota_bytes and here.bytes > left:
            evicted.append(collection)
        else:
            left -= here.bytes
    return Ranked(tuple(chosen), tuple(evicted), cut, out)
