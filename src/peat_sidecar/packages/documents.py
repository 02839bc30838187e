"""Manifests and indexes: OCI image specification 1.1, and Docker's schema 2 and manifest list.

A document is one thing only: one with the fields of both a manifest and an index, or whose own `mediaType` is
not the one it was named by, is refused, because two programs would read two packages in it (CVE-2021-41190).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from peat_sidecar.errors import SourceError
from peat_sidecar.ids import Digest
from peat_sidecar.packages.descriptors import Descriptor, media_type_in, read_descriptor
from peat_sidecar.packages.fields import Fields, parse_document
from peat_sidecar.packages.media_types import (
    LISTS,
    MANIFEST_MEDIA_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    SCHEMA1,
    SINGLE,
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A document with a config and layers: an image, or an artifact."""

    descriptor: Descriptor
    raw: bytes = field(repr=False)
    """The bytes as they came: the digest is over them."""
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    """What this one refers to, as a signature or an SBOM does."""
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Index:
    """A document that lists manifests, one for each platform, or other indexes."""

    descriptor: Descriptor
    raw: bytes = field(repr=False)
    """The bytes as they came: the digest is over them."""
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    """What this one refers to."""
    artifact_type: str | None = None
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)


def parse_manifest(raw: bytes, media_type: str | None) -> Manifest | Index:
    """Reads a document that was named with a media type; with None by what it says of itself.

    Its descriptor has the sha256 of the bytes. `SourceError` says what is wrong with it.
    """
    fields = parse_document(raw)
    kind = _kind(fields, media_type)
    descriptor = Descriptor(kind, Digest("sha256", hashlib.sha256(raw).hexdigest()), len(raw))
    subject = fields.object("subject")
    referred = None if subject is None else read_descriptor(subject)
    artifact_type = media_type_in(fields, "artifactType")
    annotations = fields.texts_by_name("annotations")
    if kind in LISTS:
        manifests = tuple(read_descriptor(each) for each in fields.objects("manifests"))
        return Index(descriptor, raw, manifests, referred, artifact_type, annotations)
    config = fields.object("config")
    if config is None:
        raise SourceError("a manifest lacks its config; artifacts have an empty one")
    layers = tuple(read_descriptor(each) for each in fields.objects("layers"))
    return Manifest(descriptor, raw, read_descriptor(config), layers, referred, artifact_type, annotations)


def _kind(fields: Fields, named: str | None) -> str:
    """The media type of a document, once all that speak of it agree."""
    stated = media_type_in(fields, "mediaType")
    _refuse_schema1(fields, named, stated)
    if "schemaVersion" not in fields or fields.integer("schemaVersion") != 2:
        raise SourceError("a manifest does not say schemaVersion 2; what names it is no OCI or Docker image")
    if named and stated and named != stated:
        raise SourceError(f"a manifest that is named as {named} says that it is {stated}; push it again")
    listing, single = "manifests" in fields, "layers" in fields or "config" in fields
    if listing and single:
        raise SourceError("a manifest has the fields of an image and of an index; it is refused as ambiguous")
    kind = named or stated or (OCI_INDEX if listing else OCI_MANIFEST if single else None)
    if kind not in MANIFEST_MEDIA_TYPES:
        what = "a document without mediaType, config or manifests" if kind is None else kind
        raise SourceError(f"{what} is no manifest that can be read; OCI and Docker schema 2 can")
    if (kind in SINGLE and listing) or (kind in LISTS and single):
        raise SourceError(f"a manifest that is named as {kind} has the fields of another kind")
    return kind


def _refuse_schema1(fields: Fields, *media_types: str | None) -> None:
    version_one = "schemaVersion" in fields and fields.integer("schemaVersion") == 1
    if version_one or not SCHEMA1.isdisjoint(media_types):
        raise SourceError(
            "this is a Docker schema 1 manifest, which no current tool writes;"
            " convert it (skopeo copy --format v2s2) and import the result"
        )
