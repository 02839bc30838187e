"""The node's secret key: made at first start, then kept; and the id that goes with a key."""

import secrets
from pathlib import Path

from iroh import iroh_ffi

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import EndpointId
from peat_sidecar.secret_files import read_secret, write_whole

KEY_BYTES = 32
_READ_LIMIT_BYTES = 4096


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
    try:
        write_whole(path, secrets.token_bytes(KEY_BYTES), mode=0o600, replace=False)
        return _read(path)
    except OSError as error:
        raise ConfigError(f"the identity {path} cannot be written: {error.strerror}") from None


def _read(path: Path) -> bytes:
    remedy = f"run: chmod 600 {path}, and delete it instead if someone may have copied it"
    key = read_secret(path, "the identity", remedy, _READ_LIMIT_BYTES)
    if len(key) != KEY_BYTES:
        raise ConfigError(
            f"the identity {path} is damaged: it has {len(key)} bytes instead of {KEY_BYTES};"
            " restore it from a copy, or delete it to start with a new endpoint id, which peers then have"
            " to allow anew"
        )
    return key
