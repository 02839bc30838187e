"""Batches from peers: checked, proven, and only then stored.

A batch is taken up to the first thing that is wrong with it, since what comes after a hole would hide the
hole. What is stored and passed on does not depend on whom this node trusts; what counts does.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from peat_sidecar.errors import IntegrityError
from peat_sidecar.ids import EndpointId
from peat_sidecar.records.bounds import RECORDS_LIMIT, SIGNER_LIMIT_BYTES, SIGNERS_LIMIT
from peat_sidecar.records.clock import HybridClock
from peat_sidecar.records.database import Database
from peat_sidecar.records.policy import Policy
from peat_sidecar.records.record import Record, SignedRecord
from peat_sidecar.records.rows import DocumentRow, State
from peat_sidecar.records.signers import SignerRow, Signers, recall
from peat_sidecar.records.signing import is_signed
from peat_sidecar.records.values import OWNED, Batch, Fault, FaultKind, agent_of
from peat_sidecar.records.writing import Writing

_FAULTS_LIMIT = 100


class _BatchEnds(Exception):
    """Nothing more of this batch is taken."""


@dataclass(slots=True)
class Receipt:
    """What happens to the batches of one merge."""

    source: EndpointId | None
    now: float
    note: Callable[[Fault], None]
    """Hears of every fault."""
    new: int = 0
    advanced: set[EndpointId] = field(default_factory=set)
    gaps: set[EndpointId] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    last: SignerRow | None = None
    """Of the record that was stored last in this transaction."""

    def fault(self, kind: FaultKind, signer: EndpointId, detail: str, record: Record | None = None) -> None:
        """Something is wrong with a record, or a batch."""
        collection, doc_id = (record.collection, record.doc_id) if record else ("", "")
        fault = Fault(kind, signer, self.source, collection, doc_id, detail, self.now)
        if len(self.faults) < _FAULTS_LIMIT:
            self.faults.append(fault)
        self.note(fault)


class Receiver:
    """Checks and stores. The caller holds the lock of the writers."""

    def __init__(self, database: Database, signers: Signers, policy: Policy, clock: HybridClock) -> None:
        self._database = database
        self._signers = signers
        self._policy = policy
        self._clock = clock

    def prove(self, batches: Sequence[Batch], receipt: Receipt) -> list[tuple[Record, SignedRecord]]:
        """What is worth storing, in order. Long work without the database's lock."""
        proven: list[tuple[Record, SignedRecord]] = []
        heads: dict[EndpointId, int] = {}
        for batch in batches:
            signer = batch.signer
            row = self._signers.find(signer)
            head = heads.get(signer, row.head if row else 0)
            if batch.after > head:
                receipt.gaps.add(signer)
                continue
            if row is not None and row.forgotten and batch.upto <= row.head and head == row.head:
                continue
            taken: list[tuple[Record, SignedRecord]] = []
            try:
                for each in self._each_proven(batch, row, receipt):
                    taken.append(each)
                    head = max(head, each[0].sequence)
            except _BatchEnds:
                pass
            if row is not None and row.forgotten and head <= row.head:
                continue  # nothing new was proven, so it stays forgotten
            proven += taken
            heads[signer] = head
        return proven

    def store(
        self, record: Record, signed: SignedRecord, writing: Writing, horizon: int, receipt: Receipt
    ) -> None:
        """One proven record, within a transaction."""
        document = writing.find(record.collection, record.doc_id)
        signer = self._signers.find(record.signer)
        known = document.records.get(signer.id) if signer is not None else None
        if (
            signer is not None
            and known is not None
            and not self._replaces(record, signed, document, signer, known.sequence, writing, receipt)
        ):
            return
        if not self._has_room(record, signed, signer, known is not None, receipt):
            return
        if signer is None or signer is not receipt.last:
            signer = receipt.last = self._signers.add(record.signer)
            signer.heard = max(signer.heard, receipt.now)
            receipt.advanced.add(signer.key)
            if signer.forgotten:
                recall(self._database, signer)
        state = State.AHEAD if record.clock > horizon else State.COUNTS
        if state is State.COUNTS:
            self._clock.saw(record.clock)
        self._report(record, signer, state, receipt)
        writing.place(document, signer, record, signed, state)
        receipt.new += 1

    def _each_proven(
        self, batch: Batch, row: SignerRow | None, receipt: Receipt
    ) -> Iterator[tuple[Record, SignedRecord]]:
        last = batch.after
        head = row.head if row else 0
        if not batch.records or batch.upto != _last_sequence(batch):
            self._end(receipt, FaultKind.MALFORMED, batch, "the batch does not end where it says")
        for signed in batch.records:
            try:
                record = signed.record
            except IntegrityError as error:
                self._end(receipt, FaultKind.MALFORMED, batch, str(error))
            if record.signer != batch.signer:
                self._end(
                    receipt, FaultKind.MALFORMED, batch, "the batch has another signer's record", record
                )
            if record.sequence < last or record.sequence <= batch.after:
                self._end(receipt, FaultKind.MALFORMED, batch, "the batch is not in order", record)
            again = record.sequence == last
            last = record.sequence
            if row is not None and record.sequence <= head and self._is_known(record, signed, row, receipt):
                continue
            if not is_signed(signed.body, signed.signature, record.signer):
                self._end(receipt, FaultKind.FORGED, batch, "its signature is not its signer's", record)
            if again:
                self._equivocates(record, receipt)
            yield record, signed

    def _is_known(self, record: Record, signed: SignedRecord, row: SignerRow, receipt: Receipt) -> bool:
        """Stored already, or a newer one is; both without the cost of a signature."""
        stored = self._database.rows(
            """SELECT sequence, CASE WHEN sequence = ? THEN body END FROM records
            WHERE signer = ? AND document = (SELECT id FROM documents WHERE collection = ? AND doc_id = ?)""",
            (record.sequence, row.id, record.collection, record.doc_id),
        )
        if not stored:
            return False
        ((sequence, body),) = stored
        if sequence > record.sequence:
            receipt.fault(FaultKind.OLDER, record.signer, f"sequence {sequence} is stored", record)
            return True
        return bool(body == signed.body)

    def _replaces(
        self,
        record: Record,
        signed: SignedRecord,
        document: DocumentRow,
        signer: SignerRow,
        known_sequence: int,
        writing: Writing,
        receipt: Receipt,
    ) -> bool:
        """Whether it is kept instead of the one that is stored: per signer and document the greatest
        (sequence, body).
        """
        if record.sequence < known_sequence:
            receipt.fault(FaultKind.OLDER, record.signer, f"sequence {known_sequence} is stored", record)
            return False
        if record.sequence > known_sequence:
            return True
        body = writing.signed(document, signer).body
        if body == signed.body:
            return False
        self._equivocates(record, receipt)
        return signed.body > body

    def _has_room(
        self, record: Record, signed: SignedRecord, signer: SignerRow | None, replaces: bool, receipt: Receipt
    ) -> bool:
        """Whether the signer, or any new one, may have one more."""
        if signer is None:
            member = record.signer in self._policy.members or record.signer in self._policy.also
            if len(self._signers) >= SIGNERS_LIMIT and not member:
                receipt.fault(FaultKind.FLOOD, record.signer, f"{SIGNERS_LIMIT} signers are known", record)
                return False
            return True
        if signer.records >= RECORDS_LIMIT and not replaces:
            receipt.fault(FaultKind.FLOOD, record.signer, f"it has {RECORDS_LIMIT} records here", record)
            return False
        if signer.size + len(signed.body) > SIGNER_LIMIT_BYTES:
            receipt.fault(
                FaultKind.FLOOD, record.signer, f"it has {signer.size} bytes of records here", record
            )
            return False
        return True

    def _report(self, record: Record, signer: SignerRow, state: State, receipt: Receipt) -> None:
        """What is wrong with a record that is stored, and what it claims."""
        if record.sequence <= signer.head and self._database.fetch(
            """SELECT 1 FROM records WHERE signer = ? AND sequence = ?
            AND document != ifnull((SELECT id FROM documents WHERE collection = ? AND doc_id = ?), 0)""",
            (signer.id, record.sequence, record.collection, record.doc_id),
        ):
            self._equivocates(record, receipt)
        if (verdict := self._policy.verdict(signer)) is not None:
            receipt.fault(
                verdict, record.signer, f"the signer is {_WHY[verdict]}; its records decide nothing", record
            )
        elif state is State.AHEAD:
            receipt.fault(FaultKind.FUTURE, record.signer, "its clock is more than a day ahead", record)
        elif record.collection in OWNED:
            agent = agent_of(record.doc_id)
            if self._policy.may_claim(agent):
                self._policy.give(agent, signer.key)
            elif (owner := self._policy.owner_of(agent)) != signer.key:
                whose = f"belongs to {owner.short}" if owner else "belongs to nobody in the roster"
                receipt.fault(
                    FaultKind.FOREIGN, record.signer, f"the agent id {agent[:80]!r} {whose}", record
                )

    def _equivocates(self, record: Record, receipt: Receipt) -> None:
        receipt.fault(
            FaultKind.EQUIVOCATION,
            record.signer,
            f"its signer said something else with sequence {record.sequence}; it may run twice, or have"
            " lost its state",
            record,
        )

    def _end(
        self, receipt: Receipt, kind: FaultKind, batch: Batch, detail: str, record: Record | None = None
    ) -> None:
        receipt.fault(kind, batch.signer, detail, record)
        raise _BatchEnds


_WHY = {FaultKind.BANNED: "banned", FaultKind.STRANGER: "not in the roster"}


def _last_sequence(batch: Batch) -> int | None:
    try:
        return batch.records[-1].record.sequence
    except IntegrityError:
        return None
