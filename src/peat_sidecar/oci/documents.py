"""Manifests and indexes as any source gives them: checked against what named them. Pure."""

import hashlib

from peat_sidecar.errors import IntegrityError
from peat_sidecar.ids import Digest
from peat_sidecar.packages import Descriptor, Index, Manifest, parse_manifest

DOCUMENT_LIMIT_BYTES = 4 << 20
"""The largest manifest that registries take."""


def digest_of(data: bytes, algorithm: str = "sha256") -> Digest:
    """The digest of bytes."""
    return Digest(algorithm, hashlib.new(algorithm, data).hexdigest())


def checked(raw: bytes, descriptor: Descriptor, place: str) -> bytes:
    """The bytes, when they are what the descriptor names; else `IntegrityError` that names the place."""
    if len(raw) != descriptor.size:
        raise IntegrityError(
            f"{descriptor.digest} has {len(raw)} bytes at {place}, and {descriptor.size} by what names it"
        )
    found = digest_of(raw, descriptor.digest.algorithm)
    if found != descriptor.digest:
        raise IntegrityError(f"{place} gives wrong bytes for {descriptor.digest}: theirs are {found}")
    return raw


def referrers_tag(digest: Digest) -> str:
    """The tag that lists referrers where the API is missing (distribution specification 1.1)."""
    return f"{digest.algorithm[:32]}-{digest.hex[:64]}"


def referrers_in(index: Index, artifact_type: str | None) -> list[Descriptor]:
    """What a list of referrers names, of one artifact type or of all, each once."""
    found = {entry.digest: entry for entry in index.manifests}
    return [
        entry for entry in found.values() if artifact_type is None or entry.artifact_type == artifact_type
    ]


def as_referrer(raw: bytes, descriptor: Descriptor) -> tuple[Digest | None, Descriptor]:
    """The digest of a document's subject, if it has one, and how a list of referrers names the document."""
    document = parse_manifest(raw, descriptor.media_type)
    if document.subject is None:
        return None, descriptor
    kind = document.artifact_type
    if kind is None and isinstance(document, Manifest):
        kind = document.config.media_type
    entry = Descriptor(
        descriptor.media_type,
        descriptor.digest,
        descriptor.size,
        artifact_type=kind,
        annotations=document.annotations,
    )
    return document.subject.digest, entry
