"""Subscriptions to documents: all of them as upserts, then each change, and none is lost between the two.

A subscription listens before it reads. While it reads, a change of what it has yet to read is dropped, since
that will be read; a change of what was read waits, the newest of each document. Then changes go through a
queue in the order of their commits. Who does not keep up finds the queue given up and an error instead: what
is held for one client is bounded, however slow it is.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from peat_sidecar.records import Change, Document, Records
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb

SUBSCRIPTIONS_LIMIT = 16
QUEUE_LIMIT_BYTES = 8 << 20
"""For each. A first synchronisation brings thousands of documents a second, more than some clients take."""
DOCUMENT_LIMIT_BYTES = (4 << 20) - (64 << 10)
"""A gRPC client takes messages of 4 MiB unless it is told otherwise. One record has 1 MiB at most, but a
document may be the merge of many."""
_PAGE_BYTES = 256 << 10
_PAGE_IDS = 500
_OVERHEAD_BYTES = 400
"""What a queued change takes beside its texts, about."""

_Place = tuple[str, bool, str]
"""Collection, whether all of it was read, and how far else: compares as the snapshot goes."""


class Subscriptions:
    """All that there are."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._open: set[_Subscription] = set()
        self._closed = False

    def __iter__(self) -> Iterator["_Subscription"]:
        return iter(self._open)

    async def changes(self, collections: Iterable[str]) -> AsyncIterator[pb.DocumentChange]:
        """The snapshot and what follows, without end. `ConnectError` with `resource_exhausted` when there are
        too many subscriptions, or this one is too slow; `unavailable` when the daemon stops.
        """
        if self._closed:
            raise _stopping()
        if len(self._open) >= SUBSCRIPTIONS_LIMIT:
            raise ConnectError(
                Code.RESOURCE_EXHAUSTED,
                f"there are {SUBSCRIPTIONS_LIMIT} subscriptions already; end one, or subscribe to several"
                " collections at once",
            )
        subscription = _Subscription(self._records, frozenset(collections))
        self._open.add(subscription)
        try:
            async for change in subscription.run():
                yield change
        finally:
            subscription.end()
            self._open.discard(subscription)

    def close(self) -> None:
        """Ends all of them; further ones are refused."""
        self._closed = True
        for subscription in tuple(self._open):
            subscription.stop()


class _Subscription:
    """Between the threads that write records and the task that answers one client."""

    def __init__(self, records: Records, collections: frozenset[str]) -> None:
        self._records = records
        self._collections = collections
        """Empty: all."""
        self._loop = asyncio.get_running_loop()
        self._more = asyncio.Event()
        self._lock = threading.Lock()
        self._queue: dict[Hashable, tuple[pb.DocumentChange, int]] = {}
        self._queued_bytes = 0
        self._count = 0
        self._to_read: frozenset[str] = frozenset()
        """Collections of the snapshot; none once it is done."""
        self._read_to: _Place = ("", False, "")
        self._is_reading = True
        self._overrun = False
        self._stopped = False
        self._end: Callable[[], None] = records.subscribe(self._changed)

    @property
    def is_live(self) -> bool:
        """Whether the snapshot is done."""
        return not self._is_reading and not self._to_read

    async def run(self) -> AsyncIterator[pb.DocumentChange]:
        async for change in self._snapshot():
            yield change
        while True:
            await self._more.wait()
            self._more.clear()
            while (queued := self._take()) is not None:
                yield queued

    def end(self) -> None:
        """Nothing is listened to or held any more."""
        self._end()
        with self._lock:
            self._forget()

    def stop(self) -> None:
        """`run` ends with an error."""
        self._stopped = True
        self._more.set()

    # ---- the snapshot

    async def _snapshot(self) -> AsyncIterator[pb.DocumentChange]:
        collections = self._collections or frozenset(await asyncio.to_thread(self._records.collections))
        with self._lock:
            # What came meanwhile of these will be read; of others, which are new, it is all there is.
            self._to_read, self._is_reading = collections, False
            self._drop_unread()
        for collection in sorted(collections):
            after, more = "", True
            while more:
                page, after, more = await self._read(collection, after)
                for change in page:
                    yield change
                while (queued := self._take()) is not None:
                    yield queued
        with self._lock:
            self._to_read = frozenset()
            if self._queue or self._overrun:
                self._more.set()

    async def _read(self, collection: str, after: str) -> tuple[list[pb.DocumentChange], str, bool]:
        with self._lock:
            self._is_reading = True
        page, after, more = await asyncio.to_thread(_read_page, self._records, collection, after)
        with self._lock:
            self._is_reading = False
            self._read_to = (collection, not more, after)
            self._drop_unread()
        return page, after, more

    def _drop_unread(self) -> None:
        for key in [each for each in self._queue if isinstance(each, tuple) and self._will_be_read(*each)]:
            self._queued_bytes -= self._queue.pop(key)[1]

    def _will_be_read(self, collection: str, doc_id: str) -> bool:
        return collection in self._to_read and (collection, False, doc_id) > self._read_to

    # ---- changes

    def _changed(self, changes: Sequence[Change]) -> None:
        """In the thread that wrote them."""
        for change in changes:
            if not self._collections or change.collection in self._collections:
                self._add(change)
        with self._lock:
            awake = bool(self._queue) or self._overrun
        if awake and not self._more.is_set():
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._more.set)

    def _add(self, change: Change) -> None:
        with self._lock:
            place = (change.collection, change.doc_id)
            if self._overrun or (not self._is_reading and self._will_be_read(*place)):
                return
            self._count += 1
            key: Hashable = self._count if self.is_live else place
        message, size = _message(*place, change.document)
        with self._lock:
            _, before = self._queue.pop(key, (message, 0))
            self._queue[key] = message, size
            self._queued_bytes += size - before
            if self._queued_bytes > QUEUE_LIMIT_BYTES:
                self._overrun = True
                self._forget()

    def _take(self) -> pb.DocumentChange | None:
        """The next in the queue."""
        if self._stopped:
            raise _stopping()
        with self._lock:
            if self._overrun:
                raise ConnectError(
                    Code.RESOURCE_EXHAUSTED,
                    "changes came faster than this subscription took them, and were not kept;"
                    " subscribe again: that begins with all documents as they are then",
                )
            key = next(iter(self._queue), None)
            if key is None:
                return None
            message, size = self._queue.pop(key)
            self._queued_bytes -= size
            return message

    def _forget(self) -> None:
        self._queue.clear()
        self._queued_bytes = 0


def _read_page(records: Records, collection: str, after: str) -> tuple[list[pb.DocumentChange], str, bool]:
    """Some documents behind `after`; how far that went, and whether there are more."""
    ids = records.list_ids(collection, after=after, limit=_PAGE_IDS)
    page: list[pb.DocumentChange] = []
    total = 0
    for doc_id in ids:
        if total > _PAGE_BYTES:
            return page, after, True
        document, after = records.get(collection, doc_id), doc_id
        if document is not None:  # it may just have been deleted
            message, size = _message(collection, doc_id, document)
            page.append(message)
            total += size
    return page, after, len(ids) == _PAGE_IDS


def _message(collection: str, doc_id: str, document: Document | None) -> tuple[pb.DocumentChange, int]:
    """With about how many bytes it takes."""
    message = pb.DocumentChange(collection=collection, doc_id=doc_id, change_type=pb.ChangeType.DELETE)
    size = len(doc_id) + _OVERHEAD_BYTES
    if document is not None:
        message.change_type = pb.ChangeType.UPSERT
        text = document.json
        text_bytes = len(text.encode())
        if text_bytes <= DOCUMENT_LIMIT_BYTES:
            message.json_data = text
            size += text_bytes
    return message, size


def _stopping() -> ConnectError:
    return ConnectError(Code.UNAVAILABLE, "the daemon is stopping; subscribe again when it runs")
