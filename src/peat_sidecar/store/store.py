"""The store's face: blobs and packages of one data directory."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from blake3 import blake3

from peat_sidecar.bao import GROUP_SIZE
from peat_sidecar.errors import NotFound, Refused
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store import exporting, importing
from peat_sidecar.store.catalog import Catalog
from peat_sidecar.store.checkpoints import Checkpointer
from peat_sidecar.store.disk import Disk
from peat_sidecar.store.failures import require_room, translated
from peat_sidecar.store.files import TreeFile
from peat_sidecar.store.hashing import Digester, NamePipeline, Names, wants_sha512
from peat_sidecar.store.holdings import Holdings
from peat_sidecar.store.index import BlobRow, Index
from peat_sidecar.store.layout import Layout
from peat_sidecar.store.lock import DataDirLock
from peat_sidecar.store.partial import PartialBlob, PartialState
from peat_sidecar.store.reader import BlobReader
from peat_sidecar.store.records import BlobInfo, Usage
from peat_sidecar.store.recovery import Recovery
from peat_sidecar.store.shelf import Finished, Listener, Shelf
from peat_sidecar.store.writer import BlobWriter

_PUT_THREADS = 8
"""fsyncs in flight at once while many small blobs are put: the disk takes them together."""
_HASH_THREADS = 2

Item = tuple[bytes, Digest | None, str | None]
"""Data, expected digest, media type."""


class Store(Holdings):
    """Synchronous and thread-safe; on an event loop, what touches the disk for long belongs into a thread."""

    def __init__(
        self, shelf: Shelf, catalog: Catalog, partials: dict[BlobHash, PartialState], lock: DataDirLock
    ) -> None:
        super().__init__(shelf, catalog)
        self._lock = lock
        self._partials = partials
        self._open_partials: dict[BlobHash, PartialBlob | None] = {}
        """None while one is being opened."""
        self._downloads: set[Digest] = set()
        self._registering = threading.Lock()
        self._checkpointer = Checkpointer()
        self._hashers = ThreadPoolExecutor(_HASH_THREADS, "hash")
        self._closed = False
        shelf.on_published = self._drop_part

    @classmethod
    def open(cls, data_dir: Path, *, disk: Disk | None = None) -> Self:
        """Locks the directory, makes it where it is missing, and puts right what a crash left.

        ConfigError when another process has it; StoreFull and StoreFailed as everywhere.
        """
        disk = disk or Disk()
        layout = Layout(data_dir.absolute())
        with translated(data_dir, 64 << 10), ExitStack() as undo:
            disk.make_folder(layout.data_dir)
            lock = DataDirLock(layout.data_dir)
            undo.callback(lock.close)
            layout.make(disk)
            index = Index(layout.index)
            undo.callback(index.close)
            shelf = Shelf(layout, disk, index)
            partials = Recovery(shelf).run()
            catalog = Catalog(shelf)
            catalog.recover()
            undo.pop_all()
        return cls(shelf, catalog, partials, lock)

    def close(self) -> None:
        """Puts partial blobs away and unlocks the directory. Closing again does nothing."""
        if self._closed:
            return
        self._closed = True
        for partial in list(self._open_partials.values()):
            if partial is not None:
                partial.close()
        self._checkpointer.close()
        self._hashers.shutdown()
        self._shelf.index.close()
        self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def directory(self) -> Path:
        """The OCI image layout."""
        return self._shelf.layout.oci

    # looking

    def find(self, name: BlobHash | Digest) -> BlobInfo | None:
        """A blob, complete or partial, by either name."""
        row = self._shelf.find(name)
        if row is not None:
            return self._shelf.info(row)
        state = self._find_partial(name)
        return state.info() if state is not None else None

    def blobs(
        self,
        *,
        after: str = "",
        limit: int = 100,
        complete: bool | None = None,
        media_type: str | None = None,
        package: Digest | None = None,
    ) -> list[BlobInfo]:
        """A page, in the order of the hashes; `after` is the last hash of the page before, as text."""
        found: list[BlobInfo] = []
        if complete is not False:
            start = BlobHash.parse(after).value if after else b""
            rows = self._shelf.index.blobs(after=start, limit=limit, media_type=media_type, package=package)
            found += map(self._shelf.info, rows)
        if complete is not True and package is None:
            with self._registering:
                states = list(self._partials.values())
            # one that has come whole another way is listed as that
            infos = (state.info() for state in states if self._shelf.find(state.hash) is None)
            found += (
                info for info in infos if media_type in (None, info.media_type) and str(info.hash) > after
            )
        return sorted(found, key=lambda info: info.hash)[:limit]

    def usage(self) -> Usage:
        blobs, size, packages = self._shelf.index.totals()
        with self._registering:
            states = list(self._partials.values())
        present = sum(state.present for state in states)
        return Usage(blobs, size, len(states), present, packages, self._free_bytes())

    def require_room(self, needed_bytes: int) -> None:
        """StoreFull when the disk has no room for so much more."""
        require_room(self._shelf.layout.partial, needed_bytes)

    def subscribe(self, hash: BlobHash, listener: Listener) -> Callable[[], None]:
        """Calls `listener(size, new chunks)` whenever more of the blob is here, from the thread that
        brought it, also for a blob that is not known yet. Returns what ends it.
        """
        return self._shelf.subscribe(hash, listener)

    def reader(self, hash: BlobHash, *, hand_out: bool = False) -> BlobReader:
        """NotFound when nothing of it is here; IntegrityError when it was linked and the file has changed.

        What is handed out is in use until the reader is closed, and a little longer.
        """
        reader = self._reader(hash)
        if hand_out:
            self._handed_out.begin(hash)
            reader.on_close(lambda: self._handed_out.end(hash))
        return reader

    def _reader(self, hash: BlobHash) -> BlobReader:
        row = self._shelf.find(hash)
        if row is None:
            with self._registering:
                state = self._partials.get(hash)
            if state is not None:
                with suppress(FileNotFoundError):
                    return self._partial_reader(state)
            row = self._shelf.find(hash)  # it was published this moment
        if row is None:
            raise NotFound(f"blob {hash} is not in the store; fetch or import it first")
        return self._complete_reader(row)

    # bringing in

    def put(self, data: bytes, *, media_type: str | None = None, expected: Digest | None = None) -> BlobInfo:
        """A small blob. IntegrityError when it is not the expected one."""
        return self.put_many([(data, expected, media_type)])[0]

    def put_many(self, items: Sequence[Item]) -> list[BlobInfo]:
        """Many small blobs with shared trips to the disk; all of them or none."""
        if not items:
            return []
        layout = self._shelf.layout
        require_room(layout.partial, sum(len(data) for data, _, _ in items))
        finished: list[Finished] = []
        paths = [(layout.temporary("data"), layout.temporary("tree")) for _ in items]
        try:
            with ThreadPoolExecutor(min(_PUT_THREADS, len(items)), "put") as threads:
                finished = list(threads.map(self._write_item, items, paths))
            return self._shelf.publish(finished)
        finally:
            for data, tree in paths:
                with suppress(OSError):
                    self._shelf.disk.unlink(data)
                    self._shelf.disk.unlink(tree)

    def writer(
        self,
        size: int,
        *,
        expected: Digest | None = None,
        media_type: str | None = None,
        resume: bool = False,
    ) -> BlobWriter:
        """A blob that comes as a stream. With `resume` (which needs `expected`) what came is kept when it
        is suspended or the program dies, and the next such writer begins at its `offset`.
        """
        if not resume or expected is None:
            return BlobWriter(self._shelf, size, expected=expected, media_type=media_type)
        with self._registering:
            if expected in self._downloads:
                raise Refused(f"{expected} is already being downloaded; wait for that to end")
            self._downloads.add(expected)
        try:
            return BlobWriter(
                self._shelf,
                size,
                expected=expected,
                media_type=media_type,
                keep=self._shelf.layout.download(expected),
                on_close=lambda: self._downloads.discard(expected),
            )
        except BaseException:
            self._downloads.discard(expected)
            raise

    def downloaded(self, expected: Digest) -> int:
        """How many bytes of a blob have come that comes as a stream, or came before one broke off."""
        with suppress(OSError):
            return self._shelf.layout.download(expected).stat().st_size
        return 0

    def read_download(self, expected: Digest, offset: int, most_bytes: int) -> bytes:
        """Some of them; nothing is proven yet. Empty where there are none."""
        with suppress(OSError), self._shelf.layout.download(expected).open("rb") as file:
            file.seek(offset)
            return file.read(most_bytes)
        return b""

    def import_file(
        self,
        fd: int,
        *,
        expected: Digest | None = None,
        media_type: str | None = None,
        link: bool = False,
        keep: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> BlobInfo:
        """Takes a file in, by reflink where the disk can, else by copy, or with `link` by sharing the file.

        With `keep` it stays by itself, until somebody deletes it. `progress` is called with the bytes done.
        SourceError when the file changes meanwhile.
        """
        with ExitStack() as held:
            info = importing.import_file(
                self._shelf,
                fd,
                expected=expected,
                media_type=media_type,
                link=link,
                progress=progress,
                proven=lambda names: held.enter_context(self.hold([names.hash])),
            )
            if keep:
                self.kept.add(info.proven_digest)
        return info

    def partial(
        self,
        hash: BlobHash,
        size: int | None = None,
        *,
        expected: Digest | None = None,
        media_type: str | None = None,
    ) -> PartialBlob:
        """The writer of a blob that comes in parts; goes on with what is here of it. Refused when there is
        one already, or the blob is complete.
        """
        if self._shelf.find(hash) is not None:
            raise Refused(f"blob {hash} is complete already")
        with self._registering:
            if hash in self._open_partials:
                raise Refused(f"blob {hash} is already being fetched; wait for that to end")
            self._open_partials[hash] = None
            state = self._partials.setdefault(hash, PartialState.of(hash, None))
        try:
            return self._open_partial(state, size, expected, media_type)
        except BaseException:
            with self._registering:
                self._open_partials.pop(hash, None)
            raise

    # handing out

    def export_file(self, hash: BlobHash, directory_fd: int, name: str, *, link: bool = False) -> str:
        """Writes a blob to a file of a folder; returns `reflink`, `copy`, or with `link` perhaps `hardlink`.

        A hard link shares the file with the caller, so it is checked before each use from then on.
        """
        row = self._shelf.find(hash)
        if row is None:
            raise NotFound(f"blob {hash} is not complete in the store; fetch or import it first")
        row, fd = self._shelf.open(row)
        try:
            way = exporting.export_file(self._shelf.disk, fd, row.size, directory_fd, name, link=link)
            self._shelf.require_unchanged(row, fd)
            if way == "hardlink" and not row.linked:
                self._shelf.mark_linked(row, fd)
        finally:
            self._shelf.disk.close(fd)
        return way

    def delete(self, hash: BlobHash) -> None:
        """Refused while a package holds the blob; NotFound when it is not here."""
        with self._shelf.naming:
            row = self._shelf.find(hash)
            if row is not None:
                holders = self._shelf.index.holders(row.digests)
                if holders or hash in self._catalog.companions:
                    of = ", ".join(holders[:5]) or "the collection of a package"
                    raise Refused(f"blob {hash} belongs to {of}; remove the package first")
                if self._discarding.is_held(row):
                    raise Refused(f"a transfer is at work with blob {hash}; cancel that, or wait for its end")
                for digest in row.digests:
                    self.kept.remove(digest)
                self._shelf.drop(row)
                return
        self.delete_part(hash)

    def delete_part(self, hash: BlobHash) -> None:
        """Of a blob that is not complete: Refused while it is being fetched; NotFound when there is none."""
        with self._registering:
            state = self._partials.get(hash)
            if state is None:
                raise NotFound(f"blob {hash} is not in the store")
            if hash in self._open_partials:
                raise Refused(f"blob {hash} is being fetched; cancel that first")
            del self._partials[hash]
            self._shelf.remove_part(hash)  # before another fetch of it can begin

    def old_parts(self, age_seconds: float) -> list[BlobInfo]:
        """Parts that nobody is at work with, and nothing came to for so long."""
        before = time.time() - age_seconds
        with self._registering:
            states = [each for name, each in self._partials.items() if name not in self._open_partials]
        return [each.info() for each in states if self._changed_at(each) <= before]

    def old_downloads(self, age_seconds: float) -> list[int]:
        """The bytes of each download that nobody is at work with, and nothing came to for so long."""
        with translated(self._shelf.layout.partial), self._registering:
            return list(self._expired(age_seconds).values())

    def expire_downloads(self, age_seconds: float) -> list[int]:
        """Deletes them; the bytes of each."""
        with translated(self._shelf.layout.partial), self._registering:
            expired = self._expired(age_seconds)
            for path in expired:
                self._shelf.disk.unlink(path)
        return list(expired.values())

    def _expired(self, age_seconds: float) -> dict[Path, int]:
        before, found = time.time() - age_seconds, {}
        busy = {self._shelf.layout.download(digest) for digest in self._downloads}
        for path in self._shelf.layout.partial.glob("*.download"):
            with suppress(FileNotFoundError):
                status = path.stat()
                if path not in busy and status.st_mtime <= before:
                    found[path] = status.st_size
        return found

    def _changed_at(self, part: PartialState) -> float:
        try:
            return self._shelf.layout.partial_file(part.hash, "data").stat().st_mtime
        except OSError:  # it is whole, or has gone
            return time.time()

    # inside

    def _find_partial(self, name: BlobHash | Digest) -> PartialState | None:
        with self._registering:
            if isinstance(name, BlobHash):
                return self._partials.get(name)
            return next((state for state in self._partials.values() if state.expected == name), None)

    def _complete_reader(self, row: BlobRow) -> BlobReader:
        shelf = self._shelf
        row, data = shelf.open(row)
        check = (lambda fd: shelf.require_unchanged(row, fd)) if row.linked else None
        return BlobReader(
            shelf,
            row.hash,
            data,
            open_tree=lambda: shelf.disk.open(shelf.layout.tree(row.hash)),
            size=lambda: row.size,
            have=ChunkRanges.all,
            check=check,
        )

    def _partial_reader(self, state: PartialState) -> BlobReader:
        shelf = self._shelf
        tree = shelf.layout.partial_file(state.hash, "tree")

        def open_tree() -> int:
            try:
                return shelf.disk.open(tree)
            except FileNotFoundError:  # published meanwhile
                return shelf.disk.open(shelf.layout.tree(state.hash))

        return BlobReader(
            shelf,
            state.hash,
            shelf.disk.open(shelf.layout.partial_file(state.hash, "data")),
            open_tree=open_tree,
            size=lambda: state.size or 0,
            have=lambda: state.have,
        )

    def _open_partial(
        self, state: PartialState, size: int | None, expected: Digest | None, media_type: str | None
    ) -> PartialBlob:
        """Takes long where a crash left much to be hashed."""
        state.expected = expected  # of this writer: what an earlier one was told may be wrong
        state.media_type = media_type or state.media_type
        partial = PartialBlob(
            self._shelf,
            state,
            checkpointer=self._checkpointer,
            hashers=self._hashers,
            on_close=self._partial_closed,
        )
        try:
            if size is not None:
                partial.set_size(size)
        except BaseException:
            partial.close()
            raise
        with self._registering:
            self._open_partials[state.hash] = partial
        return partial

    def _drop_part(self, hash: BlobHash) -> None:
        """A blob has come whole another way: what was fetched of it is dropped, unless that goes on."""
        with self._registering:
            if hash in self._open_partials or self._partials.pop(hash, None) is None:
                return
            self._shelf.remove_part(hash)

    def _partial_closed(self, partial: PartialBlob, gone: bool) -> None:
        with self._registering:
            self._open_partials.pop(partial.hash, None)
            if gone:
                self._partials.pop(partial.hash, None)

    def _write_item(self, item: Item, paths: tuple[Path, Path]) -> Finished:
        data, expected, media_type = item
        disk, size = self._shelf.disk, len(data)
        data_path, tree_path = paths
        with translated(data_path, size):
            tree = TreeFile(disk, tree_path, size)
            try:
                names = _names(data, tree, sha512=wants_sha512(expected))
                names.require(expected)
                tree.sync()
                fd = disk.open(data_path, create=True)
                try:
                    disk.write(fd, data, 0)
                    disk.protect(fd)
                    disk.sync(fd)
                finally:
                    disk.close(fd)
                return Finished(names, size, data_path, tree.path, media_type)
            finally:
                tree.close()

    def _free_bytes(self) -> int:
        with translated(self._shelf.layout.data_dir):
            return self._shelf.disk.free_bytes(self._shelf.layout.data_dir)


def _names(data: bytes, tree: TreeFile, *, sha512: bool) -> Names:
    if len(data) <= GROUP_SIZE:
        digester = Digester(sha512=sha512)
        digester.update(data)
        return digester.names(BlobHash(blake3(data).digest()))
    with NamePipeline(len(data), tree.write, sha512=sha512) as pipeline:
        pipeline.submit([data])
        return pipeline.finish()
