"""Keeps trying to have a session with each peer that has an address: one dial at a time, back-off, jitter.

After a drop and after a failure a peer is dialled again, first after about a second, then less and less often
down to once a minute; one that refuses this node, or does not speak the mesh, down to once in ten minutes. It
is dialled at once when it is heard of again (`wake`). Waits are never quite alike, so that nodes that lost
each other, or a third one, do not all call at the same moment. It goes on for as long as the program: nobody
knows when an outage ends.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

from peat_sidecar.errors import PeatError, PeerUnavailable
from peat_sidecar.ids import EndpointId
from peat_sidecar.net import NotSpoken

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
REFUSED_WAIT_SECONDS = 600.0
STEADY_SECONDS = 30.0
"""A session that lasted so long has ended a series of failures."""

Dial = Callable[[EndpointId], Awaitable[PeatError | None]]
Sleep = Callable[[float], Awaitable[None]]


class Backoff:
    """How long to wait before the next try."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        """`jitter` gives 0 to 1."""
        self._jitter = jitter
        self._failed = 0

    def next(self, longest_seconds: float = LONGEST_WAIT_SECONDS) -> float:
        """Twice as long each time, of which at least half is waited for."""
        whole = min(longest_seconds, FIRST_WAIT_SECONDS * 2.0 ** min(self._failed, 20))
        self._failed += 1
        return whole * (0.5 + self._jitter() / 2)

    def reset(self) -> None:
        self._failed = 0


class Redial:
    """One peer's loop."""

    def __init__(
        self,
        dial: Callable[[], Awaitable[PeatError | None]],
        is_connected: Callable[[], bool],
        *,
        sleep: Sleep,
        clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        """`dial` says why there is no session, where there is none."""
        self._dial = dial
        self._is_connected = is_connected
        self._sleep = sleep
        self._clock = clock
        self._backoff = Backoff(jitter)
        self._changed = asyncio.Event()
        self._at_once = False
        self.next_at: float | None = None
        """By the clock; None while there is a session or a dial."""

    def wake(self) -> None:
        """Dials at once, where it waits."""
        self._at_once = True
        self._changed.set()

    def changed(self) -> None:
        """A session has begun or ended."""
        self._changed.set()

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            if self._is_connected():
                began = self._clock()
                await self._until_disconnected()
                if self._clock() - began >= STEADY_SECONDS:
                    self._backoff.reset()
                self._at_once = False
                await self._pause(self._backoff.next())
            else:
                self._at_once = False
                failure = await self._dial()
                if not self._is_connected():
                    await self._pause(self._backoff.next(_longest(failure)))

    async def _until_disconnected(self) -> None:
        while self._is_connected():
            self._changed.clear()
            await self._changed.wait()

    async def _pause(self, seconds: float) -> None:
        """Ends early when there is a session, or when it is woken, but then not at once: whoever can wake it
        cannot make it call all the time.
        """
        self.next_at = self._clock() + seconds
        soonest = min(seconds, FIRST_WAIT_SECONDS / 2)
        try:
            await self._wait(soonest, heed_wake=False)
            await self._wait(seconds - soonest, heed_wake=True)
        finally:
            self.next_at = None

    async def _wait(self, seconds: float, *, heed_wake: bool) -> None:
        if seconds <= 0:
            return
        sleeping = asyncio.ensure_future(self._sleep(seconds))
        try:
            while not (sleeping.done() or self._is_connected() or (heed_wake and self._at_once)):
                self._changed.clear()
                waiting = asyncio.ensure_future(self._changed.wait())
                try:
                    await asyncio.wait({sleeping, waiting}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waiting.cancel()
        finally:
            sleeping.cancel()


class Dialler:
    """All peers' loops, and the dials that are under way, which whoever asks for one shares."""

    def __init__(
        self,
        dial: Dial,
        is_connected: Callable[[EndpointId], bool],
        *,
        sleep: Sleep,
        clock: Callable[[], float],
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._attempt = dial
        self._is_connected = is_connected
        self._sleep = sleep
        self._clock = clock
        self._jitter = jitter
        self._running = False
        self._loops: dict[EndpointId, tuple[Redial, asyncio.Task[None]]] = {}
        self._dials: dict[EndpointId, asyncio.Task[PeatError | None]] = {}

    def start(self) -> None:
        """From now on dials are made."""
        self._running = True

    async def stop(self) -> None:
        """Ends all loops and dials."""
        self._running = False
        tasks = [*(task for _, task in self._loops.values()), *self._dials.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._loops.clear()
        self._dials.clear()

    def keep(self, peer: EndpointId) -> None:
        """From now on there is to be a session with that peer."""
        if not self._running or peer in self._loops:
            return
        loop = Redial(
            lambda: self.dial(peer),
            lambda: self._is_connected(peer),
            sleep=self._sleep,
            clock=self._clock,
            jitter=self._jitter,
        )
        self._loops[peer] = (loop, asyncio.create_task(loop.run(), name="keep a session"))

    def release(self, peer: EndpointId) -> None:
        """Not any more; a dial under way is given up."""
        if (kept := self._loops.pop(peer, None)) is not None:
            kept[1].cancel()
        if (dial := self._dials.pop(peer, None)) is not None:
            dial.cancel()

    def wake(self, peer: EndpointId) -> None:
        """It was heard of: dials at once."""
        if peer in self._loops:
            self._loops[peer][0].wake()

    def changed(self, peer: EndpointId) -> None:
        """Its session has begun or ended."""
        if peer in self._loops:
            self._loops[peer][0].changed()

    def next_dial_seconds(self, peer: EndpointId) -> float | None:
        """How long it is until the next dial; None when none is due."""
        kept = self._loops.get(peer)
        if kept is None or kept[0].next_at is None:
            return None
        return max(0.0, kept[0].next_at - self._clock())

    def is_dialling(self, peer: EndpointId) -> bool:
        return peer in self._dials

    async def dial(self, peer: EndpointId) -> PeatError | None:
        """Dials, unless a dial is under way, whose end is awaited then. Why there is no session, if so."""
        if not self._running:
            return PeerUnavailable("this node dials nobody at the moment")
        dial = self._dials.get(peer)
        if dial is None:
            dial = self._dials[peer] = asyncio.create_task(self._once(peer), name="dial a member")
        # Not awaited itself: one who gives up must not take the session away from the others who wait for it.
        await asyncio.wait({dial})
        if dial.cancelled():
            return PeerUnavailable(f"dialling peer {peer.short} was given up here")
        return dial.result()

    async def _once(self, peer: EndpointId) -> PeatError | None:
        try:
            return await self._attempt(peer)
        finally:
            if self._dials.get(peer) is asyncio.current_task():
                del self._dials[peer]


def _longest(failure: PeatError | None) -> float:
    """Who is not there may be back at any moment; who says no will say so again."""
    absent = failure is None or (isinstance(failure, PeerUnavailable) and not isinstance(failure, NotSpoken))
    return LONGEST_WAIT_SECONDS if absent else REFUSED_WAIT_SECONDS
