"""The file layer of the store: every change that the store makes on disk goes through one `Disk`.

It is thin on purpose. The tests replace it by a twin that remembers what is volatile, so that they can show
the folder as it is after a power loss at any moment. Errors are plain `OSError` here; `failures` translates
them.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_FICLONE = 0x40049409  # _IOW(0x94, 9, int) of linux/fs.h
_COPY_BYTES = 16 << 20
_NO_SUCH_CALL = frozenset(
    {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY, errno.EPERM}
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a folder."""

    name: str
    size: int
    """Bytes of the file that the name leads to; -1 for what is no regular file, or a link to none."""
    mtime_ns: int
    inode: int
    links: int
    """How many names the file has."""
    is_symlink: bool


class Disk:
    """Real files. Lengths and offsets are bytes; reads and writes are whole or an error."""

    # files

    def open(self, path: Path, *, create: bool = False, write: bool = False) -> int:
        """A descriptor; `create` makes a new empty file and fails when there is one."""
        flags = os.O_CLOEXEC | (os.O_RDWR if write or create else os.O_RDONLY)
        try:
            return os.open(path, flags | (os.O_CREAT | os.O_EXCL if create else 0), 0o644)
        except PermissionError:
            if create or not write:
                raise
        path.chmod(0o644)  # protected for publishing, then the program died
        return os.open(path, flags)

    def close(self, fd: int) -> None:
        os.close(fd)

    def read(self, fd: int, length: int, offset: int) -> bytes:
        """Up to `length` bytes, fewer at the end of the file only."""
        data = os.pread(fd, length, offset)
        if len(data) in (0, length):
            return data
        parts = [data]
        got = len(data)
        while got < length and (data := os.pread(fd, length - got, offset + got)):
            parts.append(data)
            got += len(data)
        return b"".join(parts)

    def read_into(self, fd: int, buffer: bytearray, offset: int) -> int:
        """Fills the buffer; returns the bytes read, fewer at the end of the file only."""
        got = os.preadv(fd, [buffer], offset)
        while 0 < got < len(buffer):
            more = os.preadv(fd, [memoryview(buffer)[got:]], offset + got)
            if not more:
                break
            got += more
        return got

    def write(self, fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
        done = os.pwrite(fd, data, offset)
        while done < len(data):
            done += os.pwrite(fd, memoryview(data)[done:], offset + done)

    def write_pieces(self, fd: int, pieces: Sequence[bytes | memoryview], offset: int) -> None:
        """Several pieces one after another, in one call where that is possible."""
        length = sum(map(len, pieces))
        done = os.pwritev(fd, pieces, offset) if len(pieces) <= 512 else 0
        if done < length:
            self.write(fd, b"".join(pieces)[done:], offset + done)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        """Returns when data and size of the file are on disk."""
        os.fdatasync(fd)

    def begin_sync(self, fd: int, offset: int, length: int) -> None:
        """Has the kernel begin to write out a part, and does not wait. What is written already may leave the
        page cache, so a part is named once.
        """
        os.posix_fadvise(fd, offset, length, os.POSIX_FADV_DONTNEED)

    def protect(self, fd: int) -> None:
        """Read-only from now on, so that no slip of a tool changes a blob."""
        os.fchmod(fd, 0o444)

    def data_extents(self, fd: int, size: int) -> Iterator[tuple[int, int]]:
        """Start and end of what is written in a file with holes."""
        end = 0
        while end < size:
            try:
                start = os.lseek(fd, end, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                    return
                raise
            end = min(size, os.lseek(fd, start, os.SEEK_HOLE))
            if start < end:
                yield start, end

    def clone(self, source: int, target: int) -> bool:
        """Reflink: the target gets the source's content and shares its blocks. False if it cannot."""
        try:
            fcntl.ioctl(target, _FICLONE, source)
        except OSError as error:
            if error.errno in _NO_SUCH_CALL:
                return False
            raise
        return True

    def copy(self, source: int, target: int, size: int) -> None:
        """Copies the first `size` bytes, inside the kernel where it can."""
        offset = 0
        in_kernel = True
        while offset < size:
            length = min(_COPY_BYTES, size - offset)
            if in_kernel:
                try:
                    done = os.copy_file_range(source, target, length, offset, offset)
                except OSError as error:
                    if error.errno not in _NO_SUCH_CALL:
                        raise
                    in_kernel = False
                    continue
            else:
                data = self.read(source, min(length, 1 << 20), offset)
                self.write(target, data, offset)
                done = len(data)
            if not done:
                raise OSError(errno.EIO, "file ends too early")
            offset += done

    def free_bytes(self, path: Path) -> int:
        """Room for users like this one."""
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize

    def total_bytes(self, path: Path) -> int:
        """The size of the file system."""
        status = os.statvfs(path)
        return status.f_blocks * status.f_frsize

    # names

    def rename(self, source: Path, target: Path) -> None:
        """Atomic; replaces the target. Two names of one file: the source's goes all the same."""
        os.rename(source, target)
        source.unlink(missing_ok=True)

    def link(self, source: Path, target: Path) -> None:
        os.link(source, target, follow_symlinks=False)

    def link_open_file(self, fd: int, target: Path) -> None:
        """A name for the file behind the descriptor: no path is looked up that could be swapped."""
        # Python follows links only when it is given a folder's descriptor; an absolute path does not use it.
        os.link(f"/proc/self/fd/{fd}", target, src_dir_fd=fd, follow_symlinks=True)

    def symlink(self, aim: str, target: Path) -> None:
        os.symlink(aim, target)

    def unlink(self, path: Path) -> None:
        """Removes a name; fine when it is not there."""
        path.unlink(missing_ok=True)

    def make_folder(self, path: Path) -> None:
        """With its parents; fine when it is there."""
        path.mkdir(parents=True, exist_ok=True)

    def sync_folder(self, path: Path) -> None:
        """Returns when names made, changed and removed in the folder are on disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def entries(self, path: Path) -> list[Entry]:
        """What is in a folder; names that vanish meanwhile are left out."""
        found = []
        with os.scandir(path) as names:
            for name in names:
                try:
                    found.append(_entry(name))
                except FileNotFoundError:
                    continue
        return found


def _entry(found: "os.DirEntry[str]") -> Entry:
    is_symlink = found.is_symlink()
    try:
        status = found.stat()
    except FileNotFoundError:
        if not is_symlink:
            raise
        return Entry(found.name, -1, 0, 0, 0, True)
    size = status.st_size if stat.S_ISREG(status.st_mode) else -1
    return Entry(found.name, size, status.st_mtime_ns, status.st_ino, status.st_nlink, is_symlink)
