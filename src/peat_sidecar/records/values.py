"""What the records give out and take in: documents, heads, batches, changes, faults."""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from peat_sidecar.ids import EndpointId
from peat_sidecar.records.canonical import render
from peat_sidecar.records.record import SignedRecord

OWNED = frozenset({"packages", "nodes", "deployments"})
"""Collections with one writer per document: the node whose agent id the document id begins with."""


def agent_of(doc_id: str) -> str:
    """The agent id that the key of an owned document begins with; all of it in `nodes`."""
    return doc_id.partition(":")[0]


@dataclass(frozen=True)
class Document:
    """A JSON object: the merge of what signers say of it."""

    collection: str
    doc_id: str
    fields: dict[str, Any]
    clock: int
    """When it was last changed, as hybrid logical clock."""
    signers: tuple[EndpointId, ...]
    """Whose words it is made of, sorted; of an owned document only its owner."""

    @property
    def owner(self) -> str:
        """The agent id that an owned document belongs to."""
        return agent_of(self.doc_id)

    @cached_property
    def json(self) -> str:
        """Its text: compact, names sorted; the same on every node."""
        return render(self.fields)


@dataclass(frozen=True, slots=True)
class Head:
    """How far a signer's records are known here."""

    sequence: int
    """The highest one stored."""
    digest: bytes
    """16 bytes: the sum modulo 2^128 of the first halves of the SHA-256 of its current records' bodies."""


@dataclass(frozen=True, slots=True)
class Batch:
    """All current records of a signer with `after < sequence <= upto`, ascending."""

    signer: EndpointId
    after: int
    upto: int
    """The sequence of the last of the records."""
    records: tuple[SignedRecord, ...]


class FaultKind(StrEnum):
    """What is wrong with something that came."""

    FORGED = "forged"
    """Its signature is not its signer's: forged, or altered on the way."""
    MALFORMED = "malformed"
    """It is no record, or a batch that is not what it says."""
    OLDER = "older"
    """A newer one of the same signer and document is stored. Two peers that bring the same news do this too.
    """
    FOREIGN = "foreign"
    """It is about a document of another owner."""
    FUTURE = "future"
    """Its clock is more than a day ahead; it is set aside."""
    EQUIVOCATION = "equivocation"
    """Its signer has said something else with the same sequence."""
    FLOOD = "flood"
    """It is beyond what one signer, or all of them, may have stored here."""
    BANNED = "banned"
    """Its signer is banned."""
    STRANGER = "stranger"
    """Its signer is not in the roster."""
    MISNAMED = "misnamed"
    """The content that it names is not what it says."""
    DISPUTED = "disputed"
    """Another signer, whose word counts, says that its tag stands for something else."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that came and does not count, or shows that somebody misbehaves."""

    kind: FaultKind
    signer: EndpointId | None
    """Whose record it is, or (when it is forged or malformed) is said to be."""
    source: EndpointId | None
    """The peer that sent it."""
    collection: str
    doc_id: str
    detail: str
    seen_at: float
    """Unix seconds; the last time."""
    count: int = 1
    """How often it was seen."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of some batches."""

    new: int = 0
    """Records that were stored."""
    advanced: frozenset[EndpointId] = frozenset()
    """Signers of which something new was stored."""
    gaps: frozenset[EndpointId] = frozenset()
    """Signers whose batch begins after what is known here; it was not applied: ask from the head on."""
    faults: tuple[Fault, ...] = ()
    """The first hundred."""


@dataclass(frozen=True, slots=True)
class Change:
    """A document that is not what it was."""

    collection: str
    doc_id: str
    document: Document | None
    """None: deleted."""


@dataclass(frozen=True, slots=True)
class RecordsStatus:
    """Figures."""

    documents: int
    records: int
    """Those of deleted documents included."""
    signers: int
    """That have records here."""
    ahead: int
    """Records that are set aside because their clock is more than a day ahead."""
    bytes: int
    """Bodies of the records."""


@dataclass(slots=True)
class Outcome:
    """What a change of the database has brought, for those who listen."""

    changes: list[Change] = field(default_factory=list)
    advanced: set[EndpointId] = field(default_factory=set)

    def add(self, changes: Collection[Change]) -> None:
        """More of it."""
        self.changes.extend(changes)
