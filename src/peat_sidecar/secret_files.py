"""Small files that are there whole or not at all, and those of them that only their owner may read."""

import os
import secrets
import stat
from pathlib import Path

from peat_sidecar.errors import ConfigError


def read_secret(path: Path, what: str, remedy: str, limit: int) -> bytes:
    """Up to so many bytes of a file. `FileNotFoundError` where there is none; `ConfigError` when it cannot be
    read, or others can read it, with what has to be done about that.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise ConfigError(f"{what} {path} is no regular file; move it away")
            if mode & 0o077:
                raise ConfigError(
                    f"{what} {path} can be read by others (mode {stat.S_IMODE(mode):04o}); {remedy}"
                )
            return file.read(limit)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{what} {path} cannot be read: {error.strerror}") from None


def write_whole(
    path: Path,
    content: bytes,
    *,
    mode: int = 0o644,
    like: os.stat_result | None = None,
    replace: bool = True,
) -> None:
    """Complete or not at all, also when the machine stops. Without `replace` a file that is there stays.
    `like`: whose owner and mode it gets instead. Raises `OSError`.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    private = 0o600 if like is not None else mode
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, private)
    try:
        with open(descriptor, "wb") as file:
            if like is not None:
                os.fchown(descriptor, like.st_uid, like.st_gid)
                os.fchmod(descriptor, stat.S_IMODE(like.st_mode))
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        if replace or not _link(temporary, path):
            os.rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _link(temporary: Path, path: Path) -> bool:
    """Whether there is a file now; a file system may have no links."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return True  # another process was first: its file counts
    except OSError:
        return False
    return True
