"""The table of transfers: imports, fetches, exports and verifications, each a task of the daemon that any
number of callers watch.

A transfer outlives the call that began it. Of those that have ended the last hundred are remembered.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial

import structlog

from peat_sidecar.errors import NotFound, PeatError, Refused
from peat_sidecar.packages import Descriptor
from peat_sidecar.store import BlobInfo, StoredPackage
from peat_sidecar.transfer.events import TransferEvents
from peat_sidecar.transfer.progress import Progress

REMEMBERED = 100
RUNNING_LIMIT = 64
"""Transfers at once; the next one is refused until one of them has ended."""
WATCH_SECONDS = 0.2
_RATE_SAMPLES = 25
"""Five seconds of a watched transfer."""

_log = structlog.get_logger(__name__)


class TransferKind(Enum):
    """What a transfer does."""

    IMPORT = "import"
    FETCH = "fetch"
    EXPORT = "export"
    VERIFY = "verify"


class TransferState(Enum):
    """Whether it goes on, and how it ended."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What there is at the end of a transfer: a package, a blob, or a number of packages."""

    package: StoredPackage | None = None
    blob: BlobInfo | None = None
    referrers: tuple[StoredPackage, ...] = ()
    """Packages that refer to it and came with it."""
    foreign: tuple[Descriptor, ...] = ()
    """Layers that were left out, because their licence keeps them elsewhere."""
    packages: int = 0
    """Of an import of all that a place has: how many."""


Work = Callable[[Progress], Awaitable[Outcome]]


class Transfer:
    """One job and how far it is."""

    def __init__(self, kind: TransferKind, subject: str, other_side: str) -> None:
        self.id = secrets.token_hex(8)
        self.kind = kind
        self.subject = subject
        """What is transferred: a reference, a path, a hash."""
        self.other_side = other_side
        """Where from, or where to: a registry, a folder, a peer."""
        self.progress = Progress(events=TransferEvents(self.id))
        self.state = TransferState.RUNNING
        self.error: PeatError | None = None
        """Of one that failed."""
        self.outcome: Outcome | None = None
        """Of one that is done."""
        self._clock = asyncio.get_running_loop().time
        self._started = self._clock()
        self._ended: float | None = None
        self._samples: deque[tuple[float, int]] = deque([(self._started, 0)], _RATE_SAMPLES)
        self._over = asyncio.Event()

    @property
    def elapsed_seconds(self) -> float:
        """Since its start, up to its end."""
        return (self._ended or self._clock()) - self._started

    @property
    def bytes_per_second(self) -> float:
        """Over the last seconds while it is watched, else since it was looked at last; over all once it
        ended.
        """
        moved = self.progress.done_bytes - self.progress.skipped_bytes
        if self._ended is not None:
            return moved / max(self.elapsed_seconds, 1e-3)
        now = self._clock()
        if now - self._samples[-1][0] >= WATCH_SECONDS / 2:
            self._samples.append((now, moved))
        since, before = self._samples[0]
        return max(0, moved - before) / max(now - since, WATCH_SECONDS)

    @property
    def eta_seconds(self) -> float:
        """0 while it cannot be told."""
        rate, left = self.bytes_per_second, self.progress.total_bytes - self.progress.done_bytes
        return left / rate if rate and left > 0 and self._ended is None else 0.0

    async def wait(self) -> None:
        """Returns when it has ended, however."""
        await self._over.wait()

    def end(self, state: TransferState) -> None:
        """For the table: it is over."""
        self.state = state
        self.progress.waiting_for = ""
        self._ended = self._clock()
        self._over.set()


class Transfers:
    """All transfers of the daemon; lives on one event loop."""

    def __init__(self) -> None:
        self._running: dict[str, tuple[Transfer, asyncio.Task[TransferState]]] = {}
        self._ended: deque[Transfer] = deque(maxlen=REMEMBERED)
        self._closed = False

    def start(self, kind: TransferKind, subject: str, other_side: str, work: Work) -> Transfer:
        """Begins one. `Refused` when too many are running, or the daemon is stopping."""
        if self._closed:
            raise Refused("the daemon is stopping; start it again first")
        if len(self._running) >= RUNNING_LIMIT:
            raise Refused(f"{RUNNING_LIMIT} transfers are running; wait for one to end, or cancel one")
        transfer = Transfer(kind, subject, other_side)
        task = asyncio.create_task(self._run(transfer, work), name=f"{kind.value} {subject}")
        self._running[transfer.id] = transfer, task
        task.add_done_callback(partial(self._over, transfer))
        return transfer

    def get(self, id: str) -> Transfer:
        """`NotFound` for one that never was, or is forgotten."""
        if id in self._running:
            return self._running[id][0]
        for transfer in self._ended:
            if transfer.id == id:
                return transfer
        raise NotFound(
            f"there is no transfer {id[:64]!r}; the running ones and the last {REMEMBERED} are known"
        )

    def all(self) -> list[Transfer]:
        """Running ones and remembered ones, the newest first."""
        running = [transfer for transfer, _ in self._running.values()]
        return [*reversed(running), *reversed(self._ended)]

    def running(self) -> list[Transfer]:
        """Those that go on."""
        return [transfer for transfer, _ in self._running.values()]

    async def watch(self, id: str) -> AsyncIterator[Transfer]:
        """The transfer now, then a few times a second while it goes on, and at its end."""
        transfer = self.get(id)
        while transfer.state is TransferState.RUNNING:
            yield transfer
            try:
                async with asyncio.timeout(WATCH_SECONDS):
                    await transfer.wait()
            except TimeoutError:
                continue
        yield transfer

    def cancel(self, id: str) -> Transfer:
        """Ends a transfer; what came so far stays where it is kept. One that has ended stays as it is."""
        transfer = self.get(id)
        if id in self._running:
            self._running[id][1].cancel()
        return transfer

    async def close(self) -> None:
        """Ends all."""
        self._closed = True
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, transfer: Transfer, work: Work) -> TransferState:
        log = _log.bind(transfer=transfer.id, kind=transfer.kind.value, subject=transfer.subject)
        log.info("transfer started", other_side=transfer.other_side)
        try:
            transfer.outcome = await work(transfer.progress)
        except PeatError as error:
            transfer.error = error
            log.warning("transfer failed", error=str(error))
            return TransferState.FAILED
        except Exception:  # the edge of the transfer's task
            log.exception("transfer failed for a reason that was not foreseen")
            transfer.error = PeatError("a fault of the daemon itself; its log says more")
            return TransferState.FAILED
        log.info("transfer done", bytes=transfer.progress.done_bytes)
        return TransferState.DONE

    def _over(self, transfer: Transfer, task: asyncio.Task[TransferState]) -> None:
        """Also for one that was cancelled before it took its first step."""
        del self._running[transfer.id]
        self._ended.append(transfer)
        transfer.end(TransferState.CANCELLED if task.cancelled() else task.result())
