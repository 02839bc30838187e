"""The formation: the nodes that share an app id and a key, and what is computed from the two.

Pure. Three things are made of each key, by HKDF-SHA256 with a name of their own, so that none says anything
of another: proofs for the handshake, tags by which members know each other on the local network, and derived
identities. The key itself is never sent, shown or logged.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import EndpointId

KEY_BYTES = 32
MAX_KEYS = 2
"""While a key is changed the old and the new one are accepted."""
NONCE_BYTES = 32
PROOF_BYTES = 32
TAG_BYTES = 16

_PROOF_INFO = b"peat-sidecar mesh 1"
_TAG_INFO = b"peat-sidecar lan 1"
_IDENTITY_INFO = b"iroh:"
_FILE_LIMIT_BYTES = 4096
_HEX = re.compile(r"[0-9a-fA-F]{64}")


class Side(IntEnum):
    """Who of the two a proof is by: one side's proof, sent back, proves nothing."""

    DIALER = 0
    ACCEPTOR = 1


class Formation:
    """An app id with one key, or with two while it is changed: both are accepted, the first one is used."""

    def __init__(self, app_id: str, keys: Sequence[bytes]) -> None:
        """`ConfigError` for no key, more than two, the same one twice, or one of another length."""
        if not 1 <= len(keys) <= MAX_KEYS:
            raise ConfigError(f"a formation has one key, or two while it is changed, not {len(keys)}")
        if len(set(keys)) < len(keys):
            raise ConfigError("both keys of the formation are the same; take one of them out")
        for key in keys:
            _check_length(key)
        self.app_id = app_id
        salt = app_id.encode()
        self._first = bytes(keys[0])
        self._proof_keys = tuple(_expand(key, salt, _PROOF_INFO) for key in keys)
        self._tag_keys = tuple(_expand(key, salt, _TAG_INFO) for key in keys)

    def __repr__(self) -> str:
        return f"Formation({self.app_id!r}, {len(self._proof_keys)} keys)"

    @staticmethod
    def parse_key(text: str) -> bytes:
        """From 64 hexadecimal digits, or base64 of either alphabet, padded or not. `ConfigError` without a
        word of the text, which may be most of a secret.
        """
        plain = text.strip()
        if _HEX.fullmatch(plain):
            return bytes.fromhex(plain)
        try:
            standard = plain.rstrip("=").replace("-", "+").replace("_", "/")
            key = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise ConfigError(
                "a formation key is neither 64 hexadecimal digits nor base64 of 32 bytes;"
                " make one with: openssl rand -hex 32"
            ) from None
        _check_length(key)
        return key

    @classmethod
    def read_key(cls, path: Path) -> bytes:
        """The key in a file, as text. `ConfigError` when there is none."""
        try:
            with path.open("rb") as file:
                data = file.read(_FILE_LIMIT_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"the formation key file {path} cannot be read: {error.strerror}") from None
        try:
            return cls.parse_key(data.decode("ascii"))
        except UnicodeDecodeError:
            raise ConfigError(f"the formation key file {path} holds no text; write the key as text") from None
        except ConfigError as error:
            raise ConfigError(f"the formation key file {path}: {error}") from None

    def proofs(
        self, side: Side, *, dialer: EndpointId, acceptor: EndpointId, nonces: tuple[bytes, bytes]
    ) -> tuple[bytes, ...]:
        """What that side proves one connection with: 32 bytes for each key. `nonces`: the dialer's, then the
        acceptor's, 32 bytes each.
        """
        message = bytes([side]) + dialer.value + acceptor.value + nonces[0] + nonces[1]
        return tuple(hmac.digest(key, message, hashlib.sha256) for key in self._proof_keys)

    def tag(self, endpoint_id: EndpointId) -> bytes:
        """16 bytes by which members know that id for one of theirs, and nobody else does."""
        return _tag(self._tag_keys[0], endpoint_id)

    def recognises(self, endpoint_id: EndpointId, tag: bytes) -> bool:
        """Whether a member has made the tag, with any of the keys. Whoever heard it can say it again, so it
        is worth a dial and no more.
        """
        found = [hmac.compare_digest(_tag(key, endpoint_id), tag) for key in self._tag_keys]
        return any(found)

    def derive_secret(self, node_id: str) -> bytes:
        """The 32-byte secret key of that node where identities are derived, by the first key."""
        return self.derive(self._first, node_id)

    @staticmethod
    def derive(key: bytes, node_id: str) -> bytes:
        """The same from a key alone: HKDF-SHA256 without salt, as the Rust sidecar has it. Whoever has the
        formation's key has all of these.
        """
        if not node_id:
            raise ConfigError("a derived identity is made of a node's name, which is empty; set node_id")
        return _expand(key, None, _IDENTITY_INFO + node_id.encode())


def _check_length(key: bytes) -> None:
    if len(key) != KEY_BYTES:
        raise ConfigError(
            f"a formation key has {KEY_BYTES} bytes, this one has {len(key)};"
            " make one with: openssl rand -hex 32"
        )


def _expand(key: bytes, salt: bytes | None, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), KEY_BYTES, salt, info).derive(key)


def _tag(key: bytes, endpoint_id: EndpointId) -> bytes:
    return hmac.digest(key, endpoint_id.value, hashlib.sha256)[:TAG_BYTES]
