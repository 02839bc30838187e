"""The face of the unit: see the package's docstring."""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from peat_sidecar.errors import ConfigError, PeatError
from peat_sidecar.ids import EndpointId
from peat_sidecar.records.authoring import Author
from peat_sidecar.records.bounds import check_names, plain
from peat_sidecar.records.canonical import render
from peat_sidecar.records.clock import HybridClock, horizon_at
from peat_sidecar.records.database import Database
from peat_sidecar.records.failures import translated
from peat_sidecar.records.faults import Faults
from peat_sidecar.records.listeners import Listeners
from peat_sidecar.records.policy import Policy
from peat_sidecar.records.reading import Reader
from peat_sidecar.records.receiving import Receipt, Receiver
from peat_sidecar.records.signers import Signers
from peat_sidecar.records.signing import Signer
from peat_sidecar.records.upkeep import Upkeep, Work
from peat_sidecar.records.values import (
    OWNED,
    Batch,
    Change,
    Document,
    Fault,
    FaultKind,
    Head,
    Merged,
    RecordsStatus,
    agent_of,
)
from peat_sidecar.records.writing import Writing

BATCH_LIMIT_BYTES = 192 << 10
_DETAIL_LIMIT = 500
_HEARD_SECONDS = 3600.0
"""How exactly it is kept when a signer was last heard of."""


class Records:
    """The records of a formation as this node knows them. Thread-safe; calls wait for the disk.

    Any call may raise StoreFull and StoreFailed; what it would have changed is as it was then.
    """

    def __init__(self, database: Database, signer: Signer, now: Callable[[], float]) -> None:
        self.id = signer.id
        self._now = now
        self._database = database
        self._writing = threading.RLock()
        """Held while something is written and told."""
        self._signers = Signers(database)
        self._policy = Policy(database, signer.id)
        self._clock = HybridClock(max((row.clock for row in self._signers), default=0))
        self._author = Author(signer, self._signers, self._policy, self._clock)
        self._upkeep = Upkeep(database, self._signers, self._policy, self._author, self._clock)
        self._receiver = Receiver(database, self._signers, self._policy, self._clock)
        self._reader = Reader(database, self._signers)
        self._faults = Faults()
        self._on_changes: Listeners[Sequence[Change]] = Listeners()
        self._on_advanced: Listeners[frozenset[EndpointId]] = Listeners()

    @classmethod
    def open(cls, path: Path, signer: Signer, *, now: Callable[[], float] = time.time) -> Self:
        """Opens or makes the database. `now`: Unix seconds.

        ConfigError when the file is another version's; StoreFailed when it is damaged or in use.
        """
        database = Database(path)
        try:
            with translated(path):
                records = cls(database, signer, now)
            records._refresh()  # what a kill has left undone
        except (ValueError, TypeError, ConfigError) as error:
            database.close()
            raise database.damaged(str(error)) from error
        except BaseException:
            database.close()
            raise
        return records

    def close(self) -> None:
        """Nothing can be read or written any more."""
        with self._writing:
            self._database.close()

    # what this node says

    def put(self, collection: str, doc_id: str, document: Mapping[str, Any]) -> bool:
        """Makes the document what is given: fields that differ are written, missing ones are cleared. Whether
        it changed; durable when it returns.

        ConfigError for what no document can be (names, sizes, depth, numbers beyond 2^53); Refused for a
        document that belongs to somebody else.
        """
        check_names(collection, doc_id)
        _check_agent(collection, doc_id)
        content = plain(document)
        with self._writing:
            with self._database.lock:
                self._author.check_owner(collection, doc_id)
                if self._reader.text(collection, doc_id) == render(content):
                    return False
            with self._transaction() as writing:
                changed = self._author.put(writing, collection, doc_id, content, self._now())
            self._tell({self.id} if changed else ())
            return changed

    def delete(self, collection: str, doc_id: str) -> bool:
        """Deletes the document. Whether it was there; errors as `put`."""
        check_names(collection, doc_id)
        with self._writing:
            with self._database.lock:
                self._author.check_owner(collection, doc_id)
                if self._reader.text(collection, doc_id) is None:
                    return False
            with self._transaction() as writing:
                changed = self._author.delete(writing, collection, doc_id, self._now())
            self._tell({self.id} if changed else ())
            return changed

    # what the formation says

    def get(self, collection: str, doc_id: str) -> Document | None:
        """The document; None where there is none."""
        return self._reader.get(collection, doc_id)

    def list_ids(self, collection: str, *, after: str = "", limit: int = 1000) -> list[str]:
        """Ids of the collection's documents behind `after`, in order; at most 10,000."""
        return self._reader.list_ids(collection, after, limit)

    def documents(self, collection: str, *, after: str = "", limit: int = 1000) -> list[Document]:
        """The collection's documents behind the id `after`, in order of their ids; at most 10,000."""
        return self._reader.documents(collection, after, limit)

    def collections(self) -> list[str]:
        """Collections that have documents, in order; at most 10,000."""
        return self._reader.collections()

    def find(self, path: str, value: str) -> list[Document]:
        """Documents of `packages` by a value at `content.collection`, `content.root`, `content.manifest` or
        `reference`, in order of their ids; at most 10,000. ConfigError for another path.
        """
        return self._reader.find(path, value)

    # what peers tell each other

    def heads(self) -> dict[EndpointId, Head]:
        """How far each signer is known here."""
        with self._database.lock:
            return self._signers.heads()

    def digest(self) -> bytes:
        """16 bytes over all heads: equal where the same records are."""
        with self._database.lock:
            return self._signers.digest()

    def since(self, signer: EndpointId, after: int, *, limit_bytes: int = BATCH_LIMIT_BYTES) -> Batch | None:
        """The signer's current records behind `after`, ascending, at least one and up to so many bytes of
        bodies and signatures. None: there are none.
        """
        return self._reader.since(signer, after, limit_bytes)

    def merge(self, batches: Sequence[Batch], source: EndpointId | None = None) -> Merged:
        """Takes batches in, from the peer `source`. Each is applied only where it joins on to what is known,
        up to the first record that is forged or malformed; what is wrong is in the answer and in `faults`.
        Durable when it returns.
        """
        receipt = Receipt(source, self._now(), self._faults.add)
        with self._writing:
            proven = iter(self._receiver.prove(batches, receipt))
            horizon = horizon_at(receipt.now)
            pending = next(proven, None)
            while pending is not None:
                receipt.last = None
                with self._transaction() as writing:
                    while pending is not None and not writing.is_large:
                        self._receiver.store(*pending, writing, horizon, receipt)
                        pending = next(proven, None)
            self._refresh()
            self._tell(receipt.advanced)
        return Merged(
            receipt.new, frozenset(receipt.advanced), frozenset(receipt.gaps), tuple(receipt.faults)
        )

    # who hears of it

    def subscribe(self, listener: Callable[[Sequence[Change]], None]) -> Callable[[], None]:
        """Told of changed documents after each commit, in the writing thread, in the order of commits; see
        `listeners` for what it must not do. What it gives ends it.
        """
        return self._on_changes.add(listener)

    def on_advanced(self, listener: Callable[[frozenset[EndpointId]], None]) -> Callable[[], None]:
        """As `subscribe`, told of signers (this node included) of which there are new records."""
        return self._on_advanced.add(listener)

    # who counts

    def owner_of(self, agent_id: str) -> EndpointId | None:
        """The signer whose owned documents begin with that agent id; None: nobody's."""
        with self._database.lock:
            return self._policy.owner_of(agent_id)

    def claim(self, agent_id: str) -> None:
        """The agent id is this node's own, whatever others say."""
        if not agent_id or ":" in agent_id or not agent_id.isprintable():
            raise ConfigError(f"{agent_id[:80]!r} is no agent id; one has printable characters and no colon")
        with self._writing:
            with self._database.lock:
                if self._policy.is_claimed(agent_id):
                    return
            with self._transaction():
                self._policy.give(agent_id, self.id, claimed=True)
                self._upkeep.mark_agents([agent_id])
            self._refresh()

    def set_members(
        self, members: Mapping[EndpointId, str] | None, also: Collection[EndpointId] = ()
    ) -> None:
        """The roster: agent id of each signer whose records count; None: there is none, and all count. `also`
        count too and own nothing. Nothing is done when it is as before, so it may be told at each start.
        """
        with self._writing:
            with self._database.lock:
                if self._policy.is_same_roster(members, also):
                    return
            with self._transaction():
                signers, agents = self._policy.set_members(members, also)
                self._upkeep.mark_signers(signers)
                self._upkeep.mark_agents(agents)
            self._refresh()

    def ban(self, signer: EndpointId) -> None:
        """Its records do not count from now on; they are stored and relayed all the same, so that nodes that
        think otherwise stay equal. ConfigError for this node itself.
        """
        if signer == self.id:
            raise ConfigError("a node cannot ban itself; name another one")
        self._set_banned(signer, True)

    def unban(self, signer: EndpointId) -> None:
        """Its records count again."""
        self._set_banned(signer, False)

    def banned(self) -> frozenset[EndpointId]:
        """All that are."""
        with self._database.lock:
            return frozenset(row.key for row in self._signers if row.banned)

    # what is done now and then

    def heard(self, signer: EndpointId) -> None:
        """The signer is there: its records are not forgotten, or wanted again when they were."""
        with self._writing:
            with self._database.lock:
                row = self._signers.find(signer)
                if row is None or (not row.forgotten and row.heard > self._now() - _HEARD_SECONDS):
                    return
            with self._transaction():
                self._signers.add(signer).heard = self._now()
                if row.forgotten:
                    self._upkeep.recall(row)
            self._refresh()

    def forget_unheard(self, before: float) -> int:
        """Drops the records of signers last heard of before that time (Unix seconds); how many. Deletes that
        hide others' fields stay. Heads are kept, so that nobody brings the records back until their signer
        is heard of, or says something new. This node and those beside the roster are never forgotten.
        """
        with self._writing:
            kept = self._policy.also | {self.id}
            with self._database.lock:
                rows = [row for row in self._signers if row.heard < before and row.key not in kept]
            return sum(self._work(self._upkeep.forget(row)) for row in rows if row.records)

    def review(self) -> int:
        """Looks at clocks again: what was ahead and is not counts now; what counts and is ahead (this node's
        clock was wrong) is set aside, or said again if this node said it. How many records; to be called now
        and then. Moves the log into the database too, which a commit would have to wait for.
        """
        now = self._now()
        with self._writing:
            head = self._head()
            done = self._work(self._upkeep.heed_due(now))
            if not self._author.is_behind(now):
                done += self._work(self._upkeep.heed_ahead(now))
            self._refresh()
            self._tell({self.id} if self._head() != head else ())
            self._database.fold()
            return done

    def blame(
        self, collection: str, doc_id: str, detail: str, kind: FaultKind = FaultKind.MISNAMED
    ) -> EndpointId | None:
        """Something is wrong with what an owned document says: a fault of the owner, whose id is given."""
        owner = self.owner_of(agent_of(doc_id))
        self._faults.add(Fault(kind, owner, None, collection, doc_id, detail[:_DETAIL_LIMIT], self._now()))
        return owner

    def faults(self) -> list[Fault]:
        """What was wrong since the start: the last of each kind, signer and source, with how many there were;
        the latest first, at most 256.
        """
        return self._faults.list()

    def fault_counts(self) -> Mapping[FaultKind, int]:
        """All faults since the start, by kind."""
        return self._faults.counts()

    def status(self) -> RecordsStatus:
        """Figures; nothing is scanned for them."""
        return self._reader.status()

    def _set_banned(self, signer: EndpointId, banned: bool) -> None:
        with self._writing:
            with self._database.lock:
                row = self._signers.find(signer)
                if (row is not None and row.banned) == banned:
                    return
            with self._transaction():
                self._signers.add(signer).banned = banned
                self._upkeep.mark_signers([signer])
                if banned:
                    self._upkeep.mark_agents(self._policy.release(signer))
            self._refresh()

    def _refresh(self) -> None:
        if self._database.rows("SELECT 1 FROM stale LIMIT 1"):
            self._work(self._upkeep.refresh)

    def _work(self, work: Work) -> int:
        done = 0
        more = True
        while more:
            with self._transaction() as writing:
                now_done = work(writing)
            done += now_done
            more = now_done > 0
        return done

    @contextmanager
    def _transaction(self) -> Iterator[Writing]:
        """Stored when it ends, and told."""
        try:
            with self._database.transaction():
                writing = Writing(self._database, self._signers, self._policy)
                yield writing
                changes = writing.finish(want_changes=bool(self._on_changes))
        except BaseException:
            with suppress(PeatError):  # where even that fails, the error that is raised says why
                self._signers.load()
                self._policy.load()
            raise
        if changes:
            self._on_changes.tell(changes)

    def _tell(self, advanced: Collection[EndpointId]) -> None:
        if advanced:
            self._on_advanced.tell(frozenset(advanced))

    def _head(self) -> int:
        with self._database.lock:
            row = self._signers.find(self.id)
            return row.head if row is not None else 0


def _check_agent(collection: str, doc_id: str) -> None:
    if collection in OWNED and not agent_of(doc_id):
        raise ConfigError(
            f"a document of {collection!r} begins with an agent id, and {doc_id[:80]!r} does not"
        )
