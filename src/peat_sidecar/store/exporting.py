"""Blobs handed out as files, so that nothing done to the file can hurt the store."""

import errno
import os
import secrets
from contextlib import suppress

from peat_sidecar.errors import IntegrityError
from peat_sidecar.store.disk import Disk
from peat_sidecar.store.failures import translated
from peat_sidecar.store.layout import path_of


def export_file(disk: Disk, source: int, size: int, folder: int, name: str, *, link: bool) -> str:
    """Gives `name` in the folder the content behind `source`; says how: `hardlink`, `reflink` or `copy`.

    The name has its old content or all of the new one, never a part.
    """
    place = f"{path_of(folder)}/{name}"
    temporary = f".{name[:200]}.{secrets.token_hex(6)}.part"
    with translated(place, size):
        try:
            way = (
                "hardlink"
                if link and _link(source, folder, temporary)
                else _fill(disk, source, size, folder, temporary)
            )
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            with suppress(FileNotFoundError):  # renamed, or a link to what was there already
                os.unlink(temporary, dir_fd=folder)
        os.fsync(folder)
    return way


def _link(source: int, folder: int, temporary: str) -> bool:
    try:
        os.link(f"/proc/self/fd/{source}", temporary, dst_dir_fd=folder, follow_symlinks=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return False  # another file system, or links are not allowed there
    return True


def _fill(disk: Disk, source: int, size: int, folder: int, temporary: str) -> str:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    target = os.open(temporary, flags, 0o644, dir_fd=folder)
    try:
        way = "reflink" if size and disk.clone(source, target) else "copy"
        if way == "copy":
            disk.copy(source, target, size)
        if os.fstat(target).st_size != size:
            raise IntegrityError(
                f"the blob's file changed while it was exported to {path_of(folder)}; nothing is left there"
            )
        disk.sync(target)
    finally:
        disk.close(target)
    return way
