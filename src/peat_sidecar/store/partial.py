"""A blob that is here in part: verified groups go to their place on disk, and a map says which are there.

Written first are the tree pairs and the data; then, at most a second or 32 MiB later and after fsync of
both, the map of groups. So the map never claims what is not on disk, and what is on disk unclaimed (after a
crash) is found again by hashing. SHA-256 follows the data while it comes in order, and little is
left for `finish`.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from peat_sidecar.bao import CHUNK_SIZE, GROUP_SIZE, Verified, check_groups, chunk_count
from peat_sidecar.errors import IntegrityError, NotFound, PeatError, StoreFailed
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store.checkpoints import Checkpointer
from peat_sidecar.store.failures import translated
from peat_sidecar.store.hashing import PIECE_BYTES, Digester, wants_sha512
from peat_sidecar.store.have import HaveMap, encode_have
from peat_sidecar.store.open_file import OpenFile
from peat_sidecar.store.records import BlobInfo
from peat_sidecar.store.shelf import Finished, Shelf

_CHECKPOINT_SECONDS = 1.0
_CHECKPOINT_BYTES = 32 << 20
_RECENT_PIECES = 8
"""Pieces kept in memory for the hash that runs along; it reads from the file what it misses."""


@dataclass(slots=True)
class PartialState:
    """What is known of a partial blob; shared by its writer and its readers."""

    hash: BlobHash
    size: int | None
    size_proven: bool
    expected: Digest | None
    media_type: str | None
    have: ChunkRanges
    """Whole groups that are verified and written; replaced, never changed."""
    claimed: ChunkRanges
    """What the map on disk says: never more than what is on disk."""
    searched: bool
    """Nothing more is on disk than `have` says."""
    complete: bool = False
    """Published: the files have moved."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, blob_hash: BlobHash, known: HaveMap | None) -> "PartialState":
        known = known or HaveMap()
        names = (known.expected, known.media_type)
        return cls(blob_hash, known.size, known.size_proven, *names, known.have, known.have, known.settled)

    @property
    def present(self) -> int:
        """Bytes here."""
        return self.have.byte_length(self.size) if self.size is not None else 0

    def info(self) -> BlobInfo:
        is_sha256 = self.expected is not None and self.expected.algorithm == "sha256"
        digest = self.expected if is_sha256 else None
        sha512 = None if is_sha256 else self.expected
        return BlobInfo(
            self.hash, digest, sha512, self.size or 0, self.media_type, False, self.present, False
        )


class PartialBlob:
    """The one writer of a partial blob. Thread-safe: several threads may write different runs."""

    def __init__(
        self,
        shelf: Shelf,
        state: PartialState,
        *,
        checkpointer: Checkpointer,
        hashers: Executor,
        on_close: Callable[["PartialBlob", bool], None],
    ) -> None:
        self._shelf = shelf
        self._state = state
        self._checkpointer = checkpointer
        self._hashers = hashers
        self._on_close = on_close
        self.on_change: list[Callable[[ChunkRanges], None]] = []
        """Called with the chunks that are newly here, from the writing thread."""
        self._closed = False
        self._saving = threading.Lock()
        self._unsaved_bytes = 0
        self._failure: PeatError | None = None
        self._digester = Digester(sha512=wants_sha512(state.expected))
        self._hashing: Future[None] | None = None
        self._recent: dict[int, bytes] = {}
        self._path = shelf.layout.partial_file(state.hash, "data")
        self._tree_path = shelf.layout.partial_file(state.hash, "tree")
        self._tree: OpenFile | None = None
        with translated(self._path):
            self._data = self._open("data")
            try:
                if state.size is not None:
                    self._start_size(state.size)
                self._save_map(settled=False)
            except BaseException:
                self._close_files()
                raise

    # what is known

    @property
    def hash(self) -> BlobHash:
        return self._state.hash

    @property
    def size(self) -> int | None:
        """Bytes of the whole; None until someone has said it."""
        return self._state.size

    @property
    def size_proven(self) -> bool:
        """The size is certain, because the last chunk was verified."""
        return self._state.size_proven

    @property
    def have(self) -> ChunkRanges:
        """Whole groups that are verified and written."""
        return self._state.have

    @property
    def present(self) -> int:
        """Bytes that are here."""
        return self._state.present

    @property
    def complete(self) -> bool:
        """Every group is here; `finish` may be called."""
        size = self._state.size
        return size is not None and not ChunkRanges.all().clamp(size) - self._state.have

    def set_size(self, size: int) -> None:
        """What a provider says the size is. IntegrityError when it is proven to be another one."""
        state = self._state
        with state.lock:
            if state.size == size:
                return
            if state.size_proven:
                raise IntegrityError(
                    f"blob {state.hash} has {state.size} bytes, not the {size} that were said"
                )
            if state.size is not None:  # groups that are verified stay so, whatever the size turns out to be
                inside = ChunkRanges.of(0, chunk_count(size))
                state.have, state.claimed = state.have & inside, state.claimed & inside
            state.size = size
        with translated(self._path):
            self._start_size(size)
            self._save_map(settled=False)

    # writing

    def write(self, verified: Verified) -> int:
        """Puts a verified piece in its place. It counts as here, and is served, when this returns: how many
        bytes of it were not here before.
        """
        self._raise_failure()
        state, size = self._state, self._state.size
        if size is None:
            raise StoreFailed("the size of a partial blob is set before its data is written")
        length = len(verified.data)
        offset = verified.start * CHUNK_SIZE
        with translated(self._path, length):
            for at, pairs in verified.outboard:
                if self._tree is not None:
                    with self._tree.use() as fd:
                        self._shelf.disk.write(fd, pairs, at)
            with self._data.use() as fd:
                self._shelf.disk.write(fd, verified.data, offset)
        end = verified.start + max(1, -(-length // CHUNK_SIZE))
        covered = ChunkRanges.of(verified.start, end).whole_groups(size)
        with state.lock:
            fresh = covered - state.have
            state.have = state.have | covered
            state.size_proven = state.size_proven or end >= chunk_count(size)
            self._unsaved_bytes += length
            unsaved = self._unsaved_bytes
        if fresh:
            for listener in tuple(self.on_change):
                listener(fresh)
            self._shelf.announce(state.hash, size, fresh)
        self._hash_along(offset, verified.data)
        self._checkpointer.request(self, 0 if unsaved >= _CHECKPOINT_BYTES else _CHECKPOINT_SECONDS)
        return fresh.byte_length(size)

    def checkpoint(self) -> None:
        """Makes all that is written until now durable."""
        self._save(settled=False)

    def checkpoint_due(self) -> None:
        """For the checkpointer: a failure is told to the next writer."""
        try:
            if not self._closed:
                self.checkpoint()
        except PeatError as error:
            self._failure = error

    # the end

    def finish(self) -> BlobInfo:
        """Proves the digests and publishes. IntegrityError: not the bytes that the digest promised; dropped.

        After StoreFull everything is still there, and `finish` may be called again.
        """
        state = self._state
        if not self.complete or state.size is None:
            missing = (
                "its size is unknown"
                if state.size is None
                else f"{state.size - self.present} bytes are missing"
            )
            raise NotFound(f"blob {state.hash} is not complete: {missing}")
        self._hash_rest(state.size)
        names = self._digester.names(state.hash)
        try:
            names.require(state.expected)
        except IntegrityError:
            self.discard()
            raise
        tree = self._tree_path if self._tree is not None else None
        with self._saving, translated(self._path, state.size):
            with self._data.use() as fd:
                self._shelf.disk.truncate(fd, state.size)
                self._shelf.disk.sync(fd)
                self._shelf.disk.protect(fd)
            self._sync_tree()
            finished = Finished(names, state.size, self._path, tree, state.media_type)
            (info,) = self._shelf.publish([finished])
            state.complete = True
            state.have = ChunkRanges.all()
            self._shelf.disk.unlink(self._shelf.layout.partial_file(state.hash, "have"))
            self._shelf.disk.unlink(self._tree_path)
        self._end(gone=True)
        return info

    def close(self) -> None:
        """Keeps what is here for later. Never fails: at worst the last second is found again by hashing."""
        if self._closed:
            return
        self._checkpointer.forget(self)
        with suppress(PeatError):
            self._wait_for_hash()
            if self._shelf.find(self._state.hash) is not None:  # it came whole another way
                self.discard()
                return
            self._save(settled=True)
        self._end(gone=False)

    def discard(self) -> None:
        """Drops everything that is here."""
        if self._closed:
            return
        with self._saving:
            self._shelf.remove_part(self._state.hash)
            self._end(gone=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # files

    def _open(self, kind: str) -> OpenFile:
        path = self._shelf.layout.partial_file(self._state.hash, kind)
        return OpenFile(self._shelf.disk, self._shelf.disk.open(path, create=not path.exists(), write=True))

    def _start_size(self, size: int) -> None:
        """Opens the tree, now that it is known whether there is one; finds what a crash left unclaimed."""
        if self._tree is None and size > GROUP_SIZE:
            self._tree = self._open("tree")
        if not self._state.searched:
            found = self._find_unclaimed(size)
            with self._state.lock:
                self._state.have = self._state.have | found
            self._state.searched = True

    def _find_unclaimed(self, size: int) -> ChunkRanges:
        disk = self._shelf.disk
        with self._data.use() as data:
            candidates = ChunkRanges.none()
            for start, end in disk.data_extents(data, size):
                first, last = start // CHUNK_SIZE, -(-end // CHUNK_SIZE)
                candidates |= ChunkRanges.of(first, last).widen_to_groups() & ChunkRanges.of(
                    0, chunk_count(size)
                )
            candidates = candidates - self._state.have
            if not candidates:
                return candidates

            def read_data(offset: int, length: int) -> bytes:
                return disk.read(data, length, offset).ljust(length, b"\0")

            def read_outboard(offset: int, length: int) -> bytes:
                if self._tree is None:
                    return bytes(length)
                with self._tree.use() as tree:
                    return disk.read(tree, length, offset).ljust(length, b"\0")

            return check_groups(self._state.hash, size, candidates, read_data, read_outboard)

    def _save(self, *, settled: bool) -> None:
        """Data and tree on disk first, then the map that says so."""
        with self._saving:
            if self._closed:
                return
            with self._state.lock:
                have, self._unsaved_bytes = self._state.have, 0
            with translated(self._path, GROUP_SIZE):
                with self._data.use() as fd:
                    self._shelf.disk.sync(fd)
                self._sync_tree()
                self._state.claimed = have
                self._save_map(settled=settled)

    def _sync_tree(self) -> None:
        if self._tree is not None:
            with self._tree.use() as fd:
                self._shelf.disk.sync(fd)

    def _save_map(self, *, settled: bool) -> None:
        """A map that claims nothing yet need not survive a power loss."""
        state = self._state
        known = HaveMap(
            state.size, state.size_proven, settled, state.expected, state.media_type, state.claimed
        )
        path = self._shelf.layout.partial_file(state.hash, "have")
        self._shelf.layout.replace(self._shelf.disk, path, encode_have(known), durable=bool(state.claimed))

    # hashing

    def _hash_along(self, offset: int, data: bytes) -> None:
        state = self._state
        with state.lock:
            if offset >= self._digester.position:
                self._recent[offset] = data
                while len(self._recent) > _RECENT_PIECES:
                    del self._recent[next(iter(self._recent))]
            idle = self._hashing is None or self._hashing.done()
            if idle and not self._closed and self._held_prefix() - self._digester.position >= PIECE_BYTES:
                self._hashing = self._hashers.submit(self._hash_held, PIECE_BYTES)

    def _hash_held(self, least_bytes: int) -> None:
        """Hashes what follows in order, as long as there is so much of it."""
        state = self._state
        while not self._closed:
            with state.lock:
                position = self._digester.position
                left = self._held_prefix() - position
                piece = self._recent.pop(position, None)
            if left < least_bytes:
                return
            if piece is None or len(piece) > left:
                with translated(self._path), self._data.use() as fd:
                    piece = self._shelf.disk.read(fd, min(PIECE_BYTES, left), position)
            if not piece:
                raise StoreFailed(
                    f"{self._path} is shorter than its map says; discard the blob and fetch it again"
                )
            self._digester.update(piece)

    def _hash_rest(self, size: int) -> None:
        self._wait_for_hash()
        self._hash_held(1)
        if self._digester.position != size:
            raise StoreFailed(f"blob {self._state.hash} was closed while it was finished; open it again")

    def _held_prefix(self) -> int:
        """Bytes from the start that are all here."""
        start, end = next(self._state.have.intervals(), (1, None))
        size = self._state.size or 0
        return 0 if start else size if end is None else min(size, end * CHUNK_SIZE)

    def _wait_for_hash(self) -> None:
        if self._hashing is not None and not self._hashing.cancel():
            self._hashing.result()
        self._hashing = None

    # closing

    def _raise_failure(self) -> None:
        if self._closed:
            raise StoreFailed("this partial blob is closed; open it again")
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _end(self, *, gone: bool) -> None:
        if not self._closed:
            self._closed = True
            self._checkpointer.forget(self)
            self._close_files()
            self._on_close(self, gone)

    def _close_files(self) -> None:
        self._data.close()
        if self._tree is not None:
            self._tree.close()
