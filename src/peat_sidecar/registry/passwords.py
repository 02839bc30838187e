"""Passwords as `htpasswd -B` writes them: a line for each user, hashed with bcrypt."""

import hashlib
import secrets
from collections import OrderedDict
from pathlib import Path

import bcrypt

from peat_sidecar.errors import ConfigError

_BCRYPT = ("$2a$", "$2b$", "$2y$")
_PASSWORD_BYTES = 72
"""Bcrypt reads no more; htpasswd cuts there too."""
_REMEMBERED = 256


class Passwords:
    """Of one file. Thread-safe as far as a check may be done twice."""

    def __init__(self, hashes: dict[str, bytes]) -> None:
        self._hashes = hashes
        self._nobody = max(hashes.values(), key=_cost, default=b"") or bcrypt.hashpw(b"", bcrypt.gensalt(10))
        """So that a user who is not there takes as long, where all hashes cost the same."""
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()

    @classmethod
    def read(cls, path: Path) -> "Passwords":
        """`ConfigError` when it cannot be read, or has a line that is no user with a bcrypt hash."""
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise ConfigError(f"registry_htpasswd {path} cannot be read: {reason}") from None
        hashes: dict[str, bytes] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            user, colon, hashed = line.strip().partition(":")
            if not colon or not user or not hashed.startswith(_BCRYPT) or len(hashed) != 60:
                raise ConfigError(
                    f"registry_htpasswd {path}, line {number}: no user with a bcrypt hash;"
                    " write it with: htpasswd -B FILE USER"
                )
            hashes[user] = hashed.encode("ascii", "replace")
        return cls(hashes)

    def is_remembered(self, user: str, password: bytes) -> bool:
        """Whether the pair was found right before; takes no time, where `check` takes a tenth of a second."""
        return self._mark(user, password) in self._right

    def check(self, user: str, password: bytes) -> bool:
        """Whether it is the user's. Blocks."""
        hashed = self._hashes.get(user, self._nobody)
        try:
            right = bcrypt.checkpw(password[:_PASSWORD_BYTES], hashed) and user in self._hashes
        except ValueError:  # a hash that is damaged, or a NUL in the password
            return False
        if right:
            self._right[self._mark(user, password)] = None
            while len(self._right) > _REMEMBERED:
                self._right.popitem(last=False)
        return right

    def _mark(self, user: str, password: bytes) -> bytes:
        return hashlib.blake2b(user.encode() + b"\0" + password, key=self._key).digest()


def _cost(hashed: bytes) -> bytes:
    """Two digits, the logarithm of the rounds."""
    return hashed[4:6]
