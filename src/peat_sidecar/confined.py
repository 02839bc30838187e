"""The file system as callers of the API may see it: what lies beneath configured roots, and no more.

Every component of a name is opened by itself, relative to the directory before it and without following a
link, so no link and no `..`, present or swapped in while we look, leads out of a root. Only regular files
and directories are opened; a FIFO, a socket or a device is refused and never waited for. A root is named by
the operator, so links on the way to it are followed.

All calls touch the disk and block; callers on an event loop run them in a thread.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from peat_sidecar.errors import ConfigError, NotFound, PeatError, Refused, StoreFailed, StoreFull

_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO swapped in after the look at its type does not make the open wait for a writer.
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Directory:
    """An open directory, with everything beneath it and nothing outside it.

    Names are relative, with `/` between components; `.` is the directory itself. A name that leads outside,
    through a link or to something special is `Refused`, a missing one is `NotFound`. It owns its descriptor:
    close it, or use it in a `with`.
    """

    def __init__(self, descriptor: int, path: str) -> None:
        """Takes over an open descriptor; the path is for messages only."""
        self._descriptor = descriptor
        self.path = path

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """The directory at a path that the operator chose; links on the way are followed."""
        with _translated(str(path)):
            return cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), str(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the descriptor; closing twice is fine."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def fileno(self) -> int:
        """The descriptor, which stays this object's own."""
        return self._descriptor

    def open_directory(self, name: str) -> "Directory":
        """The directory of that name."""
        return Directory(self._descend(components(name)), self._shown(name))

    def make_directory(self, name: str) -> "Directory":
        """The directory of that name, made with its parents where they are missing."""
        return Directory(self._descend(components(name), make=True), self._shown(name))

    def open_file(self, name: str) -> int:
        """A descriptor of the regular file of that name, for reading; the caller closes it."""
        with self._containing(name) as (parent, last), _translated(self._shown(name)):
            # Looked at before it is opened, because opening a device can do things.
            self._require_regular(os.stat(last, dir_fd=parent, follow_symlinks=False), name)
            descriptor = os.open(last, _FILE_FLAGS, dir_fd=parent)
            try:
                self._require_regular(os.fstat(descriptor), name)
                os.set_blocking(descriptor, True)
            except BaseException:
                os.close(descriptor)
                raise
            return descriptor

    def read_file(self, name: str, limit_bytes: int) -> bytes:
        """The bytes of a small file; `Refused` when there are more than the limit."""
        with open(self.open_file(name), "rb") as file, _translated(self._shown(name)):
            data = file.read(limit_bytes + 1)
        if len(data) > limit_bytes:
            raise Refused(f"{self._shown(name)} is larger than the {limit_bytes} bytes that it may have")
        return data

    def create_file(self, name: str) -> int:
        """A descriptor of a new file, for writing; `Refused` when the name is taken. The caller closes it."""
        with self._containing(name) as (parent, last), _translated(self._shown(name)):
            return os.open(last, _CREATE_FLAGS, 0o644, dir_fd=parent)

    def replace_file(self, name: str, write: Callable[[int], object]) -> None:
        """Makes or replaces a file as a whole: `write` gets a descriptor, then it is synced and renamed.

        What was there stays until the new content is on disk, and for good when `write` raises.
        """
        with self._containing(name) as (parent, last), _translated(self._shown(name)):
            temporary = f".{last[:200]}.{secrets.token_hex(6)}.tmp"
            descriptor = os.open(temporary, _CREATE_FLAGS, 0o644, dir_fd=parent)
            try:
                try:
                    write(descriptor)
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                os.rename(temporary, last, src_dir_fd=parent, dst_dir_fd=parent)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=parent)
                raise
            os.fsync(parent)

    def rename_file(self, old: str, new: str) -> None:
        """Gives a file another name, whose old owner it replaces, and syncs the folder of the new name."""
        with (
            self._containing(old) as (from_parent, from_last),
            self._containing(new) as (to_parent, to_last),
            _translated(self._shown(new)),
        ):
            os.rename(from_last, to_last, src_dir_fd=from_parent, dst_dir_fd=to_parent)
            os.fsync(to_parent)

    def remove_file(self, name: str) -> None:
        """Unlinks the name, be it a file or a link; a missing one is fine."""
        with (
            self._containing(name) as (parent, last),
            _translated(self._shown(name)),
            contextlib.suppress(FileNotFoundError),
        ):
            os.unlink(last, dir_fd=parent)

    def exists(self, name: str) -> bool:
        """Whether a regular file or a directory has that name and can be reached without a link."""
        try:
            with self._containing(name, allow_self=True) as (parent, last):
                mode = os.stat(last, dir_fd=parent, follow_symlinks=False).st_mode
                return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
        except (OSError, NotFound, Refused):
            return False

    def size(self, name: str) -> int:
        """The bytes of the regular file of that name."""
        with self._containing(name) as (parent, last), _translated(self._shown(name)):
            status = os.stat(last, dir_fd=parent, follow_symlinks=False)
            self._require_regular(status, name)
            return status.st_size

    def list(self, name: str = ".") -> list[str]:
        """The names in a directory, sorted."""
        with self.open_directory(name) as directory, _translated(self._shown(name)):
            return sorted(os.listdir(directory.fileno()))

    def _shown(self, name: str) -> str:
        return self.path if name == "." else os.path.join(self.path, name)

    def _require_regular(self, status: os.stat_result, name: str) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise Refused(
                f"{self._shown(name)} is {_kind(status.st_mode)}; only a regular file can be read here"
            )

    @contextlib.contextmanager
    def _containing(self, name: str, *, allow_self: bool = False) -> Iterator[tuple[int, str]]:
        """Descriptor of the directory that holds the last component, and that component."""
        parts = components(name)
        if not parts and not allow_self:
            raise Refused(f"{self.path} is a directory; name a file in it")
        parent = self._descend(parts[:-1])
        try:
            yield parent, parts[-1] if parts else "."
        finally:
            os.close(parent)

    def _descend(self, parts: Sequence[str], *, make: bool = False) -> int:
        current = os.dup(self._descriptor)
        for position, part in enumerate(parts, 1):
            try:
                with _translated(os.path.join(self.path, *parts[:position])):
                    if make:
                        with contextlib.suppress(FileExistsError):
                            os.mkdir(part, 0o755, dir_fd=current)
                    below = os.open(part, _DIRECTORY_FLAGS, dir_fd=current)
            finally:
                os.close(current)
            current = below
        return current


class Roots:
    """The directories that requests may name files in; none configured means that every path is refused.

    A request names a file by an absolute path, which has to lie beneath a root, or by a relative one, which
    is taken from the first root. Paths are compared as texts, after `.` and `..` are worked out; what is left
    below the root is then opened component by component.
    """

    def __init__(self, paths: Sequence[Path], *, option: str = "--import-root") -> None:
        """The roots, and the option that sets them, which refusals name."""
        self.option = option
        self.paths = tuple(os.path.abspath(path) for path in paths)

    def open_directory(self, path: str | Path) -> Directory:
        """The directory of that path."""
        with self._root(path) as (root, rest):
            return root.open_directory(rest)

    def make_directory(self, path: str | Path) -> Directory:
        """The directory of that path, made with its parents below the root where they are missing."""
        with self._root(path) as (root, rest):
            return root.make_directory(rest)

    def open_file(self, path: str | Path) -> int:
        """A descriptor of the regular file of that path, for reading; the caller closes it."""
        with self._root(path) as (root, rest):
            return root.open_file(rest)

    def parent(self, path: str | Path) -> tuple[Directory, str]:
        """The directory that a file of that path lies in, or will, and the file's name in it."""
        with self._root(path) as (root, rest):
            above, _, name = rest.rpartition("/")
            if name == ".":
                raise Refused(f"{root.path} is a directory; name a file in it")
            return root.open_directory(above or "."), name

    def is_directory(self, path: str | Path) -> bool:
        """Whether that path is a directory beneath a root; a path outside is refused all the same."""
        with self._root(path) as (root, rest):
            try:
                root.open_directory(rest).close()
            except (NotFound, Refused):
                return False
            return True

    def locate(self, path: str | Path) -> tuple[str, str]:
        """The root that a path lies beneath, and the rest, `.` for the root itself; `Refused` for none."""
        text = os.fspath(path)
        if not self.paths:
            raise Refused(
                f"no path can be named here, because {self.option} is not set;"
                f" start the daemon with {self.option} DIRECTORY"
            )
        if not text or "\0" in text:
            raise Refused("a path must not be empty or hold a NUL character")
        absolute = os.path.normpath(os.path.join(self.paths[0], text))
        if absolute.startswith("//"):  # POSIX lets normpath keep two leading slashes
            absolute = absolute[1:]
        # A root may be reached by a link: its own name and where it really is are both good.
        places = ((root, place) for root in self.paths for place in {root, os.path.realpath(root)})
        fitting = [(root, place) for root, place in places if _is_beneath(absolute, place)]
        if not fitting:
            raise Refused(
                f"{text[:300]!r} is not beneath {' or '.join(self.paths)};"
                f" name a path there, or start the daemon with another {self.option}"
            )
        root, place = max(fitting, key=lambda pair: len(pair[1]))
        return root, os.path.relpath(absolute, place)

    @contextlib.contextmanager
    def _root(self, path: str | Path) -> Iterator[tuple[Directory, str]]:
        root, rest = self.locate(path)
        try:
            directory = Directory.open(root)
        except PeatError as error:
            raise ConfigError(f"the directory of {self.option} cannot be opened: {error}") from None
        with directory:
            yield directory, rest


def components(name: str) -> list[str]:
    """The components of a relative name; `Refused` when it is absolute, leads up or holds a NUL."""
    if name.startswith("/") or "\0" in name or not name:
        raise Refused(f"{name[:300]!r} is no relative path; absolute and empty ones are not opened here")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f"{name[:300]!r} leads upwards with '..'; name the file itself")
    return parts


def _is_beneath(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip("/") + "/")


def _kind(mode: int) -> str:
    for test, name in (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return name
    return "a device"


@contextlib.contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _translate(error, path) from error


def _translate(error: OSError, path: str) -> PeatError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    match error.errno:
        case errno.ENOENT:
            return NotFound(f"{path} does not exist")
        case errno.ELOOP | errno.EMLINK:
            return Refused(f"{path} is a symbolic link; links are not followed here, name the file itself")
        case errno.ENOTDIR:
            return Refused(f"{path} is not a directory, or is a symbolic link, which is not followed here")
        case errno.EISDIR | errno.ENXIO:
            return Refused(f"{path} is not a regular file")
        case errno.EEXIST | errno.ENOTEMPTY:
            return Refused(f"{path} is there already; remove it or choose another name")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return Refused(f"the daemon may not use {path}: {reason}; change its permissions")
        case errno.ENAMETOOLONG:
            return Refused(f"{path[:100]}... is too long for a file name")
        case errno.ENOSPC | errno.EDQUOT:
            return StoreFull(f"no room for {path}: {reason}; make some and try again")
        case _:
            return StoreFailed(f"{path} cannot be used: {reason}; look at the disk")
