"""The twin of the store's file layer for tests of power loss.

It does everything for real and remembers each operation with what it leaves volatile. `materialise` then
makes the folder as it may be found when the power went at any of those moments:

- file data that was not fsynced is lost, or half of it is there, or zeros of the right length are, or all;
- names that were made, moved or removed are lost or kept, each by itself, unless their folder was fsynced;
- a rename is atomic, but across folders both names may be left;
- the last write may be torn in the middle.

SQLite writes past this layer: what becomes of the index is chosen by the caller.
"""

import os
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peat_sidecar.store import Disk

KINDS = ("nothing volatile", "names, no data", "names, zeros", "names, half", "torn", "mixed")
"""What may survive."""


class QuickDisk(Disk):
    """Real files without waiting for the disk, for states that are looked at and thrown away."""

    def sync(self, fd: int) -> None:
        pass

    def sync_folder(self, path: Path) -> None:
        pass

    def begin_sync(self, fd: int, offset: int, length: int) -> None:
        pass


@dataclass
class _File:
    """A simulated file: what is on disk for certain, and what is not."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Offset and bytes of a write, or length and None of a truncation."""


@dataclass
class _Change:
    """A change of names: path -> number of a file, aim of a symbolic link, or None where the name goes."""

    effects: list[tuple[Path, int | str | None]]
    folder: Path
    """Whose fsync makes it certain."""
    durable: bool = False


class PowerLossDisk(QuickDisk):
    """Records; not thread-safe beyond what the GIL gives, so its tests write from one thread at a time."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.journal: list[tuple[Any, ...]] = []
        self._by_fd: dict[int, int] = {}
        self._by_path: dict[Path, int] = {}
        self._count = 0

    def mark(self, what: str) -> None:
        """A note in the journal: what has been promised by now."""
        self.journal.append(("mark", what))

    def open(self, path: Path, *, create: bool = False, write: bool = False) -> int:
        fd = super().open(path, create=create, write=write)
        if create:
            self._count += 1
            self._by_path[path] = self._count
            self.journal.append(("create", path, self._count))
        if path in self._by_path:
            self._by_fd[fd] = self._by_path[path]
        else:
            self._by_fd.pop(fd, None)
        return fd

    def write(self, fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
        super().write(fd, data, offset)
        self.journal.append(("write", self._by_fd[fd], offset, bytes(data)))

    def write_pieces(self, fd: int, pieces: Any, offset: int) -> None:
        for piece in pieces:
            self.write(fd, piece, offset)
            offset += len(piece)

    def truncate(self, fd: int, size: int) -> None:
        super().truncate(fd, size)
        self.journal.append(("write", self._by_fd[fd], size, None))

    def sync(self, fd: int) -> None:
        self.journal.append(("sync", self._by_fd[fd]))

    def clone(self, source: int, target: int) -> bool:
        return False

    def rename(self, source: Path, target: Path) -> None:
        super().rename(source, target)
        number = self._by_path.pop(source)
        self._by_path[target] = number
        self.journal.append(("names", [(source, None), (target, number)], target.parent))

    def link(self, source: Path, target: Path) -> None:
        super().link(source, target)
        self._by_path[target] = self._by_path[source]
        self.journal.append(("names", [(target, self._by_path[source])], target.parent))

    def unlink(self, path: Path) -> None:
        there = path.exists() or path.is_symlink()
        super().unlink(path)
        if there:
            self._by_path.pop(path, None)
            self.journal.append(("names", [(path, None)], path.parent))

    def sync_folder(self, path: Path) -> None:
        self.journal.append(("sync folder", path))

    @property
    def moments(self) -> list[int]:
        """Journal lengths at which the power may go: after each operation."""
        return [at for at in range(len(self.journal) + 1) if at == 0 or self.journal[at - 1][0] != "mark"]

    def marks(self, moment: int) -> list[str]:
        """What had been promised by then."""
        return [entry[1] for entry in self.journal[:moment] if entry[0] == "mark"]

    def materialise(self, moment: int, kind: str, target: Path, seed: int = 0) -> None:
        """Makes `target` the data directory as it is after power was lost at that moment."""
        files, changes = self._replay(moment)
        choose = random.Random(f"{seed} {moment} {kind}")
        last = self._last_written(moment) if kind == "torn" else None
        contents = {number: _content(file, kind, choose, number == last) for number, file in files.items()}
        names: dict[Path, int | str] = {}
        for change in changes:
            if not (
                change.durable
                or kind.startswith("names")
                or kind == "torn"
                or choose.random() < 0.5 * (kind == "mixed")
            ):
                continue
            both = (
                kind == "mixed" and not change.durable and len(change.effects) == 2 and choose.random() < 0.3
            )
            for path, value in change.effects:
                if value is not None:
                    names[path] = value
                elif not both:
                    names.pop(path, None)
        self._write_out(names, contents, target)

    def _replay(self, moment: int) -> tuple[dict[int, _File], list[_Change]]:
        files: dict[int, _File] = {}
        changes: list[_Change] = []
        for what, *rest in self.journal[:moment]:
            match what:
                case "create":
                    path, number = rest
                    files[number] = _File()
                    changes.append(_Change([(path, number)], path.parent))
                case "write":
                    files[rest[0]].pending.append((rest[1], rest[2]))
                case "sync":
                    file = files[rest[0]]
                    for offset, data in file.pending:
                        _apply(file.durable, offset, data)
                    file.pending.clear()
                case "names":
                    changes.append(_Change(rest[0], rest[1]))
                case "sync folder":
                    for change in changes:
                        change.durable = change.durable or change.folder == rest[0]
        return files, changes

    def _last_written(self, moment: int) -> int | None:
        last = self.journal[moment - 1] if moment else ("",)
        return last[1] if last[0] == "write" else None

    def _write_out(self, names: dict[Path, int | str], contents: dict[int, bytes], target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        for folder in ("oci/blobs/sha256", "oci/blobs/sha512", "trees", "partial"):
            (target / folder).mkdir(parents=True)
        made: dict[int, Path] = {}
        for path, value in names.items():
            place = target / path.relative_to(self._root)
            if isinstance(value, str):
                place.symlink_to(value)
            elif value in made:
                os.link(made[value], place)
            else:
                place.write_bytes(contents[value])
                made[value] = place


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        content[:] = content[:offset].ljust(offset, b"\0")
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _content(file: _File, kind: str, choose: random.Random, torn: bool) -> bytes:
    content = bytearray(file.durable)
    pending = file.pending
    if kind in ("nothing volatile", "names, no data"):
        return bytes(content)
    for number, (offset, data) in enumerate(pending):
        last = number == len(pending) - 1
        fate = {"names, zeros": "zeros", "torn": "half" if torn and last else "all"}.get(kind)
        if kind == "names, half":
            fate = "all" if number < len(pending) // 2 else "half" if number == len(pending) // 2 else "lost"
        if kind == "mixed":
            fate = choose.choice(("all", "zeros", "half", "lost"))
        if data is None or fate == "all":
            _apply(content, offset, data)
        elif fate == "zeros":  # the length is there, the blocks are not; what was overwritten is as before
            content.extend(bytes(max(0, offset + len(data) - len(content))))
        elif fate == "half":
            _apply(content, offset, data[: len(data) // 2])
    return bytes(content)
