"""What this node says itself: the next record of a document, and new clocks for records with wrong ones."""

from collections.abc import Mapping
from typing import Any

from peat_sidecar.errors import Refused
from peat_sidecar.records.bounds import NUMBER_LIMIT, RECORDS_LIMIT
from peat_sidecar.records.clock import HybridClock, clock_at, horizon_at
from peat_sidecar.records.merging import merge_records, restamp, write, write_alone
from peat_sidecar.records.policy import Policy
from peat_sidecar.records.record import Field, Record, seal
from peat_sidecar.records.rows import DocumentRow, State
from peat_sidecar.records.signers import SignerRow, Signers
from peat_sidecar.records.signing import Signer
from peat_sidecar.records.values import OWNED, agent_of
from peat_sidecar.records.writing import Writing


class Author:
    """Used within transactions."""

    def __init__(self, signer: Signer, signers: Signers, policy: Policy, clock: HybridClock) -> None:
        self._signer = signer
        self._signers = signers
        self._policy = policy
        self._clock = clock

    def horizon(self, now: float) -> int:
        """The last clock that counts; none is too far ahead while this node's own clock is behind."""
        return NUMBER_LIMIT if self.is_behind(now) else horizon_at(now)

    def is_behind(self, now: float) -> bool:
        """Whether it is this node's clock that is wrong: records of most others, which were not ahead when
        they came, are now.
        """
        horizon = horizon_at(now)
        clocks = [row.clock for row in self._signers if row.clock and row.key != self._signer.id]
        return 2 * sum(clock > horizon for clock in clocks) > len(clocks)

    def check_owner(self, collection: str, doc_id: str) -> None:
        """Refused when somebody else owns the document."""
        if collection not in OWNED:
            return
        agent = agent_of(doc_id)
        owner = self._policy.owner_of(agent)
        if owner != self._signer.id and not (owner is None and self._policy.may_claim(agent)):
            whose = f"{owner.short}" if owner else "nobody in the roster"
            raise Refused(
                f"{collection}/{doc_id[:80]} belongs to {whose}: in {collection!r} a node writes only"
                " documents that begin with its own agent id"
            )

    def put(
        self, writing: Writing, collection: str, doc_id: str, document: Mapping[str, Any], now: float
    ) -> bool:
        """Whether there was anything to say."""
        self.check_owner(collection, doc_id)
        row = writing.find(collection, doc_id)
        own, others, tombstone = self._known(writing, row, now)
        merge = merge_records([*([own] if own else []), *others], tombstone)
        clock = self._next_clock(now, merge.clock, merge.deleted)
        deleted = own.deleted if own else None
        if collection in OWNED:
            fields = write_alone(own, merge, document, clock)
            deleted = None  # there is nobody else whose fields it could hide
        else:
            fields = write(own, others, merge, document, clock)
        if fields is None:
            return False
        self._place(writing, row, clock, fields, deleted, now)
        return True

    def delete(self, writing: Writing, collection: str, doc_id: str, now: float) -> bool:
        """Whether the document was there."""
        self.check_owner(collection, doc_id)
        row = writing.find(collection, doc_id)
        own, others, tombstone = self._known(writing, row, now)
        merge = merge_records([*([own] if own else []), *others], tombstone)
        if not merge.exists:
            return False
        clock = self._next_clock(now, merge.clock, merge.deleted)
        self._place(writing, row, clock, {}, clock, now)
        return True

    def restamp(self, writing: Writing, row: DocumentRow, now: float) -> None:
        """Says the same of a document again, with clocks of now in place of those too far ahead."""
        own, _, _ = self._known(writing, row, now)
        if own is not None:
            self._place(writing, row, own.clock, own.fields, own.deleted, now)

    def _known(
        self, writing: Writing, row: DocumentRow, now: float
    ) -> tuple[Record | None, list[Record], int]:
        """This node's record (its clocks mended), those of others that count, the latest tombstone."""
        horizon = self.horizon(now)
        own = self._signers.find(self._signer.id)
        mine = writing.record(row, own) if own is not None else None
        others = [
            record
            for signer in writing.counting(row)
            if signer is not own
            and (record := writing.record(row, signer)) is not None
            and record.clock <= horizon
        ]
        tombstones = [
            row.records[signer.id].deleted or 0 for signer in writing.counting(row, State.TOMBSTONE)
        ]
        if mine is not None and mine.clock > horizon:
            latest = max((record.clock for record in others), default=0)
            first = self._next_clock(now, latest, max(tombstones, default=0))
            self._clock.saw(first + 1)
            mine = restamp(mine, horizon, first, first + 1)
        return mine, others, max(tombstones, default=0)

    def _next_clock(self, now: float, *later_than: int) -> int:
        clock = self._clock.next(now, behind=self._clock.last > horizon_at(now) and self.is_behind(now))
        clock = max(clock, *(each + 1 for each in later_than))
        self._clock.saw(clock)
        return clock

    def _place(
        self,
        writing: Writing,
        row: DocumentRow,
        clock: int,
        fields: Mapping[str, Field],
        deleted: int | None,
        now: float,
    ) -> None:
        own = self._signers.add(self._signer.id)
        sequence = max(own.head + 1, clock_at(now))
        if max(sequence, clock) > NUMBER_LIMIT:
            raise Refused(
                "this node's key has signed the last possible sequence; give the node a new identity.key"
            )
        if own.id not in row.records and own.records >= RECORDS_LIMIT:
            raise Refused(
                f"this node has {RECORDS_LIMIT} records, which is the limit; write fewer and larger documents"
            )
        self._claim(row, own)
        record = Record(own.key, row.collection, row.doc_id, sequence, clock, fields, deleted)
        writing.place(row, own, record, seal(record, self._signer), State.COUNTS)

    def _claim(self, row: DocumentRow, own: SignerRow) -> None:
        if row.collection in OWNED and self._policy.may_claim(agent := agent_of(row.doc_id)):
            self._policy.give(agent, own.key)
