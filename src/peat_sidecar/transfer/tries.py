"""Work that needs peers: with one across its breaks, with the first of several that can, with all at once.

A peer that breaks off is tried again as long as that makes sense, one that lacks something is left for the
next one, one that sends wrong bytes is not asked again. What is wrong with content says from whom it is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from peat_sidecar.errors import BudgetSpent, NotFound, PeatError, PeerUnavailable
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.net import Connection, ConnectionClosed, Pool, StreamEnded, StreamReset
from peat_sidecar.transfer.blame import blaming, is_lie, is_of_peer
from peat_sidecar.transfer.board import Board
from peat_sidecar.transfer.intake import Intake
from peat_sidecar.transfer.large_blobs import LargeBlobs
from peat_sidecar.transfer.patience import Patience
from peat_sidecar.transfer.progress import Progress
from peat_sidecar.transfer.sharing import end
from peat_sidecar.transfer.sources import Sources
from peat_sidecar.wire import ALPN, ErrorCode

T = TypeVar("T")
Work = Callable[[Connection], Awaitable[T]]
_GAIN_BYTES = 16 << 10
"""Less than this on the wire, with nothing kept, is no gain, nor is as much as came before: a peer could send
it for ever."""
_AGAIN_SECONDS = 10.0
"""Until a peer that failed is tried once more, where peers are waited for."""


class Tries:
    """For all fetches of the program."""

    def __init__(self, pool: Pool, patience: Callable[[], Patience]) -> None:
        self._pool = pool
        self._patience = patience

    @property
    def own(self) -> EndpointId:
        """What peers know this node by."""
        return self._pool.id

    async def one(
        self,
        peer: PeerAddress,
        progress: Progress,
        work: Work[T],
        *,
        hurried: bool = False,
        came: Callable[[], int] | None = None,
    ) -> T:
        """Does work over a connection to the peer, again after each break, as long as that makes sense.

        A peer that was never reached is given up at once: most likely its address is wrong. `hurried`: so is
        one that breaks off, since there are others. `came` counts verified bytes of this peer, where others
        add to the progress as well: what they bring is no merit of its own.
        """
        patience = self._patience()
        met = False
        furthest = 0
        while True:
            connection: Connection | None = None
            before, wire_before = came() if came else progress.done_bytes, progress.wire_bytes
            try:
                connection = await self._pool.connection(peer, ALPN)
                met = True
                with blaming(peer), progress.source(peer.endpoint_id).connected():
                    return await work(connection)
            except StreamReset as reset:
                if reset.code != ErrorCode.INTERNAL:
                    raise
                failure: PeerUnavailable = reset
            except PeerUnavailable as error:
                if isinstance(error, ConnectionClosed) and error.code == ErrorCode.PERMISSION:
                    raise ConnectionClosed(f"{error}, {self._pool.id}", error.code) from None
                if not met:
                    raise
                failure = error
            if connection is not None and not isinstance(failure, StreamEnded | StreamReset):
                self._pool.discard(connection)
            after = came() if came else progress.done_bytes
            wire = 0 if came else progress.wire_bytes - wire_before
            if after > before or wire >= furthest + _GAIN_BYTES:
                patience.gained()
            elif hurried:
                raise failure
            furthest = max(furthest, wire)
            progress.lost(peer.endpoint_id, str(failure))
            progress.waiting_for = f"{failure}; trying again"
            await patience.bear(
                failure, reached=connection is not None, returned=lambda: self._pool.returns.wait(peer)
            )

    async def first(self, sources: Sources, progress: Progress, work: Work[T]) -> T:
        """Does work with one peer after the other, until it succeeds; else the first one's error."""
        peers = sources.current
        errors: list[PeatError] = []
        for peer in peers:
            try:
                return await self.one(peer, progress, work, hurried=len(peers) > 1)
            except PeatError as error:
                if not is_of_peer(error):
                    raise
                _part(sources, progress, peer.endpoint_id, error)
                errors.append(error)
        raise _first_to_tell([*errors, *sources.faults.values()])

    async def all(self, sources: Sources, board: Board, intake: Intake) -> None:
        """Has every peer work on a board, until everything on it is here; who appears meanwhile joins in."""
        crew = _Crew(self, sources, board, intake)
        try:
            await crew.work()
        finally:
            await crew.close()

    async def work_on(self, board: Board, peer: PeerAddress, intake: Intake) -> None:
        """One peer's part in `all`."""
        came = 0

        async def more(number: int) -> Connection:
            return await self._pool.connection(peer, ALPN, number)

        async def work(connection: Connection) -> None:
            nonlocal came
            blobs = LargeBlobs(board, connection, more, intake)
            try:
                await blobs.fetch()
            finally:
                came += blobs.came_bytes

        await self.one(peer, intake.progress, work, came=lambda: came)


class _Crew:
    """The peers that are at work on one board."""

    def __init__(self, tries: Tries, sources: Sources, board: Board, intake: Intake) -> None:
        self._tries = tries
        self._sources = sources
        self._board = board
        self._intake = intake
        self._progress = intake.progress
        self._at_work: dict[asyncio.Task[None], EndpointId] = {}
        self._away: dict[EndpointId, float] = {}
        """Peers that failed or lack the rest, and when they are asked again (loop time)."""
        self._errors: list[PeatError] = []
        self._news: asyncio.Task[None] | None = None

    async def work(self) -> None:
        """Until everything is here. Raises what is wrong with the content or with this side, and when no peer
        is left, the first peer's error.
        """
        while self._board.fault is None and not self._board.is_done:
            self._engage()
            if not self._at_work:
                raise _first_to_tell([*self._errors, *self._sources.faults.values()])
            await self._something()
        if self._board.fault is not None:  # its blob is off the board, and lacks nothing any more
            raise self._board.fault

    async def close(self) -> None:
        """Ends all of them."""
        await end([*self._at_work, *([self._news] if self._news is not None else [])])

    def _engage(self) -> None:
        now = asyncio.get_running_loop().time()
        busy = set(self._at_work.values())
        for peer in self._sources.current:
            id = peer.endpoint_id
            if id in busy or self._away.get(id, 0.0) > now:
                continue
            work = self._tries.work_on(self._board, peer, self._intake)
            self._at_work[asyncio.create_task(work, name=f"fetch from {id.short}")] = id

    async def _something(self) -> None:
        """Waits until a peer is through or fails, or others appear, or one may be asked again."""
        if self._news is None or self._news.done():
            self._news = asyncio.create_task(self._sources.changed(), name="look for other peers")
        now = asyncio.get_running_loop().time()
        again = [at - now for at in self._away.values() if at > now]
        await asyncio.wait(
            [*self._at_work, self._news],
            timeout=min(again, default=None),
            return_when=asyncio.FIRST_COMPLETED,
        )
        if self._news.done():
            self._board.tell()
        for task in [task for task in self._at_work if task.done()]:
            self._ended(task, self._at_work.pop(task))
        for peer in self._sources.take_returned():
            self._away.pop(peer, None)

    def _ended(self, task: asyncio.Task[None], peer: EndpointId) -> None:
        if task.cancelled():
            raise asyncio.CancelledError
        error = task.exception()
        if error is None:
            lacking = self._board.lacking()
            if lacking:
                error = NotFound(f"peer {peer.short} holds {lacking}")
        if error is not None and not is_of_peer(error):
            raise error
        if isinstance(error, PeatError):
            _part(self._sources, self._progress, peer, error)
            self._errors.insert(0 if is_lie(error) else len(self._errors), error)
        waits = _AGAIN_SECONDS if isinstance(error, BudgetSpent) else float("inf")
        self._away[peer] = asyncio.get_running_loop().time() + waits


def _part(sources: Sources, progress: Progress, peer: EndpointId, error: PeatError) -> None:
    """Remembers and tells why a peer is not asked any more."""
    if is_lie(error):
        sources.ban(peer, error)
        progress.banned(peer, str(error))
    else:
        sources.faults[peer] = error
        progress.left(peer, str(error), lacks=isinstance(error, NotFound))


def _first_to_tell(errors: Sequence[PeatError]) -> PeatError:
    """Of what went wrong with each peer: what passes by itself, else the first."""
    spent = [each for each in errors if isinstance(each, BudgetSpent)]
    return next(iter([*spent, *errors]), PeerUnavailable("no peer is known that could be asked"))
