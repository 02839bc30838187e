"""Who holds a package, in the order in which they are asked.

What a member says of its own content is its claim, and the content proves itself. One that fails is put back
for a while, never left out, and is forgiven when it comes back; one that gives wrong bytes is not asked again
until it says something new. Thread-safe.
"""

import math
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from peat_sidecar.ids import BlobHash, EndpointId
from peat_sidecar.mesh.offers import Offer, Offers

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 300.0
LACKING_SECONDS = 300.0
"""A partial holder gets more without saying so."""
REMEMBERED = 10_000
"""Failures; beyond that the oldest are forgotten."""


class KnowsOwners(Protocol):
    """The part of the records that is needed here."""

    def owner_of(self, agent_id: str) -> EndpointId | None:
        """Whose that agent id is."""
        ...


@dataclass(frozen=True, slots=True)
class Holder:
    """A node that says it holds a package."""

    endpoint_id: EndpointId
    agent_id: str
    state: Literal["complete", "partial"]
    connected: bool
    wait_seconds: float = 0.0
    """How long it is not asked; 0: it can be asked now; infinite: not until it says something new."""
    clock: int = 0
    """Of what it says."""

    @property
    def can_be_asked(self) -> bool:
        """Whether there is no reason against it."""
        return not self.wait_seconds


@dataclass(slots=True)
class _Failure:
    until: float
    count: int = 0
    clock: int = 0
    """Of the document that it contradicts, when it is about one package."""
    is_held: bool = False
    """Nothing is wrong with it: this node may not use the path."""


class Providers:
    """The table of holders, as the records and the sessions have it now."""

    def __init__(
        self,
        records: KnowsOwners,
        offers: Offers,
        own: EndpointId,
        sessions: Callable[[], Collection[EndpointId]],
        *,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`jitter` gives 0 to 1."""
        self._records = records
        self._offers = offers
        self._own = own
        self._sessions = sessions
        self._clock = clock
        self._jitter = jitter
        self._lock = threading.Lock()
        self._failures: dict[tuple[EndpointId, BlobHash | None], _Failure] = {}

    def holders(self, collection: BlobHash) -> list[Holder]:
        """All but this node, the first to ask first. Blocks."""
        return self.rank(self.claims(collection))

    def claims(self, collection: BlobHash) -> dict[EndpointId, Offer]:
        """Who says that they hold some of it, this node left out. Blocks."""
        claims: dict[EndpointId, Offer] = {}
        for offer in sorted(self._offers.holders(collection), key=lambda each: (each.complete, each.clock)):
            owner = self._records.owner_of(offer.agent_id)
            if owner is not None and owner != self._own:
                claims[owner] = offer
        return claims

    def rank(self, claims: Mapping[EndpointId, Offer]) -> list[Holder]:
        """As `holders`, of claims that were found before."""
        sessions = frozenset(self._sessions())
        return sorted(
            (self._holder(owner, offer, owner in sessions) for owner, offer in claims.items()), key=_order
        )

    def failed(self, peer: EndpointId, *, gained: bool = False) -> None:
        """It could not be reached, or fell silent; `gained`: after it had given something. It is put back
        for longer each time, and never for quite as long as by others that lost it too.
        """
        with self._lock:
            before = self._failures.get((peer, None))
            count = 1 if before is None or gained else before.count + 1
            wait = min(LONGEST_WAIT_SECONDS, FIRST_WAIT_SECONDS * 2.0 ** min(count - 1, 20))
            wait *= 0.5 + self._jitter() / 2
            self._remember(peer, None, _Failure(self._clock() + wait, count))

    def lacks(self, holder: Holder, collection: BlobHash) -> None:
        """It does not hold what it says."""
        with self._lock:
            failure = _Failure(self._clock() + LACKING_SECONDS, clock=holder.clock)
            self._remember(holder.endpoint_id, collection, failure)

    def hold(self, holder: Holder, collection: BlobHash, seconds: float) -> None:
        """The path to it may not be used for that package now."""
        with self._lock:
            failure = _Failure(self._clock() + seconds, clock=holder.clock, is_held=True)
            self._remember(holder.endpoint_id, collection, failure)

    def release(self) -> None:
        """Paths may be used again, or other classes may use them."""
        with self._lock:
            for key in [key for key, failure in self._failures.items() if failure.is_held]:
                del self._failures[key]

    def gave_wrong(self, holder: Holder, collection: BlobHash) -> None:
        """Its bytes are not what they should be."""
        with self._lock:
            self._remember(holder.endpoint_id, collection, _Failure(math.inf, clock=holder.clock))

    def served(self, peer: EndpointId) -> None:
        """It gave what was asked of it."""
        with self._lock:
            self._failures.pop((peer, None), None)

    def forgive(self, collection: BlobHash) -> None:
        """What was said of that package has changed, so who gave something else may have been right."""
        with self._lock:
            for key in [key for key in self._failures if key[1] == collection]:
                del self._failures[key]

    def came_back(self, peer: EndpointId) -> None:
        """A session with it has begun: what it failed in is forgiven, wrong bytes are not."""
        with self._lock:
            for key in [key for key in self._failures if key[0] == peer]:
                if self._failures[key].until < math.inf:
                    del self._failures[key]

    # inside

    def _holder(self, owner: EndpointId, offer: Offer, connected: bool) -> Holder:
        now = self._clock()
        with self._lock:
            about = self._failures.get((owner, offer.collection))
            if about is not None and about.clock != offer.clock:
                del self._failures[owner, offer.collection]  # it has said something new
                about = None
            general = self._failures.get((owner, None))
        wait = max([0.0, *(each.until - now for each in (about, general) if each is not None)])
        state: Literal["complete", "partial"] = "complete" if offer.complete else "partial"
        return Holder(owner, offer.agent_id, state, connected, wait, offer.clock)

    def _remember(self, peer: EndpointId, about: BlobHash | None, failure: _Failure) -> None:
        self._failures.pop((peer, about), None)
        self._failures[peer, about] = failure
        while len(self._failures) > REMEMBERED:
            del self._failures[next(iter(self._failures))]


def _order(holder: Holder) -> tuple[float, bool, bool, EndpointId]:
    return holder.wait_seconds, holder.state != "complete", not holder.connected, holder.endpoint_id
