"""What is done to many records at once: who counts has changed, clocks have come due, signers are forgotten.

Each change is stored first, with the documents it touches marked as stale in the same transaction; these are
then merged anew in small transactions, so that readers get in between, and a kill leaves the rest to the next
start.
"""

from collections.abc import Callable, Iterable

from peat_sidecar.ids import EndpointId
from peat_sidecar.records.authoring import Author
from peat_sidecar.records.clock import HybridClock, horizon_at
from peat_sidecar.records.database import Database
from peat_sidecar.records.policy import Policy, prefix_range
from peat_sidecar.records.rows import DocumentRow, State
from peat_sidecar.records.signers import SignerRow, Signers, recall
from peat_sidecar.records.values import OWNED, agent_of
from peat_sidecar.records.writing import Writing

_CHUNK = 200

Work = Callable[[Writing], int]
"""Does a part of something; how many records or documents that were. 0: nothing is left."""


class Upkeep:
    """Used within transactions; a `Work` is called in one after another until nothing is left."""

    def __init__(
        self, database: Database, signers: Signers, policy: Policy, author: Author, clock: HybridClock
    ) -> None:
        self._database = database
        self._signers = signers
        self._policy = policy
        self._author = author
        self._clock = clock

    def mark_signers(self, signers: Iterable[EndpointId]) -> None:
        """What they wrote is stale."""
        ids = [(row.id,) for key in signers if (row := self._signers.find(key)) is not None]
        self._database.execute_many(
            "INSERT OR IGNORE INTO stale SELECT document FROM records WHERE signer = ?", ids
        )

    def mark_agents(self, agents: Iterable[str]) -> None:
        """What belongs to them is stale."""
        self._database.execute_many(
            """INSERT OR IGNORE INTO stale SELECT id FROM documents
            WHERE collection = ? AND (doc_id = ? OR (doc_id >= ? AND doc_id < ?))""",
            [(collection, *prefix_range(agent)) for agent in agents for collection in sorted(OWNED)],
        )

    def refresh(self, writing: Writing) -> int:
        """Merges stale documents anew."""
        rows = self._database.fetch("SELECT document FROM stale ORDER BY document LIMIT ?", (_CHUNK,))
        for (identity,) in rows:
            document = writing.find_by_id(identity)
            if document is not None:
                self._claim(writing, document)
            self._database.execute("DELETE FROM stale WHERE document = ?", (identity,))
            if writing.is_large:
                break
        return len(rows)

    def heed_due(self, now: float) -> Work:
        """Records that were ahead and are not any more."""
        horizon = horizon_at(now)

        def work(writing: Writing) -> int:
            rows = self._database.fetch(
                "SELECT document, signer FROM records WHERE state = 1 AND clock <= ? LIMIT ?",
                (horizon, _CHUNK),
            )
            done = 0
            for identity, signer in rows:
                document = self._document(writing, identity)
                self._clock.saw(document.records[signer].clock)
                writing.change_state(
                    document, self._signers.add(self._signers.by_id(signer).key), State.COUNTS
                )
                self._claim(writing, document)
                done += 1
                if writing.is_large:
                    break
            return done

        return work

    def heed_ahead(self, now: float) -> Work:
        """Records that count although they are ahead: this node's clock was wrong when they came. Its own
        ones are said again with a better clock, others are set aside.
        """
        horizon = self._author.horizon(now)

        def work(writing: Writing) -> int:
            for row in [row for row in self._signers if self._may_be_ahead(row, horizon)]:
                rows = self._database.fetch(
                    "SELECT document FROM records WHERE signer = ? AND clock > ? AND state IN (0, ?) LIMIT ?",
                    (row.id, horizon, 1 if row.key == self._policy.own else 0, _CHUNK),
                )
                for done, (identity,) in enumerate(rows, 1):
                    self._mend(writing, self._document(writing, identity), row, now)
                    if writing.is_large:
                        return done
                if rows:
                    return len(rows)
                ((row.clock,),) = self._database.fetch(
                    "SELECT ifnull(max(clock), 0) FROM records WHERE signer = ? AND state = 0", (row.id,)
                )
                self._signers.add(row.key)
            return 0

        return work

    def _may_be_ahead(self, row: SignerRow, horizon: int) -> bool:
        if row.clock > horizon:
            return True
        return row.key == self._policy.own and bool(
            self._database.fetch(
                "SELECT 1 FROM records WHERE state = 1 AND signer = ? AND clock > ? LIMIT 1",
                (row.id, horizon),
            )
        )

    def _mend(self, writing: Writing, document: DocumentRow, row: SignerRow, now: float) -> None:
        if row.key == self._policy.own:
            self._author.restamp(writing, document, now)
        else:
            writing.change_state(document, row, State.AHEAD)

    def forget(self, row: SignerRow) -> Work:
        """Drops the signer's records; deletes that hide others' fields stay. Its claims end."""

        def work(writing: Writing) -> int:
            self._signers.add(row.key)
            if not row.forgotten:
                row.forgotten, row.clock = True, 0
                self.mark_agents(self._policy.release(row.key))
            rows = self._database.fetch(
                "SELECT document FROM records WHERE signer = ? AND state != 2 LIMIT ?", (row.id, _CHUNK)
            )
            done = 0
            for (identity,) in rows:
                document = self._document(writing, identity)
                if document.records[row.id].deleted is not None and document.collection not in OWNED:
                    writing.change_state(document, row, State.TOMBSTONE)
                else:
                    writing.drop(document, row)
                done += 1
                if writing.is_large:
                    break
            return done

        return work

    def recall(self, row: SignerRow) -> None:
        """The signer was heard of again."""
        recall(self._database, self._signers.add(row.key))

    def _document(self, writing: Writing, identity: int) -> DocumentRow:
        document = writing.find_by_id(identity)
        if document is None:
            raise self._database.damaged(f"a record is of document {identity}, which is not there")
        return document

    def _claim(self, writing: Writing, document: DocumentRow) -> None:
        """An agent id that nobody has goes to the signer that spoke of it first, of those that count."""
        if document.collection not in OWNED or not self._policy.may_claim(agent := agent_of(document.doc_id)):
            return
        candidates = [
            (record.sequence, signer.key)
            for identity, record in document.records.items()
            if record.state == State.COUNTS
            and self._policy.verdict(signer := self._signers.by_id(identity)) is None
        ]
        if candidates:
            self._policy.give(agent, min(candidates)[1])
