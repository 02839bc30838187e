"""Who may move bytes now: the two gates at work, on a clock, for all transfers of this node.

A getter asks before it asks a peer for a part, and a provider before it writes a piece. What really goes over
a connection (headers, repetitions, acknowledgements, records) is read from its counters a few times a second
and charged as well, so that limits hold at the interface.
"""

import asyncio
import itertools
import math
import time
import weakref
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import PeerUnavailable
from peat_sidecar.ids import EndpointId
from peat_sidecar.net import Connection
from peat_sidecar.rate import Backlog, Flow, Gate, Limits, Rates, Request, Shared, Tally
from peat_sidecar.transfer.budget_keeper import BudgetKeeper
from peat_sidecar.transfer.progress import Progress

LOOK_SECONDS = 0.2
"""How often counters are read while something is limited."""
_WINDOW_LOOK_SECONDS = 0.5
PART_SECONDS = 0.5
"""What is asked of a peer at once under a limit."""
LEAST_PART_BYTES = (16 << 10) + 512
"""A group with its pairs: less cannot be verified."""
PIECE_SECONDS = 0.25
LEAST_PIECE_BYTES = 64
"""At 1 kbit/s one is on the wire in a second, headers and all: two streams are not taken for silent."""
TRICKLE_BYTES_PER_SECOND = 4 << 10
_PASSED_OVER_SECONDS = 10.0
"""Twice a getter's patience: it has given the answer up, which only a write would tell."""
PIECE_BYTES = 1 << 18
"""What a stream takes in one write."""
_ROUND_SECONDS = 2.0
"""In which each of many answers has its turn, lest its getter takes it for silent."""
UNSENT_SECONDS = 0.25
_FAST_BYTES_PER_SECOND = 4 << 20
"""From here on the transport itself holds less than that."""
_FAST_LOOK_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 0.05
_SHORTEST_PAUSE_SECONDS = 0.004
_DATAGRAM_BYTES = 1200
_BESIDE_SHARE = 0.5
"""Of a rate, from which what went beside is paid: a handshake has 7 KB, a minute's worth at 1 kbit/s, and
getters bear five seconds of silence."""
_OWED_SECONDS = 60.0
"""What went beside more than that is forgotten."""
REQUESTS_PER_PEER = 16
"""At once, of all transfers: a peer answers some more, and those that it does not answer look silent."""
_SETTLING_SECONDS = 2.5
"""After a change what had been let through before it may still go."""


class Lane:
    """One direction: a gate and those who wait at it."""

    def __init__(self, gate: Gate, clock: Callable[[], float]) -> None:
        self.gate = gate
        self.clock = clock
        self.under_way: set[Passage] = set()
        self.heard_bytes: Counter[TransferClass] = Counter()
        """Of answers, by the class of what asked."""
        self._waiting: dict[Request, asyncio.Future[bool]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self, flow: Flow, size: float) -> bool:
        """Returns when so many bytes may go; False when limits have changed meanwhile, and another number
        may be right.
        """
        request = self.gate.ask(flow, size)
        self.pump()
        if request.granted:
            return True
        future = self._waiting[request] = asyncio.get_running_loop().create_future()
        try:
            granted: bool = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.result():
                self.gate.ended(flow)
                self.gate.correct(flow, -size, self.clock())
            else:
                self.gate.withdraw(request)
            self.pump()
            raise
        finally:
            self._waiting.pop(request, None)
        return granted

    def ask_again(self) -> None:
        """Limits have changed: what was asked for under others is not granted any more."""
        for request, future in list(self._waiting.items()):
            if not future.done():
                self.gate.withdraw(request)
                future.set_result(False)

    def moved(self, flow: Flow) -> None:
        """A byte has come; those behind make way."""
        if self.gate.moved(flow, self.clock()):
            for each in tuple(self.under_way):
                if each.flow.transfer_class.rank > flow.transfer_class.rank:
                    each.over.set()

    def leave(self, flow: Flow) -> None:
        """Nothing more comes of it."""
        self.gate.leave(flow)
        self.pump()

    def pump(self) -> None:
        """Lets through who may go, and looks again when the next one may."""
        granted, wait = self.gate.grant(self.clock())
        for request in granted:
            future = self._waiting.get(request)
            if future is not None and not future.done():
                future.set_result(True)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if wait is not None:
            self._timer = asyncio.get_running_loop().call_later(wait, self.pump)

    def close(self) -> None:
        """Nothing is let through any more."""
        if self._timer is not None:
            self._timer.cancel()


class Passage:
    """Leave to ask a peer for some bytes. A context manager; it ends when they have come, or will not."""

    def __init__(self, lane: Lane, link: "_Link", flow: Flow, progress: Progress, size: float) -> None:
        self.flow = flow
        self.over = asyncio.Event()
        """Set when others go first: what has not come is to be given up."""
        self.size = size
        self.came = 0
        self._lane = lane
        self._link = link
        self._progress = progress
        link.came_in(size)
        link.passages.add(self)
        lane.under_way.add(self)
        self._source = progress.source(link.peer)
        self._source.asked()

    @property
    def most_bytes(self) -> int | None:
        """What may be asked for with it; None for any number."""
        return int(self.size) if self.size else None

    @property
    def outstanding(self) -> float:
        """What is still to come."""
        return max(0.0, self.size - self.came)

    def resize(self, size: float) -> None:
        """It is for another number of bytes than was thought."""
        self._count(size - self.size)
        self.size = size

    def heard(self, size: int) -> None:
        """Bytes have come on the stream, whatever they are worth."""
        self.came += size
        self._progress.heard(self._link.peer, size)
        self._lane.heard_bytes[self.flow.transfer_class] += size
        self._lane.moved(self.flow)

    def end(self) -> None:
        """What did not come is given back. Ending it again does nothing."""
        if self in self._lane.under_way:
            self._lane.under_way.discard(self)
            self._link.passages.discard(self)
            self._source.answered()
            self._count(self.came - self.size)
            self._lane.gate.ended(self.flow)
            self._lane.pump()

    def _count(self, size: float) -> None:
        self._lane.gate.correct(self.flow, size, self._lane.clock())
        self._link.came_in(size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


class Intake:
    """One transfer's way in: it asks here before it asks a peer for anything."""

    def __init__(self, shaper: "Shaper", progress: Progress) -> None:
        self.progress = progress
        self._shaper = shaper
        self._tally = Tally()
        self._flows: dict[tuple[TransferClass, EndpointId], Flow] = {}

    def part_bytes(self, connection: Connection) -> int | None:
        """What should be asked for at once; None for any number."""
        budget = self._shaper.budget_bytes(connection, self.progress.transfer_class)
        gate, flow = self._shaper.down.gate, self._flow(connection)
        if gate.yields(flow, self._shaper.clock()):
            return LEAST_PART_BYTES
        rate = gate.tightest(flow)
        most = min(budget, math.inf if rate is None else rate * PART_SECONDS)
        return None if most == math.inf else max(LEAST_PART_BYTES, int(most))

    async def enter(self, connection: Connection, size: float | None = None) -> Passage:
        """Waits for leave to ask for so many bytes, or for as many as should be asked for at once.
        `BudgetSpent` where nothing may come that way.
        """
        lane = self._shaper.down
        while True:
            self._shaper.budgets.room(connection, self.progress.transfer_class)
            flow = self._flow(connection)
            asked = size if size is not None else self.part_bytes(connection) or 0
            lane.moved(flow)
            if await lane.enter(flow, asked):
                return Passage(lane, self._shaper.watch(connection), flow, self.progress, asked)

    def close(self) -> None:
        """The transfer is over; it holds nobody back any more."""
        for flow in self._flows.values():
            self._shaper.down.leave(flow)

    def _flow(self, connection: Connection) -> Flow:
        key = self.progress.transfer_class, connection.remote_id
        if key not in self._flows:
            for old in [each for each in self._flows if each[1] == key[1]]:
                self._shaper.down.leave(self._flows.pop(old))
            self._flows[key] = Flow(*key, self._tally)
        return self._flows[key]


class Outlet:
    """One answer's way out: it asks here before each piece that it writes."""

    def __init__(self, shaper: "Shaper", connection: Connection, tally: Tally) -> None:
        self._shaper = shaper
        self._connection = connection
        self._link = shaper.watch(connection)
        self._flow = Flow(TransferClass.NORMAL, connection.remote_id, tally)

    def __enter__(self) -> Self:
        self._link.answers += 1
        self._shaper.answers += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shaper.answers -= 1
        self._link.answers -= 1
        if not self._link.answers:
            self._link.backlog.is_idle()

    async def admit(self, size: int) -> int:
        """Waits until some of so many bytes may be written: how many. They count as written. `BudgetSpent`
        where nothing may go that way, `PeerUnavailable` where so little may that none has come to this answer
        for long.
        """
        began = self._shaper.clock()
        while True:
            self._shaper.budgets.room_to_answer(self._connection)
            if self._is_one_too_many():
                if self._shaper.clock() - began > _PASSED_OVER_SECONDS:
                    raise PeerUnavailable("a peer's older connection takes all that may go")
                await asyncio.sleep(LOOK_SECONDS)
                continue
            room = min(await self._room(size), self._piece_bytes())
            if await self._shaper.up.enter(self._flow, room):
                self._link.went_out(room)
                return room

    def refund(self, size: int) -> None:
        """They were not written after all."""
        self._link.went_out(-size)
        self._shaper.up.gate.correct(self._flow, -size, self._shaper.clock())
        self._shaper.up.pump()

    def _is_one_too_many(self) -> bool:
        """Where next to nothing may go, the answers on a peer's oldest connection get it: shared out among
        all, each would look silent, and what it had sent would be lost.
        """
        rate = self._shaper.up.gate.tightest(self._flow)
        return rate is not None and rate < TRICKLE_BYTES_PER_SECOND and self._shaper.has_older(self._link)

    def _piece_bytes(self) -> int:
        rate = self._shaper.up.gate.tightest(self._flow)
        if rate is None:
            return PIECE_BYTES
        answers = max(1, self._shaper.answers)
        seconds = min(PIECE_SECONDS, _ROUND_SECONDS / answers)
        least = LEAST_PIECE_BYTES if answers <= 2 else LEAST_PIECE_BYTES // 2
        return max(least, min(PIECE_BYTES, int(rate * seconds)))

    async def _room(self, size: int) -> int:
        """How much of it may be written without more being unsent than the path takes in a moment."""
        backlog = self._link.backlog
        while True:
            now = self._shaper.clock()
            is_fast = backlog.rate is not None and backlog.rate >= _FAST_BYTES_PER_SECOND
            if is_fast and now - self._link.looked_at < _FAST_LOOK_SECONDS:
                return size
            self._link.look_at_backlog(self._connection, now)
            room = backlog.room(UNSENT_SECONDS)
            if room >= min(size, _DATAGRAM_BYTES):
                return int(min(size, room))
            lacking = min(size, _DATAGRAM_BYTES) - room
            pause = lacking / backlog.rate if backlog.rate else _SHORTEST_PAUSE_SECONDS
            await asyncio.sleep(min(_LONGEST_PAUSE_SECONDS, max(_SHORTEST_PAUSE_SECONDS, pause)))


class _Link:
    """What is known of one connection's traffic."""

    def __init__(self, peer: EndpointId, number: int) -> None:
        self.peer = peer
        self.number = number
        self.passages: set[Passage] = set()
        self.answers = 0
        self.backlog = Backlog()
        self.looked_at = 0.0
        self.flow = Flow(TransferClass.NORMAL, peer)
        """What goes beside that of transfers."""
        self._sent = self._received = 0
        """On the wire, at the last look."""
        self._out_ahead = self._in_ahead = 0.0
        """Let through, and not seen on the wire yet; below 0: more was seen."""
        self._owed = 0.0
        """Went out beside, and is not charged yet."""

    def went_out(self, size: float) -> None:
        self._out_ahead += size
        self.backlog.wrote(int(size))

    def came_in(self, size: float) -> None:
        self._in_ahead += size

    def begin(self, connection: Connection) -> None:
        """From now on what goes beside is charged."""
        stats = connection.stats()
        self._sent, self._received = stats.sent_on_wire, stats.received_on_wire
        self._out_ahead, self._in_ahead = 0.0, self._outstanding()

    def charge(self, connection: Connection, up: Lane, down: Lane, seconds: float) -> None:
        """What went since the last look and was not let through. What went out is paid from what may go in
        so many seconds.
        """
        stats = connection.stats()
        self._out_ahead -= stats.sent_on_wire - self._sent
        self._in_ahead -= stats.received_on_wire - self._received
        self._sent, self._received = stats.sent_on_wire, stats.received_on_wire
        if self._out_ahead < 0 or not self.answers:
            self._owed -= self._out_ahead
            self._out_ahead = 0.0
        if self._owed:
            rate = up.gate.tightest(self.flow) or float("inf")
            self._owed = min(self._owed, rate * _OWED_SECONDS)
            size = min(self._owed, rate * seconds * _BESIDE_SHARE)
            up.gate.correct(self.flow, size, up.clock())
            self._owed -= size
        missed = self._outstanding() - self._in_ahead
        if missed:
            flow = next((each.flow for each in self.passages), self.flow)
            down.gate.correct(flow, missed, down.clock())
            self._in_ahead += missed

    def look_at_backlog(self, connection: Connection, now: float) -> None:
        self.looked_at = now
        stats = connection.stats()
        rtt = stats.rtt_seconds or 0.0
        self.backlog.look(stats.sent_bytes, stats.sent_datagrams, stats.lost_bytes, rtt, now)

    def _outstanding(self) -> float:
        return sum(each.outstanding for each in self.passages)


class Shaper:
    """One for the program. Lives on one event loop."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`clock` counts seconds, `now` is what time windows are told by."""
        self._total = Shared()
        self.clock = clock
        self.up = Lane(Gate(total=self._total), clock)
        self.down = Lane(Gate(total=self._total, open_per_peer=REQUESTS_PER_PEER), clock)
        self.answers = 0
        """Under way."""
        self.rates = Limits.parse({}).at(now())
        """Those that hold now."""
        self.limits = Limits.parse({})
        self.budgets = BudgetKeeper(now=now, clock=clock)
        self._now = now
        self._links: weakref.WeakKeyDictionary[Connection, _Link] = weakref.WeakKeyDictionary()
        self._tallies: weakref.WeakValueDictionary[EndpointId, _PeerTally] = weakref.WeakValueDictionary()
        self._timer: asyncio.TimerHandle | None = None
        self._settled_at = 0.0
        self._charged_at = 0.0
        self._numbers = itertools.count()
        if limits is not None:
            self.change(limits)

    def change(self, limits: Limits) -> None:
        """From now on these."""
        self.limits = limits
        self.budgets.change(limits.budgets, list(self._links))
        self.up.gate.share = self.down.gate.share = limits.share
        self.apply()

    def apply(self) -> None:
        """Looks at the time of day, and at what has gone."""
        before, self.rates = self.rates, self.limits.at(self._now())
        if self.rates != before:
            if self.answers or self.down.under_way:
                self._settled_at = self.clock() + _SETTLING_SECONDS
            self._set(self.rates)
        if not self.rates.are_none:
            self._charge()
        self.budgets.look(
            (connection, tuple(link.passages)) for connection, link in list(self._links.items())
        )
        self.up.pump()
        self.down.pump()
        self._look_again()

    def watch(self, connection: Connection) -> _Link:
        """Has what goes over a connection counted; also what is no transfer's."""
        link = self._links.get(connection)
        if link is None:
            link = self._links[connection] = _Link(connection.remote_id, next(self._numbers))
        return link

    def has_older(self, link: _Link) -> bool:
        """Whether answers go to the same peer over an older connection."""
        return any(
            each.answers and each.peer == link.peer and each.number < link.number
            for each in self._links.values()
        )

    def budget_bytes(self, connection: Connection, transfer_class: TransferClass) -> float:
        """What its budgets leave for another part, without what is under way; `BudgetSpent` when nothing."""
        room = self.budgets.room(connection, transfer_class)
        return room if room == math.inf else room - sum(each.outstanding for each in self.down.under_way)

    def intake(self, progress: Progress) -> Intake:
        """For a transfer of that class."""
        return Intake(self, progress)

    def outlet(self, connection: Connection) -> Outlet:
        """For an answer; answers to one peer share what it gets."""
        peer = connection.remote_id
        tally = self._tallies.get(peer)
        if tally is None:
            tally = self._tallies[peer] = _PeerTally()
        return Outlet(self, connection, tally)

    def close(self) -> None:
        """Looks at nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        self.up.close()
        self.down.close()

    def _set(self, rates: Rates) -> None:
        now = self.clock()
        self.up.ask_again()
        self.down.ask_again()
        self._total.bucket.change(rates.total, now)
        for lane, rate in ((self.up, rates.up), (self.down, rates.down)):
            lane.gate.limit(rate, now)
            for peer in {*lane.gate.limited_peers, *rates.peers}:
                lane.gate.limit_peer(peer, rates.peers.get(peer), now)  # type: ignore[call-overload]
        for each in TransferClass:
            self.down.gate.limit_class(each, rates.classes.get(each), now)
        for passage in tuple(self.down.under_way):
            rate = self.down.gate.tightest(passage.flow)
            if rate is not None and passage.outstanding > 2 * max(LEAST_PART_BYTES, rate * PART_SECONDS):
                passage.over.set()

    def _charge(self) -> None:
        now = self.clock()
        is_settled = now >= self._settled_at
        seconds, self._charged_at = min(now - self._charged_at, 1.0) / max(1, len(self._links)), now
        for connection, link in list(self._links.items()):
            if is_settled:
                link.charge(connection, self.up, self.down, seconds)
            else:
                link.begin(connection)

    def _look_again(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        has_windows = self.limits.next_change(self._now()) is not None
        counts = not self.rates.are_none or self.limits.budgets.ask_for_paths
        if has_windows or counts:
            seconds = LOOK_SECONDS if counts else _WINDOW_LOOK_SECONDS
            self._timer = asyncio.get_running_loop().call_later(seconds, self.apply)


class _PeerTally(Tally):
    """One that is forgotten with the last answer to its peer."""

    __slots__ = ("__weakref__",)
