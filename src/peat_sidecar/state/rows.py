"""The rows of the state, as values."""

from dataclasses import dataclass
from typing import Literal

from peat_sidecar.classes import TransferClass
from peat_sidecar.ids import BlobHash, Digest, EndpointId

Origin = Literal["user", "policy", "client"]
"""Who caused something: a person, a rule, or a client of the registry that pulled it."""


@dataclass(frozen=True, slots=True)
class RememberedPeer:
    """A peer that a call has named."""

    endpoint_id: EndpointId
    addresses: tuple[str, ...]
    """As `host:port`."""
    disconnected: bool
    """On purpose: it is not dialled again by itself."""


@dataclass(frozen=True, slots=True)
class Ban:
    """A peer that is kept out."""

    endpoint_id: EndpointId
    reason: str
    at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Pin:
    """What is never taken out for room."""

    name: str
    """A reference, a pattern of references, a digest or a collection's hash."""
    created_at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class WantRow:
    """A wish for a package."""

    id: str
    """16 hexadecimal digits."""
    name: str
    """A reference, the digest of a root or manifest, or a collection's hash."""
    transfer_class: TransferClass
    origin: Origin
    created_at: float
    """Unix seconds."""
    arch: str = ""
    """As `amd64`; empty for any."""
    export_to: str = ""
    """The registry that it is written to once it is here: `host[:port][/prefix]`."""
    reference: str = ""
    """What it is listed as; empty: what the records say."""
    done: bool = False
    last_error: str = ""
    approved: bool = False
    """It may be as large as it is."""
    deadline: float = 0.0
    """Unix seconds until which it is wanted; 0: for ever."""
    expired: bool = False
    """It was not here by then."""


@dataclass(frozen=True, slots=True)
class ExportRow:
    """A package that has to be written to a registry, or was."""

    id: str
    """16 hexadecimal digits."""
    root: Digest
    target: str
    """A reference with its registry."""
    created_at: float
    """Unix seconds."""
    done: bool = False
    attempts: int = 0
    """That failed."""
    last_error: str = ""


@dataclass(frozen=True, slots=True)
class ReplicaRow:
    """A package that came from the formation, or was taken out again."""

    collection: BlobHash
    root: Digest
    reference: str
    """As its origin names it; empty when nobody does."""
    arch: str
    agent_id: str
    """Whose package it is a replica of."""
    origin: Origin
    unwanted_by: str = ""
    """Digest of the policy under which it was taken out or turned down; empty for one that is wanted."""
