"""One direction of all traffic: who waits for leave to move bytes, who has it, what each connection moves."""

import asyncio
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from peat_sidecar.classes import TransferClass
from peat_sidecar.ids import EndpointId
from peat_sidecar.net import Connection
from peat_sidecar.rate import Backlog, Flow, Gate, Request
from peat_sidecar.transfer.progress import Progress

_BESIDE_SHARE = 0.5
"""Of a rate, from which what went beside is paid: a handshake has 7 KB, a minute's worth at 1 kbit/s, and
getters bear five seconds of silence."""
_OWED_SECONDS = 60.0
"""What went beside more than that is forgotten."""


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
            self._take_back(request)
            raise
        finally:
            self._waiting.pop(request, None)
        return granted

    def _take_back(self, request: Request) -> None:
        """Nobody waits for it any more; it may have been granted since its task was cancelled."""
        if request.granted:
            self.gate.ended(request.flow)
            self.gate.correct(request.flow, -request.size, self.clock())
        else:
            self.gate.withdraw(request)
        self.pump()

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

    def __init__(self, lane: Lane, link: "Link", flow: Flow, progress: Progress, size: float) -> None:
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


class Link:
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
