"""What this node holds, for the sessions of its syncer: records to frames and back, off the event loop."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from peat_sidecar.ids import EndpointId
from peat_sidecar.records import Batch, Head, Merged, Records, SignedRecord
from peat_sidecar.wire import WireBatch, WireRecord

_REFUSED_LIMIT = 10_000
Found = tuple[EndpointId, int, WireBatch | None]
"""Signer, after, and the records above that; None when there are none."""


class Holdings:
    """Records, and this node's heads as numbers in memory, which follow every change of the records.

    `on_more` is called on the event loop with the signers of whom there is more. Its calls begin with the
    first `load`.
    """

    def __init__(self, records: Records, on_more: Callable[[frozenset[EndpointId]], None]) -> None:
        self.heads: dict[EndpointId, int] = {}
        """The highest sequence that is stored of each signer; not above what is there."""
        self.unwelcome: set[EndpointId] = set()
        """Signers that have more than there is room for: what comes of them is left aside for a while."""
        self.lock = asyncio.Lock()
        """Held from a look at the heads to the merge; those that wait for it take no thread."""
        self.merging = 0
        self._raised = 0
        self._records = records
        self._on_more = on_more
        self._loop: asyncio.AbstractEventLoop | None = None
        self._here = threading.local()
        self._changed: set[EndpointId] = set()
        self._following: asyncio.Task[None] | None = None
        self._end = records.on_advanced(self._advanced)

    async def load(self) -> Mapping[EndpointId, Head]:
        """All heads as they are now."""
        self._loop = asyncio.get_running_loop()
        raised = self._raised
        heads = await asyncio.to_thread(self._records.heads)
        if raised == self._raised:  # what was forgotten and is heard of again begins anew
            self.heads = {signer: head.sequence for signer, head in heads.items()}
        for signer, head in heads.items():
            self._raise(signer, head.sequence)
        return heads

    async def digest(self) -> bytes:
        """16 bytes over all heads."""
        return await asyncio.to_thread(self._records.digest)

    async def merge(self, batches: Sequence[WireBatch], source: EndpointId) -> Merged:
        """Verifies and stores. What is new is told by `on_more` before this returns."""
        self.merging += 1
        try:
            return await asyncio.to_thread(self._merge, batches, source)
        finally:
            self.merging -= 1

    def refuse(self, signer: EndpointId) -> None:
        """That signer has more than there is room for."""
        if len(self.unwelcome) < _REFUSED_LIMIT:
            self.unwelcome.add(signer)

    async def collect(self, points: Sequence[tuple[EndpointId, int]], limit_bytes: int) -> list[Found]:
        """What there is above each point, as many points as fit; the last one may be cut short."""
        return await asyncio.to_thread(self._collect, points, limit_bytes)

    async def close(self) -> None:
        """Hears of no more changes."""
        self._end()
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})

    # ---- in other threads

    def _merge(self, batches: Sequence[WireBatch], source: EndpointId) -> Merged:
        # The listener below runs in this thread: what it is told of meanwhile, this merge has stored.
        merged: set[EndpointId] = set()
        self._here.merged = merged
        try:
            outcome = self._records.merge([_from_wire(batch) for batch in batches], source)
        finally:
            del self._here.merged
        heads = {batch.signer: batch.upto for batch in batches if batch.signer in merged}
        if outcome.faults:  # some of it may not have been stored
            stored = self._records.heads()
            heads = {signer: stored[signer].sequence for signer in heads}
        self._post(frozenset(), heads)
        return outcome

    def _collect(self, points: Sequence[tuple[EndpointId, int]], limit_bytes: int) -> list[Found]:
        found: list[Found] = []
        total = 0
        for signer, after in points:
            batch = self._records.since(signer, after, limit_bytes=limit_bytes - total)
            if batch is None:
                found.append((signer, after, None))
                continue
            size = sum(len(record.body) + len(record.signature) for record in batch.records)
            if total and total + size > limit_bytes:
                break
            found.append((signer, after, _to_wire(batch)))
            total += size
            if total >= limit_bytes:
                break
        return found

    def _advanced(self, signers: frozenset[EndpointId]) -> None:
        merged: set[EndpointId] | None = getattr(self._here, "merged", None)
        if merged is None:
            self._post(signers, {})
        else:
            merged |= signers

    def _post(self, unknown: frozenset[EndpointId], heads: Mapping[EndpointId, int]) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                self._loop.call_soon_threadsafe(self._follow, unknown, heads)

    def _read_heads(self, signers: Iterable[EndpointId]) -> dict[EndpointId, int]:
        """Reads what was added, which costs no more than that."""
        heads = {}
        for signer in signers:
            head = self.heads.get(signer, 0)
            while (batch := self._records.since(signer, head)) is not None:
                head = batch.upto
            heads[signer] = head
        return heads

    # ---- on the event loop

    def _follow(self, unknown: frozenset[EndpointId], heads: Mapping[EndpointId, int]) -> None:
        """Some signers have more; how much is known where it came by a merge from here."""
        for signer, head in heads.items():
            self._raise(signer, head)
        if heads:
            self._on_more(frozenset(heads))
        if unknown:
            self._changed |= unknown
            if self._following is None:
                self._following = asyncio.create_task(self._follow_others(), name="follow own records")

    async def _follow_others(self) -> None:
        try:
            while self._changed:
                signers, self._changed = frozenset(self._changed), set()
                for signer, head in (await asyncio.to_thread(self._read_heads, signers)).items():
                    self._raise(signer, head)
                self._on_more(signers)
        finally:
            self._following = None

    def _raise(self, signer: EndpointId, sequence: int) -> None:
        if sequence > self.heads.get(signer, 0):
            self.heads[signer] = sequence
            self._raised += 1


def _to_wire(batch: Batch) -> WireBatch:
    records = tuple(WireRecord(record.signature, record.body) for record in batch.records)
    return WireBatch(batch.signer, batch.after, batch.upto, records)


def _from_wire(batch: WireBatch) -> Batch:
    records = tuple(SignedRecord(body=body, signature=signature) for signature, body in batch.records)
    return Batch(batch.signer, batch.after, batch.upto, records)
