"""What happens to a data directory at start: index and files are made to agree, leftovers are removed.

The files are the truth. A row without its file goes; a file with a blob's name and no row is hashed, and
becomes a blob when it is what its name says (else it is left alone and reported). Nothing is ever trusted
because a map, a row or a name says so when its file says otherwise.
"""

import re
from collections.abc import Iterable

import structlog

from peat_sidecar.bao import GROUP_SIZE, outboard_size
from peat_sidecar.errors import ConfigError, IntegrityError
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.store.disk import Entry
from peat_sidecar.store.failures import translated
from peat_sidecar.store.files import TreeFile
from peat_sidecar.store.hashing import PIECE_BYTES, NamePipeline
from peat_sidecar.store.have import read_have
from peat_sidecar.store.index import BlobRow
from peat_sidecar.store.layout import TEMPORARY
from peat_sidecar.store.partial import PartialState
from peat_sidecar.store.shelf import Shelf

_log = structlog.get_logger(__name__)
_PARTIAL = re.compile(r"([0-9a-f]{64})\.(data|tree|have)")
_DOWNLOAD = re.compile(r"(sha256|sha512)-([0-9a-f]+)\.download")
_HASH = re.compile(r"[0-9a-f]{64}")


class Recovery:
    """Used once, before anyone else uses the store."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._layout = shelf.layout
        self._disk = shelf.disk

    def run(self) -> dict[BlobHash, PartialState]:
        """Returns the partial blobs."""
        with translated(self._layout.data_dir):
            self._remove_temporaries()
            try:
                rows = self._shelf.index.blobs()
            except (ConfigError, ValueError, TypeError):
                _log.warning("the index holds what it must not, it is rebuilt from the files")
                self._shelf.index.reset()
                rows = []
            known = self._reconcile(rows)
            partials = self._find_partials(known)
            self._remove_strange_trees(known)
        return partials

    def _remove_temporaries(self) -> None:
        for entry in self._disk.entries(self._layout.partial):
            if entry.name.endswith(TEMPORARY):
                self._disk.unlink(self._layout.partial / entry.name)

    # complete blobs

    def _reconcile(self, rows: Iterable[BlobRow]) -> set[BlobHash]:
        """Every blob that is sound; the others are dropped, and files without a row are looked at."""
        files = {entry.name: entry for entry in self._disk.entries(self._layout.sha256)}
        second = {entry.name: entry for entry in self._disk.entries(self._layout.sha512)}
        trees = {entry.name: entry.size for entry in self._disk.entries(self._layout.trees)}
        known: set[BlobHash] = set()
        gone: list[BlobHash] = []
        for row in rows:
            entry = files.pop(row.sha256.hex, None)
            has_tree = row.size <= GROUP_SIZE or trees.get(str(row.hash)) == outboard_size(row.size)
            if entry is None or not self._is_sound(row, entry, second, has_tree=has_tree):
                gone.append(row.hash)
                self._forget(row, entry)
                continue
            if row.sha512 is not None and _inode(second.get(row.sha512.hex)) != entry.inode:
                self._link_again(row)
            known.add(row.hash)
        if gone:
            _log.warning("blobs whose files are gone or were changed are dropped", count=len(gone))
            self._shelf.index.remove_blobs(gone)
        for entry in files.values():
            adopted = self._adopt(entry, second, None)
            if adopted is not None:
                known.add(adopted)
        return known

    def _is_sound(self, row: BlobRow, entry: Entry, second: dict[str, Entry], *, has_tree: bool) -> bool:
        """A shared file that was touched, or copied with the directory, is hashed again, and so is a blob
        that has lost its tree.
        """
        if entry.size != row.size:
            return False
        untouched = not row.linked or (entry.mtime_ns, entry.inode) == (row.mtime_ns, row.inode)
        return (has_tree and untouched) or self._adopt(entry, second, row) == row.hash

    def _forget(self, row: BlobRow, entry: Entry | None) -> None:
        """A changed link is unlinked, a file of our own that has the wrong size or bytes is set aside."""
        if entry is not None:
            self._shelf.set_aside(row)
            self._disk.unlink(self._layout.blob(row.sha256))
        if row.sha512 is not None:
            self._disk.unlink(self._layout.blob(row.sha512))

    def _link_again(self, row: BlobRow) -> None:
        assert row.sha512 is not None
        target = self._layout.blob(row.sha512)
        self._disk.unlink(target)
        self._disk.link(self._layout.blob(row.sha256), target)
        self._disk.sync_folder(target.parent)

    def _adopt(self, entry: Entry, second: dict[str, Entry], row: BlobRow | None) -> BlobHash | None:
        """Hashes a file in full; it becomes a blob, with a new tree, when it is what its name says."""
        if not _HASH.fullmatch(entry.name) or entry.size < 0:
            return None
        digest = Digest("sha256", entry.name)
        sha512 = next((each.name for each in second.values() if each.inode == entry.inode), None)
        path = self._layout.blob(digest)
        tree = TreeFile(self._disk, self._layout.temporary("tree"), entry.size)
        fd = self._disk.open(path)
        try:
            with NamePipeline(entry.size, tree.write, sha512=sha512 is not None) as pipeline:
                offset = 0
                while piece := self._disk.read(fd, min(PIECE_BYTES, entry.size - offset), offset):
                    pipeline.submit([piece])
                    offset += len(piece)
                names = pipeline.finish()
            names.require(digest)
            if sha512 is not None:
                names.require(Digest("sha512", sha512))
            tree.sync()
            if tree.path is not None:
                self._disk.rename(tree.path, self._layout.tree(names.hash))
                self._disk.sync_folder(self._layout.trees)
        except (IntegrityError, ValueError):
            _log.warning("a file in blobs/ is not what its name says; it is not used", path=str(path))
            return None
        finally:
            path_left = tree.path
            tree.close()
            self._disk.close(fd)
            if path_left is not None:
                self._disk.unlink(path_left)
        others = entry.links > (1 if sha512 is None else 2)
        linked = entry.is_symlink or others
        media_type = row.media_type if row is not None else None
        self._shelf.index.add_blobs(
            [
                BlobRow(
                    names.hash,
                    names.sha256,
                    names.sha512,
                    entry.size,
                    media_type,
                    linked,
                    entry.mtime_ns,
                    entry.inode,
                )
            ]
        )
        return names.hash

    # partial blobs

    def _find_partials(self, known: set[BlobHash]) -> dict[BlobHash, PartialState]:
        kinds: dict[BlobHash, set[str]] = {}
        for entry in self._disk.entries(self._layout.partial):
            if found := _PARTIAL.fullmatch(entry.name):
                kinds.setdefault(BlobHash.parse(found[1]), set()).add(found[2])
            elif found := _DOWNLOAD.fullmatch(entry.name):
                self._check_download(entry.name, found[1], found[2])
        partials = {}
        for blob_hash, there in kinds.items():
            if blob_hash in known or "data" not in there:
                for kind in there:
                    self._disk.unlink(self._layout.partial_file(blob_hash, kind))
                continue
            if "tree" not in there and self._layout.tree(blob_hash).exists():  # died while publishing
                self._disk.rename(self._layout.tree(blob_hash), self._layout.partial_file(blob_hash, "tree"))
            partials[blob_hash] = self._load(blob_hash)
        return partials

    def _load(self, blob_hash: BlobHash) -> PartialState:
        known = read_have(self._layout.partial_file(blob_hash, "have"))
        if known is None:
            _log.warning(
                "the map of a partial blob is missing or damaged; it is found again by hashing",
                hash=blob_hash,
            )
        return PartialState.of(blob_hash, known)

    def _check_download(self, name: str, algorithm: str, digits: str) -> None:
        try:
            complete = self._shelf.index.find(Digest(algorithm, digits)) is not None
        except ConfigError:
            return
        if complete:
            self._disk.unlink(self._layout.partial / name)

    def _remove_strange_trees(self, known: set[BlobHash]) -> None:
        names = {str(blob_hash) for blob_hash in known}
        for entry in self._disk.entries(self._layout.trees):
            if _HASH.fullmatch(entry.name) and entry.name not in names:
                self._disk.unlink(self._layout.trees / entry.name)


def _inode(entry: Entry | None) -> int:
    return entry.inode if entry is not None else -1
