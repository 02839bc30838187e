"""The gate: many flows ask to send, and it says who may, within all limits.

Between classes the order is strict: while one that goes first moves bytes, those behind get a small share of
what goes, together, so that nothing starves. Within a class the transfer that got least goes first. A limit
holds for everything, for a class, or for a peer; a flow that is held back by a limit of its own holds nobody
else back.
"""

from collections import Counter, deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from peat_sidecar.classes import TransferClass
from peat_sidecar.rate.bucket import Bucket, Shared, Side

DEFAULT_SHARE = 0.02
PRESENT_SECONDS = 2.0
"""How long after its last byte a flow still counts: more than a round trip, less than anyone likes to wait
for one that is silent."""
_CREDIT_LIMIT_BYTES = 4 << 20
"""What those behind may have saved up at most."""
_NEVER = float("-inf")


@dataclass(eq=False, slots=True)
class Tally:
    """What a transfer got within its class, with all its peers."""

    served_bytes: float = 0.0
    """Whoever comes new begins where the others are."""


@dataclass(eq=False, slots=True)
class Flow:
    """What asks: a transfer with one peer."""

    transfer_class: TransferClass
    peer: Hashable
    tally: Tally = field(default_factory=Tally)
    waiting: "deque[Request]" = field(default_factory=deque)
    seen_at: float = _NEVER
    """When it last moved a byte, or was let through."""


@dataclass(eq=False, slots=True)
class Request:
    """Bytes that a flow wants to send or to ask for."""

    flow: Flow
    size: float
    granted: bool = False


class Gate:
    """One for each direction."""

    def __init__(
        self, *, share: float = DEFAULT_SHARE, total: Shared | None = None, open_per_peer: int | None = None
    ) -> None:
        """`total` is of both directions together. `open_per_peer`: so many requests with a peer may be under
        way at once, until they are told to have `ended`.
        """
        self.share = share
        """Of what goes, for those behind the first class that asks; 0: they wait."""
        self._everything = Bucket(None)
        self._total = (total or Shared()).side()
        self._classes = {each: Bucket(None) for each in TransferClass}
        self._peers: dict[Hashable, Bucket] = {}
        self._asking: dict[TransferClass, list[Flow]] = {each: [] for each in TransferClass}
        self._present: set[Flow] = set()
        self._open_per_peer = open_per_peer
        self._open: Counter[Hashable] = Counter()
        self._credit = 0.0
        self._behind = dict.fromkeys(TransferClass, 0.0)
        """What each class got while another went first, so that all behind get the same."""

    # ---- limits

    def limit(self, rate: float | None, now: float) -> None:
        """For everything together."""
        self._everything.change(rate, now)

    def limit_class(self, transfer_class: TransferClass, rate: float | None, now: float) -> None:
        """For all flows of a class together."""
        self._classes[transfer_class].change(rate, now)

    def limit_peer(self, peer: Hashable, rate: float | None, now: float) -> None:
        """For all flows with a peer together."""
        if rate is None:
            self._peers.pop(peer, None)
        else:
            self._peers.setdefault(peer, Bucket(rate)).change(rate, now)

    def tightest(self, flow: Flow) -> float | None:
        """The lowest of its limits."""
        rates = [bucket.rate for bucket in self._buckets(flow) if bucket.rate is not None]
        return min(rates, default=None)

    @property
    def limited_peers(self) -> list[Hashable]:
        """Those with a limit of their own."""
        return list(self._peers)

    # ---- who is there

    def moved(self, flow: Flow, now: float) -> bool:
        """A flow has moved a byte; whether those behind it have to make way now, and did not before."""
        before = self._first_present(now)
        flow.seen_at = now
        self._present.add(flow)
        after = self._first_present(now)
        return after is not None and (before is None or after < before)

    def leave(self, flow: Flow) -> None:
        """It is over, and holds nobody back any more."""
        self._present.discard(flow)

    def yields(self, flow: Flow, now: float) -> bool:
        """Whether another class goes first at the moment."""
        first = self._first_present(now)
        return first is not None and first < flow.transfer_class.rank

    def _first_present(self, now: float) -> int | None:
        """The rank of the first class that moves bytes and could use more than it is held to itself."""
        self._present = {each for each in self._present if now - each.seen_at < PRESENT_SECONDS}
        return min(
            (each.transfer_class.rank for each in self._present if not self._is_held(each)), default=None
        )

    def _is_held(self, flow: Flow) -> bool:
        """By a limit of its own: it cannot use what others would leave to it."""
        own = self._peers.get(flow.peer)
        return own is not None or self._classes[flow.transfer_class].rate is not None

    # ---- asking

    def ask(self, flow: Flow, size: float) -> Request:
        """Queues a request; requests of one flow go in order."""
        request = Request(flow, size)
        asking = self._asking[flow.transfer_class]
        if not flow.waiting:
            if all(other.tally is not flow.tally for other in asking):
                least = min((other.tally.served_bytes for other in asking), default=flow.tally.served_bytes)
                flow.tally.served_bytes = max(flow.tally.served_bytes, least)
            asking.append(flow)
        flow.waiting.append(request)
        return request

    def withdraw(self, request: Request) -> None:
        """Of one who does not wait any more."""
        flow = request.flow
        if request in flow.waiting:
            flow.waiting.remove(request)
            if not flow.waiting:
                self._asking[flow.transfer_class].remove(flow)
            self._total.wants = self._total.wants and any(self._asking.values())

    def grant(self, now: float) -> tuple[list[Request], float | None]:
        """Those that may go now, and the seconds until the next one may; None when nobody asks, or nothing
        but a change helps.
        """
        granted: list[Request] = []
        while True:
            wait = self._everything.wait_seconds(now)
            flow, soonest = self._next(now) if wait == 0 else (None, wait)
            self._total.wants = flow is not None
            if flow is None:
                return granted, soonest if any(self._asking.values()) else None
            wait = self._total.wait_seconds(now)
            if wait > 0:
                return granted, wait
            granted.append(self._serve(flow, now))

    def ended(self, flow: Flow) -> None:
        """What was granted to it once is not under way any more."""
        self._open[flow.peer] -= 1
        if self._open[flow.peer] <= 0:
            del self._open[flow.peer]

    def correct(self, flow: Flow, size: float, now: float) -> None:
        """Bytes that went beside what was granted (headers, repetitions); negative: fewer."""
        rank = flow.transfer_class.rank
        first = self._first_present(now)
        asking = [each.rank for each, flows in self._asking.items() if flows]
        ahead = (first is not None and first < rank) or any(each < rank for each in asking)
        behind = any(each > rank for each in asking)
        if ahead:
            # What is given back may have been taken while nobody was ahead: that makes no credit.
            self._credit -= min(max(size, 0.0), self._credit)
            self._behind[flow.transfer_class] += max(size, 0.0)
        elif behind:
            self._credit = min(max(0.0, self._credit + size * self.share), _CREDIT_LIMIT_BYTES)
        else:
            self._credit = 0.0
        flow.tally.served_bytes += size
        for bucket in self._buckets(flow):
            bucket.take(size, now)

    def _next(self, now: float) -> tuple[Flow | None, float | None]:
        """Who goes now; else how long the soonest has to wait."""
        ready: list[Flow] = []
        soonest: float | None = None
        for flows in self._asking.values():
            free: list[Flow] = []
            for flow in flows:
                if self._open_per_peer is not None and self._open[flow.peer] >= self._open_per_peer:
                    continue
                wait = max(bucket.wait_seconds(now) for bucket in self._own(flow))
                if wait == 0:
                    free.append(flow)
                else:
                    soonest = wait if soonest is None else min(soonest, wait)
            if free:
                ready.append(min(free, key=lambda flow: flow.tally.served_bytes))
        if not ready:
            return None, soonest
        first = ready[0]
        present = self._first_present(now)
        goes_first = present is None or first.transfer_class.rank <= present
        behind = ready[1:] if goes_first else ready
        if behind and self.share > 0:
            next_behind = min(behind, key=lambda flow: self._behind[flow.transfer_class])
            if self._credit >= next_behind.waiting[0].size:
                return next_behind, None
        if goes_first:
            return first, None
        passing = self._presence_ends(first, now)
        return None, passing if soonest is None else min(soonest, passing)

    def _presence_ends(self, flow: Flow, now: float) -> float:
        """Seconds until those before it do not count any more, if nothing more is heard of them."""
        before = [
            each.seen_at + PRESENT_SECONDS - now
            for each in self._present
            if each.transfer_class.rank < flow.transfer_class.rank
        ]
        return max(*before, 0.001) if before else 0.001

    def _serve(self, flow: Flow, now: float) -> Request:
        request = flow.waiting.popleft()
        request.granted = True
        if self._open_per_peer is not None:
            self._open[flow.peer] += 1
        if not flow.waiting:
            self._asking[flow.transfer_class].remove(flow)
        self.correct(flow, request.size, now)
        return request

    def _own(self, flow: Flow) -> list[Bucket]:
        own = self._peers.get(flow.peer)
        return [self._classes[flow.transfer_class], *([own] if own is not None else [])]

    def _buckets(self, flow: Flow) -> "list[Bucket | Side]":
        return [self._everything, self._total, *self._own(flow)]
