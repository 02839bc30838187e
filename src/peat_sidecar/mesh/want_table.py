"""The table of wants: what callers do with it, each change durable before it is acknowledged."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import ConfigError, NotFound, Refused
from peat_sidecar.ids import Digest
from peat_sidecar.mesh.offers import Offer, parse_name
from peat_sidecar.mesh.registry_exports import target_of
from peat_sidecar.mesh.want import Entry, Want, new_id, of_readers
from peat_sidecar.state import Origin, State, WantRow

OPEN_LIMIT = 10_000
LONGEST_DEADLINE_SECONDS = 10 * 366 * 86_400.0
_NAME_LIMIT = 512
_CANCELLED = "it was cancelled"
_ORIGINS: tuple[Origin, ...] = ("user", "policy", "client")
"""The one that counts first."""
_NO_ROOT = Digest("sha256", "0" * 64)


class WantTable:
    """Thread-safe; calls that change something block for the disk."""

    def __init__(self, state: State, *, now: Callable[[], float] = time.time) -> None:
        self._state = state
        self._now = now
        self._lock = threading.RLock()
        self._entries = {row.id: Entry(row) for row in state.wants()}
        self._has_looked = False
        """Whether it is known what the names of the wants mean."""
        self._changed: tuple[Callable[[], None], ...] = ()
        self._cancelled: tuple[Callable[[Want, Offer | None], None], ...] = ()

    def add(
        self,
        name: str,
        transfer_class: TransferClass = TransferClass.NORMAL,
        *,
        arch: str = "",
        origin: Origin = "user",
        export_to: str = "",
        reference: str = "",
        approved: bool = False,
        deadline_seconds: float = 0.0,
    ) -> Want:
        """Wants a package by reference, digest of its root or manifest, or hash of its collection, for ever
        or for so many seconds. One that is wanted already keeps the better class and the later deadline.
        `approved`: however large it is. `ConfigError`; `Refused` when there are too many.
        """
        name = name.strip()
        if not name or len(name) > _NAME_LIMIT or not name.isprintable() or " " in name:
            raise ConfigError(f"{name[:80]!r} is no name of a package; give a reference, a digest or a hash")
        deadline = self._deadline(deadline_seconds)
        if export_to:
            target_of(reference or name, export_to, _NO_ROOT)
        with self._lock:
            entry = self._open_one(name, arch)
            if entry is None:
                if sum(each.is_open for each in self._entries.values()) >= OPEN_LIMIT:
                    raise Refused(f"{OPEN_LIMIT} packages are wanted; cancel some of these wants first")
                row = WantRow(
                    new_id(),
                    name,
                    transfer_class,
                    origin,
                    self._now(),
                    arch,
                    export_to,
                    reference=reference,
                    approved=approved,
                    deadline=deadline,
                )
                entry = Entry(row)
            else:
                better = min(transfer_class, entry.row.transfer_class, key=lambda each: each.rank)
                row = replace(
                    entry.row,
                    transfer_class=better,
                    origin=min(origin, entry.row.origin, key=_ORIGINS.index),
                    export_to=export_to or entry.row.export_to,
                    approved=approved or entry.row.approved,
                    deadline=max(deadline, entry.row.deadline) if deadline and entry.row.deadline else 0.0,
                )
            if row.deadline != entry.row.deadline:
                entry.due = None
            self._put(entry, row)
            self._entries[row.id] = entry
        self._look_again()
        return entry.view()

    def waiting(self, limit: int) -> tuple[list[Want], int]:
        """Open ones that nothing is fetched for, the first by class and age; how many more there are."""
        with self._lock:
            found = [each for each in self._entries.values() if each.is_open and each.transfer is None]
            found.sort(key=lambda each: (each.row.transfer_class.rank, each.row.created_at))
            return [each.view() for each in found[:limit]], max(0, len(found) - limit)

    def list(self) -> list[Want]:
        """Open ones and the last that have ended, the oldest first."""
        with self._lock:
            return [entry.view() for entry in self._entries.values()]

    def cancel(self, id: str) -> Want:
        """Ends a want; what has come stays. What policy wanted is not wanted again. `NotFound`."""
        with self._lock:
            entry = self._known(id)
            want, offer = entry.view(), entry.offer
        for listener in self._cancelled:  # before it is gone, or the policy would want it again
            listener(want, offer)
        with suppress(NotFound):  # the policy may have dropped it by now
            return self._remove(id)
        return replace(want, why=_CANCELLED)

    def drop(self, id: str) -> None:
        """For the policy, which does not want it any more; nothing when it is not there. What clients read
        stays wanted for them.
        """
        with self._lock:
            entry = self._entries.get(id)
            if entry is not None and entry.is_open and entry.readers:
                self._erase(entry.row)
                entry.row, entry.due = of_readers(entry.row), None
                return
        with suppress(NotFound):
            self._remove(id)

    def approve(self, id: str) -> Want:
        """It may be as large as it is, also after a restart. `NotFound` for none that is known."""
        with self._lock:
            entry = self._known(id)
            self._put(entry, replace(entry.row, approved=True))
        self._look_again()
        return entry.view()

    def set_class(self, id: str, transfer_class: TransferClass) -> Want:
        """`NotFound` for none that is known."""
        with self._lock:
            entry = self._known(id)
            self._put(entry, replace(entry.row, transfer_class=transfer_class))
            if entry.transfer is not None:
                entry.transfer.progress.transfer_class = entry.transfer_class
        self._look_again()
        return entry.view()

    def read(self, offer: Offer) -> Entry:
        """A client reads a package while it comes: the want that brings it, or else one of its own, goes
        before others until `read_no_more`. One of its own is not durable.
        """
        with self._lock:
            entry = next((each for each in self._entries.values() if _brings(each, offer)), None)
            if entry is None:
                name, high = str(offer.collection), TransferClass.HIGH
                row = WantRow(
                    new_id(), name, high, "client", self._now(), offer.arch, reference=offer.reference
                )
                entry = self._entries[row.id] = Entry(row)
            self._count_readers(entry, 1)
            entry.not_before = 0.0
        self._look_again()
        return entry

    def read_no_more(self, entry: Entry) -> None:
        """A client's own want ends with the last client."""
        with self._lock:
            self._count_readers(entry, -1)
            ends = not entry.readers and entry.row.origin == "client" and entry.is_open
        if ends:
            self.drop(entry.row.id)

    def _count_readers(self, entry: Entry, more: int) -> None:
        entry.readers += more
        if entry.transfer is not None:
            entry.transfer.progress.transfer_class = entry.transfer_class

    def open_offers(self) -> tuple[tuple[Offer, bool], ...] | None:
        """Packages that are wanted and known, and whether some of them has come; None: not looked up yet."""
        if not self._has_looked:
            return None
        with self._lock:
            entries = tuple(self._entries.values())
        return tuple(
            (each.offer, each.is_partial) for each in entries if each.is_open and each.offer is not None
        )

    def on_change(self, listener: Callable[[], None]) -> None:
        """Called after wants changed, from any thread."""
        self._changed = (*self._changed, listener)

    def on_cancel(self, listener: Callable[[Want, Offer | None], None]) -> None:
        """Called for each one that a caller cancels, in the caller's thread."""
        self._cancelled = (*self._cancelled, listener)

    # for the loop

    def _look_again(self) -> None:
        """Something has changed."""
        for listener in self._changed:
            listener()

    def _removed(self, entry: Entry) -> None:
        """A want is gone."""

    def _put(self, entry: Entry, row: WantRow) -> None:
        if row.origin != "client":
            self._state.put_want(row)
        entry.row = row

    def _erase(self, row: WantRow) -> None:
        if row.origin != "client":
            self._state.remove_want(row.id)

    def _deadline(self, seconds: float) -> float:
        if not 0 <= seconds <= LONGEST_DEADLINE_SECONDS:
            raise ConfigError(
                f"a want cannot have its deadline {seconds:g} seconds from now; name a time of at most 10"
                " years, or 0 for no deadline"
            )
        return self._now() + seconds if seconds else 0.0

    def _open_one(self, name: str, arch: str) -> Entry | None:
        same = (each for each in self._entries.values() if each.is_open and each.row.name == name)
        return next((each for each in same if each.row.arch == arch), None)

    def _known(self, id: str) -> Entry:
        entry = self._entries.get(id)
        if entry is None:
            raise NotFound(f"there is no want {id[:64]!r}; list them to see which there are")
        return entry

    def _remove(self, id: str) -> Want:
        with self._lock:
            entry = self._known(id)
            self._erase(entry.row)
            want = entry.view()
            if entry.is_open:
                want = replace(want, state="waiting", why=_CANCELLED)
            entry.gone = True
            del self._entries[id]
        self._removed(entry)
        self._look_again()
        return want


def _brings(entry: Entry, offer: Offer) -> bool:
    """Whether a want is fulfilled by that package."""
    known = entry.offer.collection if entry.offer is not None else None
    return entry.is_open and offer.collection in (known, parse_name(entry.row.name))
