"""What one peer is to be sent, worked out at the moment its stream has room: the short and urgent first.

Only this module reads records to send them. What was found while the session began anew is thrown away.
"""

import asyncio
from collections.abc import Callable
from itertools import islice

from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh.sync_asks import WINDOW, Asks
from peat_sidecar.mesh.sync_holdings import Holdings
from peat_sidecar.mesh.sync_view import PeerView
from peat_sidecar.wire import Batches, Digest, Frame, Heads, Held, News, Want, Wanted, WireHead

BATCH_BYTES = 192 << 10
"""Records in one frame that was asked for."""
PUSH_BYTES = 64 << 10
"""Records in one frame that was not."""
_SIGNERS_AT_A_TIME = 256


class Outbox:
    """Of one session. `wake` is set whenever there may be something to send."""

    def __init__(
        self, holdings: Holdings, asks: Asks, *, news_seconds: float, clock: Callable[[], float]
    ) -> None:
        """`news_seconds`: the least time between two frames with news; meanwhile they are collected."""
        self.wake = asyncio.Event()
        self.view = PeerView()
        self.told: dict[EndpointId, int] | None = None
        """Heads that the peer was told of, and whose answer is awaited."""
        self._holdings = holdings
        self._asks = asks
        self._news_seconds = news_seconds
        self._news_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._clock = clock
        self._says_digest = self._begins = self._says_heads = self._looks_for_asks = False
        self._answer: tuple[WireHead, ...] | None = None

    def forget(self) -> None:
        """What was said so far does not count any more."""
        self._asks.drop(self)
        self.view = PeerView()
        self.told = self._answer = None
        self._says_heads = self._looks_for_asks = False

    def say_digest(self, *, begins: bool = False) -> None:
        """To be compared with the peer's."""
        self._says_digest = True
        self._begins = self._begins or begins
        self.wake.set()

    def say_heads(self) -> None:
        """All of them, once: the peer's answer says where its own differ."""
        if self.told is None:
            self._says_heads = True
            self.wake.set()

    def answer(self, differing: tuple[WireHead, ...]) -> None:
        """To what the peer has said of its heads."""
        self._answer = differing
        self.wake.set()

    def give(self, signer: EndpointId, after: int) -> None:
        """The peer asks for records."""
        if self.view.want(signer, after, self._holdings.heads.get(signer, 0)):
            self.wake.set()

    def add_news(self, signers: frozenset[EndpointId]) -> None:
        """This node has more of some signers."""
        known, heads = self.view.known, self._holdings.heads
        news = {signer for signer in signers if known.get(signer, 0) < heads.get(signer, 0)}
        if news:
            self.view.news |= news
            self.wake.set()

    def look_for_asks(self) -> None:
        """What the peer has more of may be asked for now."""
        if self.view.lacking or self.view.repairs:
            self._looks_for_asks = True
            self.wake.set()

    async def next_frames(self) -> list[Frame]:
        """What is to be written now; none when there is nothing."""
        if self._says_digest:
            begins, self._says_digest, self._begins = self._begins, False, False
            return [Digest(await self._holdings.digest(), begins)]
        if self._says_heads:
            self._says_heads = False
            own = await self._holdings.load()
            self.told = {signer: head.sequence for signer, head in own.items()}
            heads = (WireHead(signer, head.sequence, head.digest) for signer, head in own.items())
            return [Heads(tuple(heads), asks=True)]
        if self._answer is not None:
            answer, self._answer = self._answer, None
            return [Heads(answer)]
        if self._looks_for_asks and (want := self._next_want()):
            return [want]
        if self.view.is_met and self.view.news and self._is_time() and (frames := await self._next_news()):
            self._news_at = self._clock() + self._news_seconds
            return frames
        return await self._next_owed()

    def close(self) -> None:
        """Wakes nobody any more."""
        self._asks.drop(self)
        if self._timer is not None:
            self._timer.cancel()

    def _is_time(self) -> bool:
        """Whether news may go out now; otherwise they are looked at again when they may."""
        early = self._news_at - self._clock()
        if early > 0 and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(early, self._ring)
        return early <= 0

    def _ring(self) -> None:
        self._timer = None
        self.wake.set()

    def _next_want(self) -> Want | None:
        """Asks for what this peer has more of and nobody else was asked for."""
        view, asks, now = self.view, self._asks, self._clock()
        room = asks.room(self)
        if room < WINDOW // 2:  # it is looked at again as the peer gives
            return None
        self._looks_for_asks = False
        wanted: list[Wanted] = []
        for signer, upto in list(view.lacking.items()):
            head = self._holdings.heads.get(signer, 0)
            if upto <= head or signer in self._holdings.unwelcome:
                del view.lacking[signer]
            elif len(wanted) < room and asks.begin(self, signer, upto, now):
                wanted.append(Wanted(signer, head))
        for signer, upto in list(view.repairs.items()):
            if len(wanted) < room and asks.begin(self, signer, upto, now, repairs=True):
                del view.repairs[signer]
                wanted.append(Wanted(signer, 0))
        return Want(tuple(wanted)) if wanted else None

    async def _next_news(self) -> list[Frame]:
        """Gives what is new; where that is much, says that it is there."""
        view, heads = self.view, self._holdings.heads
        points, more = self._take_news()
        found = await self._holdings.collect(points, PUSH_BYTES) if points else []
        if view is not self.view:
            return []
        view.news.update(signer for signer, _ in points[len(found) :])
        given = []
        for signer, _, batch in found:
            if batch is None:
                continue
            if batch.upto < heads[signer] and signer not in view.news:
                view.far.add(signer)
                more.append(Held(signer, heads[signer]))
            else:
                view.give(signer, batch.upto)
                given.append(batch)
        frames: list[Frame] = [Batches(tuple(given))] if given else []
        return [*frames, News(tuple(more))] if more else frames

    def _take_news(self) -> tuple[list[tuple[EndpointId, int]], list[Held]]:
        """Some signers of whom the peer lacks something: from where on, or that it is far behind."""
        view, heads = self.view, self._holdings.heads
        points: list[tuple[EndpointId, int]] = []
        far: list[Held] = []
        for signer in list(islice(view.news, _SIGNERS_AT_A_TIME)):
            view.news.discard(signer)
            known, head = view.known.get(signer, 0), heads.get(signer, 0)
            if known >= head or signer in view.owed:  # what is owed goes on up to our head
                continue
            if signer in view.far:
                far.append(Held(signer, head))
            else:
                points.append((signer, known))
        return points, far

    async def _next_owed(self) -> list[Frame]:
        """Gives what was asked for."""
        view = self.view
        while view.owed:
            points = list(islice(view.owed.items(), _SIGNERS_AT_A_TIME))
            found = await self._holdings.collect(points, BATCH_BYTES)
            if view is not self.view:
                return []
            for signer, after, batch in found:
                if view.owed.get(signer) != after:
                    continue  # it has asked anew
                if batch is None or batch.upto >= self._holdings.heads.get(signer, 0):
                    del view.owed[signer]
                else:
                    view.owed[signer] = batch.upto
                if batch is not None:
                    view.give(signer, batch.upto)
            if given := tuple(batch for _, _, batch in found if batch is not None):
                return [Batches(given)]
        return []
