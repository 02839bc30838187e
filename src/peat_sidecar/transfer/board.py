"""The large blobs that one fetch wants: which parts are free, which are under way, what is proven.

Several peers take parts from it at once. A blob is opened when its first part is due, so that few are open,
and published when its last group is here, whoever brought it.
"""

import asyncio
import random
from collections.abc import Callable, Hashable, Iterable
from dataclasses import InitVar, dataclass, field

from peat_sidecar.bao import Verified
from peat_sidecar.errors import PeatError, Refused
from peat_sidecar.ids import BlobHash
from peat_sidecar.ranges import CHUNK_SIZE, ChunkRanges, chunk_count
from peat_sidecar.store import PartialBlob, Store
from peat_sidecar.transfer.blame import misnaming
from peat_sidecar.transfer.coming import Coming, Taken, close_all
from peat_sidecar.transfer.crowd import Crowd
from peat_sidecar.transfer.division import MOST_CHUNKS, WORTH_SECONDS, Division, Part
from peat_sidecar.transfer.progress import Progress
from peat_sidecar.transfer.readings import Readings
from peat_sidecar.transfer.threads import in_thread, opened, to_its_end
from peat_sidecar.transfer.wants import Want

OPEN_BLOBS = 8
"""Blobs at once, so that peers that lack some can work on others."""
PART_SECONDS = 8.0
"""How long a part takes at the rate of whoever takes it: its beginning costs a round trip."""
SPREAD_PART_SECONDS = 1.0
"""The same where others get the blob too: what they are at is not known, so it had better be little."""
SPREAD_FIRST_SECONDS = 0.25
SPREAD_LEAST_RATE = 32.0
"""Chunks a second that are expected there of any peer: smaller parts cost more than they bring."""
READ_PART_SECONDS = 1.0
"""The same of what somebody reads: parts that come at once are to be needed soon."""
SPREAD_WORTH_SECONDS = 5.0
"""What has to be gained there by taking over: most streams idle now and then, and links are shared."""

Held = Callable[[Want], ChunkRanges]
"""What a peer holds of a blob."""


@dataclass(slots=True)
class Board:
    """One for a fetch. Lives on one event loop."""

    store: Store
    wants: InitVar[Iterable[Want]]
    progress: Progress
    spread: bool = False
    """Others may be getting the same: parts begin anywhere, and are small once several peers are at work.
    Else they come in order.
    """
    crowd: Crowd = field(default_factory=Crowd)
    """The peers that are at work: what few of them hold is taken first."""
    readings: Readings = field(default_factory=Readings)
    """Blobs that somebody reads come before all others, in order, from where they are read."""
    takers: int = 0
    """How many streams take parts."""
    fault: PeatError | None = None
    """What ends the whole fetch, whoever is asked: content that is not what its digest says, or a store that
    cannot publish it."""
    _unopened: dict[BlobHash, Want] = field(init=False)
    _coming: list[Coming] = field(default_factory=list)
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    _deferred: dict[Want, ChunkRanges] = field(default_factory=dict)
    """Put away, since nobody was at them, and what they lack; taken up by whom holds some of it."""
    _began: float = 0.0
    """When the first part was taken."""
    _opened: int = 0
    """So many times."""
    _waiting: set[asyncio.Future[None]] = field(default_factory=set)

    def __post_init__(self, wants: Iterable[Want]) -> None:
        self._unopened = {want.hash: want for want in wants}

    @property
    def is_done(self) -> bool:
        """Everything is here."""
        return not (self._unopened or self._coming or self._deferred)

    @property
    def is_busy(self) -> bool:
        """Parts are under way, or blobs are being opened or published."""
        at_work = any(each.division.parts or each.publishing for each in self._coming)
        return at_work or self._opening.locked()

    def lacking(self) -> str:
        """What is missing of the first blob that is not whole; empty when nothing is."""
        for want in (*self._deferred, *(each.want for each in self._coming)):
            info = self.store.find(want.hash)
            present = info.present if info is not None else 0
            return (
                f"blob {want.hash} only in part: {present} of {want.size} bytes are here;"
                " fetch it again later"
            )
        return ""

    def may_have(self, held: Held, *, over: bool = True) -> bool:
        """Whether `take` may find something; `over`: also what others are at."""
        return (
            bool(self._unopened)
            or any(
                each.division.free & held(each.want) or (over and each.division.parts)
                for each in self._coming
            )
            or any(held(each) & lacking for each, lacking in self._deferred.items())
        )

    async def take(
        self,
        held: Held,
        rate: float | None,
        most_bytes: int | None = None,
        *,
        peer: Hashable = None,
        over: bool = True,
    ) -> Taken | None:
        """A part that a peer holds; None when there is none for it now. `rate` is in chunks a second,
        None before it is known; `over`: what others are slow at may be taken over. Raises what ends the whole
        fetch.
        """
        most = most_bytes // CHUNK_SIZE if most_bytes is not None else MOST_CHUNKS
        now = asyncio.get_running_loop().time()
        worth = SPREAD_WORTH_SECONDS if self.is_crowded else WORTH_SECONDS
        while True:
            if self.fault is not None:
                raise self.fault
            for coming in self._first(held):
                part = self._free_part(coming, held, rate, most, now, peer)
                if part is not None:
                    return coming.take(part)
            if not self._unopened and not self._deferred:
                break
            if not await to_its_end(self._open_next(held, self._opened)):
                break
        if not over:
            return None
        for coming in self._coming:
            part = coming.division.take_over(held(coming.want), rate, now, worth=worth, most=most, peer=peer)
            if part is not None:
                return coming.take(part)
        return None

    def _first(self, held: Held) -> list[Coming]:
        """Open blobs to take from before another one is opened, the best first."""
        read = [each for each in self._coming if each.want.hash in self.readings]
        if self._read_next(held) is not None:
            return read
        return [*read, *(each for each in self._coming if each.want.hash not in self.readings)]

    def _free_part(
        self, coming: Coming, held: Held, rate: float | None, most: int, now: float, peer: Hashable
    ) -> Part | None:
        want = coming.want
        is_read = want.hash in self.readings
        start = random.randrange(chunk_count(want.size)) if self.spread else 0
        return coming.division.take(
            held(want),
            max(rate or 0.0, SPREAD_LEAST_RATE) if self.spread else rate,
            READ_PART_SECONDS if is_read else self._part_seconds(now),
            now,
            start=self.readings.at(want.hash) // CHUNK_SIZE if is_read else start,
            maps=() if is_read else self.crowd.maps_of(want),
            takers=max(1, self.takers),
            most=most,
            peer=peer,
        )

    def _part_seconds(self, now: float) -> float:
        """Of who else gets the blob nothing is known at first, and what a seed is asked for until then others
        may ask it for as well.
        """
        if not self.spread:
            return PART_SECONDS
        self._began = self._began or now
        longest = SPREAD_PART_SECONDS if self.is_crowded else PART_SECONDS
        return min(max((now - self._began) / 2, SPREAD_FIRST_SECONDS), longest)

    @property
    def is_crowded(self) -> bool:
        """Several peers are at work, and others take from them too."""
        return self.spread and len(self.crowd) > 1

    async def write(self, taken: Taken, run: Verified) -> None:
        """Keeps a verified run of a part; one of a blob that is whole already is left. A cancel takes effect
        when it is done: else what is on disk would not be counted.
        """
        await to_its_end(self._write(taken, run))

    async def _write(self, taken: Taken, run: Verified) -> None:
        coming = taken.blob
        if coming.publishing or coming not in self._coming:
            return
        coming.writing += 1
        try:
            fresh = await in_thread(coming.partial.write, run)
            self.progress.done_bytes += fresh
            end = run.start + chunk_count(len(run.data))
            now = asyncio.get_running_loop().time()
            coming.division.arrived(taken.part, ChunkRanges.of(run.start, end), now)
        finally:
            coming.writing -= 1
        for each in coming.taken:
            if not each.part.left and each is not taken:
                each.over.set()
        await self._publish(coming)

    async def settle(self, taken: Taken) -> None:
        """The part is over, however: what did not come is free again; a blob that is whole is published."""
        taken.blob.division.give_back(taken.part)
        taken.blob.taken.remove(taken)
        self.tell()
        await to_its_end(self._publish(taken.blob))

    async def _publish(self, coming: Coming) -> None:
        is_ready = coming.division.is_over and not coming.writing and not coming.publishing
        if not is_ready or coming not in self._coming:
            return
        coming.publishing = True
        try:
            with misnaming(f"blob {coming.want.hash} was named for another"):
                await in_thread(coming.partial.finish)
            self.progress.done_blobs += 1
        except PeatError as error:
            self.fault = error
            raise
        finally:
            coming.publishing = False
            self._coming.remove(coming)
            await in_thread(coming.partial.close)
            self.tell()

    async def changed(self) -> None:
        """Waits until a part was given back, a blob is whole, or a peer holds more."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

    async def close(self) -> None:
        """Puts away what is open."""
        coming, self._coming = self._coming, []
        await in_thread(close_all, coming)

    def tell(self) -> None:
        """There may be something to take: it was given back, a peer holds more, or another one has come."""
        for each in self._waiting:
            if not each.done():
                each.set_result(None)

    async def _open_next(self, held: Held, seen: int) -> bool:
        """Whether there may be another blob to take from, also because another taker has opened one since so
        many were seen.
        """
        async with self._opening:
            if self._opened != seen:
                return True
            read = self._read_next(held)
            if read is None and len(self._coming) >= OPEN_BLOBS and not self._idle():
                return False
            want = read or self._next(held)
            if want is None:
                return False
            if len(self._coming) >= OPEN_BLOBS:
                await self._defer()
            coming = await self._open(want)
            self._unopened.pop(want.hash, None)
            self._deferred.pop(want, None)
            self._opened += 1
            if coming is not None:
                self._coming.append(coming)
                await self._publish(coming)
            return True

    def _next(self, held: Held) -> Want | None:
        """One that was not opened yet, or was put away and can go on with what is held."""
        able = (each for each, lacking in self._deferred.items() if held(each) & lacking)
        return next(iter(self._unopened.values()), None) or next(able, None)

    def _read_next(self, held: Held) -> Want | None:
        """The same of what somebody reads; it is opened however many are."""
        unopened = (self._unopened[blob] for blob in self.readings if blob in self._unopened)
        deferred = self._deferred.items()
        able = (each for each, lacking in deferred if each.hash in self.readings and held(each) & lacking)
        return next(unopened, None) or next(able, None)

    def _idle(self) -> Coming | None:
        """An open blob that nobody is at."""
        return next((each for each in self._coming if not each.division.parts and not each.publishing), None)

    async def _defer(self) -> None:
        """Makes room for another blob."""
        idle = self._idle()
        if idle is not None:
            self._coming.remove(idle)
            self._deferred[idle.want] = idle.division.free
            await in_thread(idle.partial.close)

    async def _open(self, want: Want) -> Coming | None:
        """None for a blob that has come another way meanwhile, as by an import."""
        known = await in_thread(self.store.find, want.hash)
        try:
            partial = await opened(
                lambda: self.store.partial(
                    want.hash, want.size, expected=want.digest, media_type=want.media_type
                ),
                PartialBlob.close,
            )
        except Refused:
            known = await in_thread(self.store.find, want.hash)
            if known is not None and known.complete:
                return None
            raise
        self.progress.skip(partial.present - (known.present if known else 0))
        missing = ChunkRanges.all().clamp(want.size) - partial.have
        return Coming(want, partial, Division(missing))
