"""What the end of a fetch means: for the want, and for who was asked."""

import time
from collections.abc import Callable
from typing import Protocol

import structlog

from peat_sidecar.errors import (
    BudgetSpent,
    IntegrityError,
    Misnamed,
    NotFound,
    PeatError,
    PeerUnavailable,
    RemoteProtocolError,
    SourceError,
    StoreFailed,
    StoreFull,
)
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh.fetching import Fetch
from peat_sidecar.mesh.offers import PACKAGES, Offer, Offers
from peat_sidecar.mesh.providers import Holder, Providers
from peat_sidecar.mesh.want import Entry
from peat_sidecar.transfer import Transfer, TransferState

FIRST_WAIT_SECONDS = 5.0
FIRST_ROOM_SECONDS = 60.0
LONGEST_WAIT_SECONDS = 900.0
CANCELLED_SECONDS = 60.0
"""After its transfer alone was cancelled by a caller."""
_NODES_OWN = (StoreFull, StoreFailed)
_RATED_BYTES = 64 << 10
_RATES_REMEMBERED = 1000

_log = structlog.get_logger(__name__)


class BlamesSigners(Protocol):
    """The part of the records that is needed here."""

    def blame(self, collection: str, doc_id: str, detail: str, /) -> EndpointId | None:
        """Content is not what a document says of it; whose fault that is."""
        ...


class Endings:
    """Judges; on the event loop."""

    def __init__(
        self,
        providers: Providers,
        offers: Offers,
        records: BlamesSigners,
        clock: Callable[[], float],
        now: Callable[[], float] = time.time,
    ) -> None:
        """`clock` counts seconds, `now` is the time of day."""
        self._providers = providers
        self._offers = offers
        self._records = records
        self._clock = clock
        self._now = now
        self.rates: dict[EndpointId, float] = {}
        """Bytes a second of the last fetch from each."""

    def judge(self, entry: Entry, transfer: Transfer, fetch: Fetch) -> bool:
        """Whether the want is fulfilled. Else who was asked is put back where they deserve it, and the want
        says why it waits, and until when.
        """
        peer = fetch.holder.endpoint_id
        moved = transfer.progress.done_bytes - transfer.progress.skipped_bytes
        self._rate(transfer)
        others = {each.endpoint_id: each for each in fetch.helpers}
        for id, fault in fetch.sources.faults.items():
            if id in others:
                self._blame_holder(others[id], fetch, fault, gained=moved > 0)
        if transfer.state is TransferState.DONE:
            own = fetch.sources.faults.get(peer)
            if own is None:
                self._providers.served(peer)
            else:
                self._blame_holder(fetch.holder, fetch, own, gained=moved > 0)
            return True
        if transfer.state is TransferState.CANCELLED:
            if not entry.is_stopped:
                entry.why = "its transfer was cancelled; it is taken up again in a minute"
                entry.not_before = self._clock() + CANCELLED_SECONDS
            entry.is_stopped = False
            return False
        error = transfer.error or PeatError("it ended without saying why")
        self._blame(entry, error, fetch, gained=fetch.gained or moved > 0)
        return False

    def _rate(self, transfer: Transfer) -> None:
        """Each peer by what it brought itself."""
        for peer, source in transfer.progress.sources.items():
            if source.done_bytes >= _RATED_BYTES:
                self.rates.pop(peer, None)
                self.rates[peer] = source.done_bytes / max(transfer.elapsed_seconds, 1e-3)
        while len(self.rates) > _RATES_REMEMBERED:
            del self.rates[next(iter(self.rates))]

    def trouble(self, entry: Entry, error: PeatError) -> None:
        """It is this node that cannot go on."""
        first = FIRST_ROOM_SECONDS if isinstance(error, StoreFull | StoreFailed) else FIRST_WAIT_SECONDS
        wait = min(LONGEST_WAIT_SECONDS, first * 2.0 ** min(entry.waits, 20))
        entry.waits += 1
        entry.why = str(error)
        entry.not_before = self._clock() + wait

    def _held_seconds(self, spent: BudgetSpent) -> float:
        """Until the path may be used again, or takes another way."""
        if spent.until is None:
            return LONGEST_WAIT_SECONDS
        return max(1.0, min(LONGEST_WAIT_SECONDS, spent.until.timestamp() - self._now()))

    def _blame(self, entry: Entry, error: PeatError, fetch: Fetch, *, gained: bool) -> None:
        if isinstance(error, Misnamed):
            self._disprove(entry, error, fetch.offer)
            return
        entry.why = str(error)
        own = fetch.sources.faults.get(fetch.holder.endpoint_id, error)
        if isinstance(error, _NODES_OWN) or not self._blame_holder(fetch.holder, fetch, own, gained=gained):
            self.trouble(entry, error)
            return
        entry.waits = 0

    def _disprove(self, entry: Entry, error: Misnamed, offer: Offer) -> None:
        """No holder is to blame, and none is asked again; what others say of the name goes first now."""
        signer = self._records.blame(PACKAGES, offer.doc_id, str(error))
        self._offers.disprove(offer)
        by = f"{offer.agent_id} ({signer.short})" if signer is not None else offer.agent_id
        entry.why = f"it is not what {by} has announced: {error}"
        entry.failed, entry.waits = True, 0
        _log.warning("a package is not what was announced", document=offer.doc_id, why=entry.why)

    def _blame_holder(self, holder: Holder, fetch: Fetch, error: PeatError, *, gained: bool) -> bool:
        """Whether it is the holder's fault."""
        collection = fetch.offer.collection
        match error:
            case IntegrityError() | SourceError():
                self._providers.gave_wrong(holder, collection)
            case NotFound():
                self._providers.lacks(holder, collection)
            case BudgetSpent():
                self._providers.hold(holder, collection, self._held_seconds(error))
            case PeerUnavailable() | RemoteProtocolError():
                self._providers.failed(holder.endpoint_id, gained=gained)
            case _:
                return False
        return True
