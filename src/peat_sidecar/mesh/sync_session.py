"""One peer's stream: what it says is taken in, what it lacks is given, what it has more of is asked for.

How an exchange goes:
1. Both say their digest. Equal: each holds what the other does, and nothing more is sent.
2. Otherwise the side with the smaller digest says all its heads, and the other one where its own differ.
3. Each asks for what it lacks (`Want`), but for each signer one peer only, and is given it in batches.
4. From then on what is new is given at once to a peer that is known to lack nothing before it; one that is
   far behind is told that there is more (`News`), and asks when it likes.
5. Every few minutes the digests are compared again. Where heads are equal and digests are not, something was
   left out: that signer's records are asked for from the beginning.

A batch that does not join on to what is held is not applied but asked for from our own head. What cannot be
verified ends the session; all else that is wrong is left aside.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

import structlog

from peat_sidecar.errors import PeerUnavailable, RemoteProtocolError
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh.sync_asks import Asks
from peat_sidecar.mesh.sync_copies import Copies, records_in
from peat_sidecar.mesh.sync_frames import joined, size_of
from peat_sidecar.mesh.sync_holdings import Holdings
from peat_sidecar.mesh.sync_outbox import Outbox
from peat_sidecar.mesh.throttle import Throttle
from peat_sidecar.net import Connection, Stream
from peat_sidecar.records import Fault, FaultKind
from peat_sidecar.wire import (
    Batches,
    Digest,
    Frame,
    FrameReader,
    Heads,
    News,
    Want,
    WireBatch,
    WireHead,
    encode_frame,
)

_READ_BYTES = 1 << 16
_WRITE_PIECE = 4096
"""Each piece has the write time to itself, so that a link of 1.1 kbit/s is not one that stands still."""
_FRAMES_AT_A_TIME = 32
"""Before others get their turn of the event loop."""
_FRAME_COST = 256
_POINT_COST = 40
_HEAD_COST = 60
_LOOKUP_COST = 4096
"""What reading heads or their digest from the records counts like, in bytes."""
_UNTRUE = frozenset({FaultKind.FORGED, FaultKind.MALFORMED})

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SyncTimes:
    """How long things take at most."""

    digest_seconds: float
    """Between two comparisons of digests, give or take a quarter."""
    write_seconds: float
    """A peer that takes nothing for so long is left."""
    ask_seconds: float
    """A peer that was asked and gives nothing for so long is not waited for."""
    news_seconds: float
    """What is new goes at once, but to each peer not more often than this."""
    sleep: Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class Shared:
    """What the sessions of one node have in common."""

    holdings: Holdings
    asks: Asks
    times: SyncTimes
    is_crowded: Callable[[], bool]
    is_active: bool = True
    sent_bytes: int = 0
    received_bytes: int = 0
    sessions: "set[Session]" = field(default_factory=set)

    def look_for_asks(self) -> None:
        """Somebody's questions may be open again: who can answer them?"""
        for session in self.sessions:
            session.outbox.look_for_asks()


class Session:
    """Runs until the stream ends, or for as long as the peer keeps to the protocol."""

    def __init__(self, connection: Connection, stream: Stream, shared: Shared) -> None:
        self.peer = connection.remote_id
        news_seconds = shared.times.news_seconds
        self.outbox = Outbox(shared.holdings, shared.asks, news_seconds=news_seconds, clock=_now)
        self._connection = connection
        self._stream = stream
        self._copies = Copies(connection, shared.is_crowded)
        self._shared = shared
        self._holdings = shared.holdings
        self._asks = shared.asks
        self._throttle = Throttle(_now())
        self._compared = self._settled = (b"", b"")
        """Digests, own and the peer's, that were compared last, and whose difference was gone into."""

    async def run(self) -> None:
        """Returns when the peer has left; raises a PeatError when it fails or is given up."""
        self._stream.stall_seconds = None  # silence is what an idle mesh is made of
        self._shared.sessions.add(self)
        self.outbox.say_digest(begins=True)
        work = [
            self._read(),
            self._read_copies(),
            self._write(),
            self._stream.stopped(),  # a peer that is gone is not read to the end of what it has left
            self._compare_now_and_then(),
            self._watch_asks(),
        ]
        tasks = [asyncio.create_task(each, name=f"sync with {self.peer.short}") for each in work]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._shared.sessions.discard(self)
            self.outbox.close()
            self._shared.look_for_asks()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def restart(self) -> None:
        """As at the beginning: what the peer holds is to be found out."""
        self._settled = (b"", b"")
        self.outbox.forget()
        self.outbox.say_digest(begins=True)

    # ---- reading

    async def _read(self) -> None:
        reader = FrameReader()
        while data := await self._stream.read(_READ_BYTES):
            self._shared.received_bytes += len(data)
            for turn, (frame, count) in enumerate(joined(reader.frames(data))):
                cost = await self._take(frame) if self._shared.is_active else 0
                if pause := self._throttle.charge(count * _FRAME_COST + cost, _now()):
                    await asyncio.sleep(pause)
                if turn % _FRAMES_AT_A_TIME == 0:
                    await asyncio.sleep(0)

    async def _read_copies(self) -> None:
        while (data := await self._connection.receive_datagram()) is not None:
            self._shared.received_bytes += len(data)
            cost = _FRAME_COST
            if self._shared.is_active:
                for frame in records_in(data, self._holdings.heads):
                    cost += await self._take_batches(frame.batches)
            if pause := self._throttle.charge(cost, _now()):
                await asyncio.sleep(pause)

    async def _take(self, frame: Frame) -> int:
        """Acts on a frame; what that cost for nothing, in bytes."""
        match frame:
            case Digest(value, begins):
                await self._take_digest(value, begins=begins)
                return _LOOKUP_COST
            case Heads(heads, asks):
                own = await self._take_heads(heads, asks=asks)
                return _LOOKUP_COST + _HEAD_COST * (len(heads) + own)
            case News(held):
                for signer, upto in held:
                    self.outbox.view.tell(signer, upto)
                    self._claim(signer, upto)
                self.outbox.look_for_asks()
                return _POINT_COST * len(held)
            case Want(wanted):
                for signer, after in wanted:
                    self.outbox.give(signer, after)
                return _POINT_COST * len(wanted)
            case Batches(batches):
                return await self._take_batches(batches)

    async def _take_digest(self, theirs: bytes, *, begins: bool) -> None:
        if begins:
            self._settled = (b"", b"")
            self.outbox.forget()
        heads = dict(self._holdings.heads)  # before the digest: what comes in between may be sent twice
        own = await self._holdings.digest()
        self._compared = (own, theirs)
        if own == theirs:
            self.outbox.view.meet(heads)
            self.outbox.wake.set()
        elif self._compared == self._settled:  # the two differ for good, as in what they have room for
            self.outbox.view.is_met = True
            self.outbox.wake.set()
        elif own < theirs:
            self.outbox.say_heads()
        else:  # the peer is the one to say its heads, once it knows
            self.outbox.say_digest()

    async def _take_heads(self, heads: tuple[WireHead, ...], *, asks: bool) -> int:
        """Finds out who lacks what; how many own heads were looked at."""
        own = await self._holdings.load()
        outbox = self.outbox
        if asks:
            outbox.answer(outbox.view.compare(heads, own, whole=True))
        elif outbox.told is not None:
            outbox.view.meet(outbox.told)
            outbox.told = None
            outbox.view.compare(heads, own, whole=False)
            outbox.wake.set()
        else:  # nobody has asked
            return len(own)
        self._settled = self._compared
        outbox.look_for_asks()
        return len(own)

    def _claim(self, signer: EndpointId, sequence: int) -> None:
        if signer not in self._holdings.unwelcome:
            self.outbox.view.claim(signer, sequence, self._holdings.heads.get(signer, 0))

    async def _take_batches(self, batches: tuple[WireBatch, ...]) -> int:
        for batch in batches:  # first, so that what is new does not go back to where it comes from
            self.outbox.view.give(batch.signer, batch.upto)
        async with self._holdings.lock:
            due = self._due(batches)
            merged = await self._holdings.merge(due, self.peer) if due else None
        if merged is not None:
            self._look_at(merged.faults)
        for batch in batches:
            self._judge(batch)
        self.outbox.look_for_asks()
        # New records pay for whatever came with them: a peer cannot make those of others.
        return 0 if merged is not None and merged.new else sum(map(size_of, batches))

    def _due(self, batches: Iterable[WireBatch]) -> list[WireBatch]:
        """Those that are worth verifying."""
        due = []
        heads: dict[EndpointId, int] = {}  # as they will be
        for batch in batches:
            signer = batch.signer
            head = heads.get(signer, self._holdings.heads.get(signer, 0))
            ask = self._asks.find(self.outbox, signer)
            helps = batch.upto > head or (ask is not None and ask.repairs)
            if helps and batch.after <= head and signer not in self._holdings.unwelcome:
                heads[signer] = max(head, batch.upto)
                due.append(batch)
        return due

    def _look_at(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            if fault.kind in _UNTRUE:
                raise RemoteProtocolError(
                    f"peer {self.peer.short} sent a record that is {fault.kind}: {fault.detail}"
                )
            if fault.kind is FaultKind.FLOOD and fault.signer is not None:
                self._holdings.refuse(fault.signer)

    def _judge(self, batch: WireBatch) -> None:
        """What a batch means for what is asked of the peer next."""
        head = self._holdings.heads.get(batch.signer, 0)
        if batch.upto <= head:
            self._asks.heard(self.outbox, batch.signer, batch.upto, _now())
        elif batch.after > head:
            self._claim(batch.signer, batch.upto)
        else:  # it joined on, and was not taken
            self._asks.give_up(self.outbox, batch.signer)
            self.outbox.view.fail(batch.signer, batch.upto)

    # ---- writing

    async def _write(self) -> None:
        while True:
            await self.outbox.wake.wait()
            self.outbox.wake.clear()
            while self._shared.is_active and (frames := await self.outbox.next_frames()):
                for frame in frames:
                    await self._send(data := encode_frame(frame))
                    if isinstance(frame, Batches):
                        self._copies.follow(data)

    async def _send(self, data: bytes) -> None:
        seconds = self._shared.times.write_seconds
        for start in range(0, len(data), _WRITE_PIECE):
            piece = data[start : start + _WRITE_PIECE]
            try:
                async with asyncio.timeout(seconds):
                    await self._stream.write(piece)
            except TimeoutError:
                raise PeerUnavailable(f"peer {self.peer.short} took nothing for {seconds:g} s") from None
            self._shared.sent_bytes += len(piece)

    # ---- now and then

    async def _compare_now_and_then(self) -> None:
        times = self._shared.times
        while True:
            await times.sleep(times.digest_seconds * random.uniform(0.75, 1.25))
            self._holdings.unwelcome.clear()
            self.outbox.view.forgive()
            self.outbox.told = None
            self.outbox.look_for_asks()
            self.outbox.say_digest()

    async def _watch_asks(self) -> None:
        """Leaves alone what this peer was asked for in vain, so that others are asked."""
        times = self._shared.times
        while True:
            await times.sleep(times.ask_seconds)
            quiet = self._asks.expire(self.outbox, _now())
            for signer, ask in quiet.items():
                self.outbox.view.fail(signer, ask.upto)
            if quiet:
                _log.info("a peer does not give what it has", peer=str(self.peer), signers=len(quiet))
                self._shared.look_for_asks()
            self.outbox.look_for_asks()


def _now() -> float:
    return asyncio.get_running_loop().time()
