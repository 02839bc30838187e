"""The table of signers: how far each is known, what its records come to, whether it is banned.

All of it is in memory (some ten thousand rows at most) and written back with the transaction that changed it.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from peat_sidecar.ids import EndpointId
from peat_sidecar.records.database import Database
from peat_sidecar.records.values import Head

_DIGEST_BYTES = 16
_MODULUS = 1 << 8 * _DIGEST_BYTES
_COLUMNS = "id, key, head, digest, records, bytes, clock, heard, banned, forgotten"


@dataclass(slots=True)
class SignerRow:
    """One signer."""

    id: int
    key: EndpointId
    head: int = 0
    """The highest sequence stored."""
    digest: int = 0
    records: int = 0
    size: int = 0
    """Bytes of the bodies."""
    clock: int = 0
    """The latest of its records that count."""
    heard: float = 0.0
    """When something was last heard of it, Unix seconds."""
    banned: bool = False
    forgotten: bool = False
    """Its records were dropped; head and digest are as they were, so that nobody brings them back."""

    def gain(self, body: bytes) -> None:
        """A record is stored."""
        self.records += 1
        self.size += len(body)
        if not self.forgotten:
            self.digest = (self.digest + digest_of(body)) % _MODULUS

    def lose(self, body: bytes) -> None:
        """A record is replaced or dropped."""
        self.records -= 1
        self.size -= len(body)
        if not self.forgotten:
            self.digest = (self.digest - digest_of(body)) % _MODULUS


class Signers:
    """By id and by key. Used under the database's lock."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._by_key: dict[EndpointId, SignerRow] = {}
        self._by_id: dict[int, SignerRow] = {}
        self._dirty: set[int] = set()
        self._digest: bytes | None = None
        self.load()

    def load(self) -> None:
        """As they are in the database: at start, and after a transaction that was undone."""
        rows = [_row(values) for values in self._database.rows(f"SELECT {_COLUMNS} FROM signers")]
        self._by_key = {row.key: row for row in rows}
        self._by_id = {row.id: row for row in rows}
        self._next_id = max(self._by_id, default=0) + 1
        self._dirty.clear()
        self._digest = None

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[SignerRow]:
        return iter(self._by_key.values())

    def find(self, key: EndpointId) -> SignerRow | None:
        return self._by_key.get(key)

    def by_id(self, identity: int) -> SignerRow:
        try:
            return self._by_id[identity]
        except KeyError:
            raise self._database.damaged(f"signer {identity} is not in its table") from None

    def add(self, key: EndpointId) -> SignerRow:
        """The row of a signer, made when it is new; within a transaction."""
        row = self._by_key.get(key)
        if row is None:
            row = SignerRow(self._next_id, key)
            self._next_id += 1
            self._by_key[key] = self._by_id[row.id] = row
        self._dirty.add(row.id)
        return row

    def flush(self) -> None:
        """Writes what `add` gave out since; within a transaction."""
        if self._dirty:
            self._database.execute_many(
                f"INSERT OR REPLACE INTO signers ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?)",
                [_values(self._by_id[identity]) for identity in self._dirty],
            )
            self._dirty.clear()
            self._digest = None

    def heads(self) -> dict[EndpointId, Head]:
        """Of all that have ever said something."""
        return {row.key: Head(row.head, _bytes(row.digest)) for row in self if row.head}

    def digest(self) -> bytes:
        """16 bytes over all heads; the same where the same records are."""
        if self._digest is None:
            every = hashlib.sha256()
            for row in sorted((row for row in self if row.head), key=lambda row: row.key):
                every.update(row.key.value + row.head.to_bytes(8, "big") + _bytes(row.digest))
            self._digest = every.digest()[:_DIGEST_BYTES]
        return self._digest


def recall(database: Database, row: SignerRow) -> None:
    """The signer is no longer forgotten: the digest is that of what is still here, which differs from its
    peers', so that they bring the rest; within a transaction.
    """
    row.forgotten = False
    row.digest = 0
    for (body,) in database.each("SELECT body FROM records WHERE signer = ?", (row.id,)):
        row.digest = (row.digest + digest_of(body)) % _MODULUS
    database.execute("INSERT OR IGNORE INTO stale SELECT document FROM records WHERE signer = ?", (row.id,))
    database.execute("UPDATE records SET state = 0 WHERE signer = ? AND state = 2", (row.id,))


def digest_of(body: bytes) -> int:
    """What a record adds to its signer's digest."""
    return int.from_bytes(hashlib.sha256(body).digest()[:_DIGEST_BYTES], "big")


def _bytes(digest: int) -> bytes:
    return digest.to_bytes(_DIGEST_BYTES, "big")


def _row(values: tuple[Any, ...]) -> SignerRow:
    identity, key, head, digest, records, size, clock, heard, banned, forgotten = values
    return SignerRow(
        identity,
        EndpointId(key),
        head,
        int.from_bytes(digest, "big"),
        records,
        size,
        clock,
        heard,
        bool(banned),
        bool(forgotten),
    )


def _values(row: SignerRow) -> tuple[object, ...]:
    return (
        row.id,
        row.key.value,
        row.head,
        _bytes(row.digest),
        row.records,
        row.size,
        row.clock,
        row.heard,
        row.banned,
        row.forgotten,
    )
