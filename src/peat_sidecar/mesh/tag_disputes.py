"""Where two signers disagree on a tag: the policy decides, and the other is told of as a fault."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import structlog

from peat_sidecar.errors import PeatError
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh.offers import PACKAGES, Offer, Offers, offer_of
from peat_sidecar.mesh.paging import every_document
from peat_sidecar.mesh.policy import same_arch
from peat_sidecar.mesh.wake import Sleep, Wake
from peat_sidecar.records import Change, Document, FaultKind

SETTLE_SECONDS = 0.2
"""Between two looks: many records come at once."""
_PENDING_LIMIT = 10_000
_TOLD_LIMIT = 10_000

_log = structlog.get_logger(__name__)


class KeepsFaults(Protocol):
    """The part of the records that is needed here."""

    def blame(self, collection: str, doc_id: str, detail: str, kind: FaultKind, /) -> EndpointId | None:
        """Remembers a fault of the owner of a document."""
        ...

    def documents(self, collection: str, /, *, after: str = "", limit: int = 1000) -> list[Document]:
        """A page in the order of the ids."""
        ...

    def subscribe(self, listener: Callable[[Sequence[Change]], None], /) -> Callable[[], None]:
        """Called after each commit, in the writing thread."""
        ...


class TagDisputes:
    """`run` drives it on the event loop."""

    def __init__(self, records: KeepsFaults, offers: Offers, *, sleep: Sleep = asyncio.sleep) -> None:
        self._records = records
        self._offers = offers
        self._sleep = sleep
        self._wake = Wake(sleep)
        self._lock = threading.Lock()
        self._pending: set[str] | None = None
        """References that have to be looked at; None: all."""
        self._told: dict[Offer, None] = {}

    async def run(self) -> None:
        """Until it is cancelled."""
        end = self._records.subscribe(self._changed)
        try:
            while True:
                try:
                    await asyncio.to_thread(self._look)
                except PeatError as error:
                    _log.warning("it cannot be told who disagrees on tags", error=str(error))
                await self._sleep(SETTLE_SECONDS)
                await self._wake.wait()
        finally:
            end()

    def _changed(self, changes: Sequence[Change]) -> None:
        documents = (each.document for each in changes if each.collection == PACKAGES)
        found = _references([each for each in documents if each is not None])
        with self._lock:
            if self._pending is not None:
                self._pending |= found
                if len(self._pending) > _PENDING_LIMIT:
                    self._pending = None
        if found:
            self._wake.set()

    # in a thread

    def _look(self) -> None:
        with self._lock:
            pending, self._pending = self._pending, set()
        if pending is None:
            pending = _references(every_document(self._records, PACKAGES))
        for reference in pending:
            self._judge(reference)

    def _judge(self, reference: str) -> None:
        offers = [each for each in self._offers.named(reference) if not each.origin]
        if len({each.root for each in offers}) < 2:
            return
        counts = self._offers.resolve(reference)
        for each in offers:
            if counts is not None and _disagree(each, counts) and each not in self._told:
                self._tell(reference, each, counts)

    def _tell(self, reference: str, other: Offer, counts: Offer) -> None:
        text = (
            f"{reference} is {other.root} by this record and {counts.root} by {counts.agent_id[:64]};"
            f" the latter counts (tag policy {self._offers.tags.of(reference).kind})"
        )
        self._records.blame(PACKAGES, other.doc_id, text, FaultKind.DISPUTED)
        _log.warning("signers disagree on a tag", reference=reference, doc_id=other.doc_id, detail=text)
        self._told[other] = None
        if len(self._told) > _TOLD_LIMIT:
            del self._told[next(iter(self._told))]


def _disagree(one: Offer, other: Offer) -> bool:
    return one.agent_id != other.agent_id and one.root != other.root and same_arch(one.arch, other.arch)


def _references(documents: Iterable[Document]) -> set[str]:
    """With a tag; by digest nobody can disagree."""
    offers = (offer_of(each) for each in documents)
    return {
        each.listed_as for each in offers if each is not None and each.listed_as and "@" not in each.listed_as
    }
