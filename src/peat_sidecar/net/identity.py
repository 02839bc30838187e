"""The node's secret key: made at first start, then kept; and the id that goes with a key."""

import os
import secrets
import stat
from pathlib import Path

from iroh import iroh_ffi

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import EndpointId

KEY_BYTES = 32


def endpoint_id(secret_key: bytes) -> EndpointId:
    """The endpoint id of the node that has this 32-byte secret key."""
    if len(secret_key) != KEY_BYTES:
        raise ConfigError(f"a secret key has {KEY_BYTES} bytes, this one has {len(secret_key)}")
    return EndpointId(iroh_ffi.SecretKey.from_bytes(secret_key).public().to_bytes())


def load_identity(path: Path) -> bytes:
    """The 32-byte key in the file, which is made, readable by its owner only, when it is not there.

    `ConfigError` when it has another length or others can read it: a key that may be known, or that silently
    changed, would let someone else act as this node or make all its peers refuse it.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConfigError(f"the identity {path} cannot be read: {error.strerror}") from None
    try:
        _create(path)
        return _read(path)
    except OSError as error:
        raise ConfigError(f"the identity {path} cannot be written: {error.strerror}") from None


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"the identity {path} is no regular file; move it away")
        if status.st_mode & 0o077:
            raise ConfigError(
                f"the identity {path} can be read by others (mode {stat.S_IMODE(status.st_mode):04o});"
                f" run: chmod 600 {path}, and delete it instead if someone may have copied it"
            )
        key = file.read(KEY_BYTES + 1)
    if len(key) != KEY_BYTES:
        raise ConfigError(
            f"the identity {path} is damaged: it has {status.st_size} bytes instead of {KEY_BYTES};"
            " restore it from a copy, or delete it to start with a new endpoint id, which peers then have"
            " to allow anew"
        )
    return key


def _create(path: Path) -> None:
    """Complete or not there, whatever happens: a temporary file, then a link that never replaces a key."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(descriptor)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return  # another process was first: its key counts
        except OSError:  # a file system without links
            os.rename(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
