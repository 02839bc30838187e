"""The wants of this node: durable wishes for packages, fetched as soon as one who has them can be reached.

A level-triggered loop: whenever records, sessions, the store or the wants change it looks at all open wants,
and begins what can be begun. A want without a provider waits for such a change and asks nobody. `run` drives
it on the event loop; the rest may be called from any thread.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

import structlog

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import NotFound, PeatError
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh.arrivals import Arrivals
from peat_sidecar.mesh.deadlines import LOOK_SECONDS, moved, seconds_left
from peat_sidecar.mesh.endings import BlamesSigners, Endings
from peat_sidecar.mesh.fetching import Fetch, FetchesPackages, ReachesPeers
from peat_sidecar.mesh.offers import PACKAGES, Offer, Offers, keys_in, keys_of, parse_name
from peat_sidecar.mesh.providers import Holder, Providers
from peat_sidecar.mesh.quotes import missing_bytes, quote
from peat_sidecar.mesh.wake import Sleep, Wake
from peat_sidecar.mesh.want import Entry, Quote, Want, new_id, of_readers
from peat_sidecar.mesh.want_queue import next_turn
from peat_sidecar.mesh.want_table import WantTable
from peat_sidecar.records import Change
from peat_sidecar.state import State, WantRow
from peat_sidecar.store import Store, StoredPackage
from peat_sidecar.transfer import Transfer, TransferKind, Transfers

DONE_REMEMBERED = 100
_KEYS_LIMIT = 100_000
_TROUBLE_SECONDS = 30.0

_log = structlog.get_logger(__name__)


class TellsChanges(BlamesSigners, Protocol):
    """The part of the records that is needed here."""

    def subscribe(self, listener: Callable[[Sequence[Change]], None], /) -> Callable[[], None]:
        """Called after each commit, in the writing thread."""
        ...


class Wants(WantTable):
    """The table and its loop."""

    def __init__(
        self,
        state: State,
        records: TellsChanges,
        store: Store,
        getter: FetchesPackages,
        transfers: Transfers,
        peers: ReachesPeers,
        *,
        offers: Offers,
        providers: Providers,
        arrivals: Arrivals,
        approve_above: Callable[[], int | None] = lambda: None,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        super().__init__(state, now=now)
        self._records = records
        self._store = store
        self._getter = getter
        self._transfers = transfers
        self._peers = peers
        self._offers = offers
        self._providers = providers
        self._arrivals = arrivals
        self._approve_above = approve_above
        self._clock = clock
        self._sleep = sleep
        self._endings = Endings(providers, offers, records, clock, now)
        self._loop = asyncio.get_running_loop()
        self._wake = Wake(sleep)
        self._stale: set[str] | None = None
        """What has changed since the last look; None: everything may have."""
        self._has_room = False

    def quote(self, name: str, limit: float | None = None) -> Quote:
        """What it would take to get a package now, at that many bytes a second or fewer. Blocks."""
        rates = self._endings.rates
        return quote(name.strip(), self._offers, self._providers, self._store, rates, limit)

    def look_again(self) -> None:
        """Whose documents count may have changed; from any thread."""
        with self._lock:
            self._stale = None
        self._wake.set()

    def set_class(self, id: str, transfer_class: TransferClass) -> Want:
        self._providers.release()  # another class may use other paths
        return super().set_class(id, transfer_class)

    def limits_changed(self) -> None:
        """What waited for them is looked at; from any thread."""
        self._providers.release()
        self.look_again()

    async def run(self) -> None:
        """Until it is cancelled; transfers that it began end then."""
        ends = [
            self._records.subscribe(self._records_changed),
            self._peers.subscribe(self._session_changed),
            self._store.on_packages(self._packages_changed),
        ]
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._wake.wait(await self._turn(group))
        finally:
            for end in ends:
                end()
            self._let_go()

    def _let_go(self) -> None:
        """Nobody follows transfers any more: where this is run again, all is looked at anew."""
        self._peers.seek(())
        with self._lock:
            self._stale = None
            for entry in self._entries.values():
                entry.transfer = entry.fetch = None

    # the loop

    async def _turn(self, group: asyncio.TaskGroup) -> float | None:
        """How long until something is due by itself."""
        try:
            await self._look()
            due = await self._expire()
        except PeatError as error:
            _log.warning("wants cannot be looked at", error=str(error))
            self._stale = None
            return _TROUBLE_SECONDS
        except Exception:  # noqa: BLE001 - the edge of the loop's task
            _log.exception("wants cannot be looked at, for a reason that was not foreseen")
            self._stale = None
            return _TROUBLE_SECONDS
        with self._lock:
            entries = [each for each in self._entries.values() if each.is_open]
            if self._has_room:
                self._has_room = False
                for each in entries:
                    each.not_before, each.waits = 0.0, 0
            turn = next_turn(
                entries, self._providers, self._peers.sessions(), self._clock(), self._approve_above()
            )
            turn.waits += due
            self._peers.seek(turn.seeks)
            for entry in turn.stops:
                if entry.transfer is not None:
                    self._end(entry.transfer)
            for entry, holder in turn.begins:
                if not self._begin(entry, holder, group):
                    turn.waits.append(entry.not_before - self._clock())
        return max(0.0, min(turn.waits)) if turn.waits else None

    async def _look(self) -> None:
        """What the names of open wants mean by now, who holds them, and which are here; only of those that
        something has changed for.
        """
        with self._lock:
            stale, self._stale = self._stale, set()
            entries = [
                each
                for each in self._entries.values()
                if each.is_open and (stale is None or each.keys is None or not stale.isdisjoint(each.keys))
            ]
        found = await asyncio.to_thread(lambda: [self._found(each.row) for each in entries])
        for entry, (offer, claims, here, missing) in zip(entries, found, strict=True):
            entry.missing_bytes = missing
            entry.keys = keys_of(entry.row.name, offer, claims.values())
            if entry.transfer is not None:  # it goes on with what it has begun
                if (
                    entry.offer is not None
                    and offer is not None
                    and offer.collection == entry.offer.collection
                ):
                    entry.claims = claims
                continue
            if entry.offer not in (None, offer) and offer is not None:
                self._providers.forgive(offer.collection)
            if entry.claims != claims or entry.offer != offer:
                entry.failed = offer is not None and self._offers.is_false(offer)
            entry.offer, entry.claims = offer, claims
            if here and entry.is_open:
                await self._settle(entry)
        if not self._has_looked:
            self._has_looked = True
            super()._look_again()

    async def _expire(self) -> list[float]:
        """Ends wants whose deadline is over; in how many seconds to look again."""
        with self._lock:
            timed = [each for each in self._entries.values() if each.is_open and each.row.deadline]
        now, clock = self._now(), self._clock()
        left = {each.row.id: seconds_left(each, now, clock) for each in timed}
        for entry in [each for each in timed if moved(each.row, left[each.row.id], now)]:
            await asyncio.to_thread(self._follow_clock, entry, left[entry.row.id])
        for entry in [each for each in timed if left[each.row.id] <= 0]:
            await asyncio.to_thread(self._write_expired, entry)
            if entry.transfer is not None and not entry.is_open:
                entry.is_stopped = True
                self._end(entry.transfer)
            super()._look_again()
        return [min(left[each.row.id], LOOK_SECONDS) for each in timed if each.is_open and each.row.deadline]

    def _follow_clock(self, entry: Entry, left: float) -> None:
        with self._lock:
            row = moved(entry.row, left, self._now())
            if row is not None and entry.is_open and entry.row.deadline:
                self._put(entry, row)

    def _write_expired(self, entry: Entry) -> None:
        with self._lock:
            last = entry.reason or entry.row.last_error
            why = "it was not here by its deadline" + (f": {last}" if last else "")
            if entry.is_open:
                ended = self._split(entry) if entry.readers else entry
                self._put(ended, replace(ended.row, expired=True, last_error=why))
                self._forget()

    def _split(self, entry: Entry) -> Entry:
        """The want that was made, without what clients read: that goes on as one of their own."""
        made = Entry(entry.row, entry.offer, entry.claims)
        entry.row, entry.due = replace(of_readers(entry.row), id=new_id()), None
        self._entries |= {entry.row.id: entry, made.row.id: made}
        return made

    def _found(self, row: WantRow) -> tuple[Offer | None, dict[EndpointId, Offer], bool, int]:
        """What the name means, who holds it, whether it is here, and, where that matters, what is missing."""
        offer = self._offers.resolve(row.name, arch=row.arch, reference=row.reference)
        if offer is None:
            return None, {}, self._store.package(parse_name(row.name)) is not None, 0
        package = self._store.package(offer.collection)
        here = package is not None and self._store.is_whole(package)
        above = self._approve_above()
        matters = above is not None and offer.bytes > above and not (here or row.approved)
        missing = missing_bytes(offer, self._store) if matters else 0
        return offer, self._providers.claims(offer.collection), here, missing

    async def _settle(self, entry: Entry) -> None:
        """It came another way, or the program ended when it had come."""
        try:
            if entry.offer is not None:
                await asyncio.to_thread(self._arrivals.settle, entry.offer, entry.row, fetched=False)
            await self._fulfil(entry)
        except PeatError as error:
            self._endings.trouble(entry, error)

    def _begin(self, entry: Entry, holder: Holder, group: asyncio.TaskGroup) -> bool:
        """Whether it could."""
        offer, row = entry.offer, replace(entry.row, transfer_class=entry.transfer_class)
        if offer is None:
            return False
        fetch = Fetch(
            offer,
            holder,
            row,
            on_partial=lambda: self._partial(entry),
            others=lambda: self._others(entry, holder),
            was_connected=holder.connected,
        )
        try:
            entry.transfer = self._transfers.start(
                TransferKind.FETCH,
                offer.listed_as or row.name,
                str(holder.endpoint_id),
                lambda progress: fetch.run(progress, self._getter, self._peers, self._arrivals, self._sleep),
            )
        except PeatError as error:
            self._endings.trouble(entry, error)
            return False
        entry.fetch, entry.why, entry.is_stopped = fetch, "", False
        group.create_task(self._follow(entry, entry.transfer, fetch), name=f"follow {row.name}")
        return True

    async def _follow(self, entry: Entry, transfer: Transfer, fetch: Fetch) -> None:
        try:
            await transfer.wait()
        except asyncio.CancelledError:
            self._end(transfer)
            raise
        with self._lock:
            entry.done_bytes = transfer.progress.done_bytes
            fulfilled = self._endings.judge(entry, transfer, fetch)
        if entry.is_open:
            await (self._fulfil(entry) if fulfilled else self._remember_error(entry))
        with self._lock:
            entry.transfer = entry.fetch = None
            entry.keys = None  # what was heard meanwhile was not taken up
        self._look_again()

    async def _fulfil(self, entry: Entry) -> None:
        await asyncio.to_thread(self._write_fulfilled, entry)
        super()._look_again()

    def _write_fulfilled(self, entry: Entry) -> None:
        with self._lock:
            if not entry.is_open:  # it was cancelled in this moment, or its time was over
                return
            row = replace(entry.row, done=True, last_error="")
            try:
                self._put(entry, row)
                self._forget()
            except PeatError as error:  # after a restart it is found to be here
                _log.warning("a fulfilled want cannot be remembered", want=row.name, error=str(error))
            entry.row = row

    def _forget(self) -> None:
        """Of wants that have ended the last ones are remembered."""
        ended = [each.row.id for each in self._entries.values() if not each.is_open]
        for id in ended[: max(0, len(ended) - DONE_REMEMBERED)]:
            self._erase(self._entries.pop(id).row)

    async def _remember_error(self, entry: Entry) -> None:
        if entry.why and entry.row.last_error != entry.why:
            with suppress(PeatError):  # it is said again at the next try
                await asyncio.to_thread(self._write_error, entry, entry.why)

    def _write_error(self, entry: Entry, error: str) -> None:
        with self._lock:
            if entry.is_open:
                self._put(entry, replace(entry.row, last_error=error))

    def _partial(self, entry: Entry) -> None:
        if not entry.is_partial:
            entry.is_partial = True
            super()._look_again()

    def _others(self, entry: Entry, holder: Holder) -> list[Holder]:
        return [
            each
            for each in self._providers.rank(entry.claims)
            if each.can_be_asked and each.endpoint_id != holder.endpoint_id
        ]

    def _end(self, transfer: Transfer) -> None:
        with suppress(NotFound):
            self._transfers.cancel(transfer.id)

    # told, from any thread

    def _look_again(self) -> None:
        self._wake.set()
        super()._look_again()

    def _changed_for(self, keys: Iterable[str]) -> None:
        with self._lock:
            if self._stale is not None:
                self._stale.update(keys)
                if len(self._stale) > _KEYS_LIMIT:
                    self._stale = None
        self._wake.set()

    def _removed(self, entry: Entry) -> None:
        if entry.transfer is not None:
            self._loop.call_soon_threadsafe(self._end, entry.transfer)

    def _records_changed(self, changes: Sequence[Change]) -> None:
        if self._entries:
            about = [keys_in(each.doc_id, each.document) for each in changes if each.collection == PACKAGES]
            if about:
                self._changed_for(frozenset().union(*about))

    def _session_changed(self, peer: EndpointId, began: bool) -> None:
        if began:
            self._providers.came_back(peer)
        self._wake.set()

    def _packages_changed(self, added: Sequence[StoredPackage], removed: Sequence[StoredPackage]) -> None:
        self._has_room = self._has_room or bool(removed)
        for each in (*added, *removed):
            self._changed_for((each.reference or "", str(each.root.digest), str(each.collection)))
