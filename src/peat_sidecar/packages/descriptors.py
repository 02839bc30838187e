"""Descriptors and platforms: how one document names another blob (OCI image specification 1.1)."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from peat_sidecar.errors import ConfigError, SourceError
from peat_sidecar.ids import Digest
from peat_sidecar.packages.fields import DOCUMENT_LIMIT_BYTES, Fields
from peat_sidecar.packages.media_types import FOREIGN_PREFIXES, LISTS, SINGLE

# What people and `uname` write, and what manifests have.
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386", "i686": "386"}
# What a manifest means that does not say it, as containerd reads it.
_USUAL_VARIANTS = {"arm64": "v8", "arm": "v7"}


@dataclass(frozen=True, slots=True)
class Platform:
    """What a manifest of an index runs on; as a filter, what people want of it."""

    os: str
    architecture: str
    variant: str | None = None
    """As `v7`; in a filter None means any."""
    os_version: str | None = None
    """As Windows has it; in a filter None means any."""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `os/architecture[/variant]`."""
        parts = text.strip().lower().split("/")
        plain = all(part and part.isascii() and part.isprintable() for part in parts)
        if len(parts) not in (2, 3) or not plain:
            raise ConfigError(f"{text[:80]!r} is no platform; one looks like linux/amd64 or linux/arm/v7")
        architecture = _ARCHITECTURES.get(parts[1], parts[1])
        return cls(parts[0], architecture, parts[2] if len(parts) == 3 else None)

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def matches(self, wanted: "Platform") -> bool:
        """Whether a manifest for this platform is one that a filter asks for."""
        if (self.os, self.architecture) != (wanted.os, wanted.architecture):
            return False
        if wanted.os_version is not None and wanted.os_version != self.os_version:
            return False
        usual = _USUAL_VARIANTS.get(self.architecture)
        return wanted.variant is None or wanted.variant == (self.variant or usual)

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        made: dict[str, Any] = {"architecture": self.architecture, "os": self.os}
        if self.os_version is not None:
            made["os.version"] = self.os_version
        if self.os_features:
            made["os.features"] = list(self.os_features)
        if self.variant is not None:
            made["variant"] = self.variant
        return made


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Names a blob: by digest, with its size and what it is."""

    media_type: str
    digest: Digest
    size: int
    """Bytes."""
    artifact_type: str | None = None
    platform: Platform | None = None
    urls: tuple[str, ...] = ()
    """Where else it may be had; never used."""
    annotations: Mapping[str, str] = field(default_factory=dict, hash=False)
    data: bytes | None = None
    """The blob itself, where the document carries it; proven by the digest."""

    @property
    def is_manifest(self) -> bool:
        """A manifest with config and layers."""
        return self.media_type in SINGLE

    @property
    def is_index(self) -> bool:
        """An index, or a manifest list of Docker's."""
        return self.media_type in LISTS

    @property
    def is_foreign(self) -> bool:
        """A layer that its licence keeps out of registries."""
        return self.media_type.startswith(FOREIGN_PREFIXES)

    def to_json(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        made: dict[str, Any] = {"mediaType": self.media_type}
        if self.artifact_type is not None:
            made["artifactType"] = self.artifact_type
        made |= {"digest": str(self.digest), "size": self.size}
        if self.urls:
            made["urls"] = list(self.urls)
        if self.annotations:
            made["annotations"] = dict(self.annotations)
        if self.data is not None:
            made["data"] = base64.b64encode(self.data).decode()
        if self.platform is not None:
            made["platform"] = self.platform.to_json()
        return made


def read_descriptor(fields: Fields) -> Descriptor:
    """A descriptor in a document; `SourceError` for one that names nothing."""
    media_type = media_type_in(fields, "mediaType")
    text = fields.text("digest")
    if media_type is None or text is None:
        raise SourceError(f"{fields.place} lacks its {'mediaType' if media_type is None else 'digest'}")
    try:
        digest = Digest.parse(text)
    except ConfigError as error:
        raise SourceError(f"{fields.at('digest')}: {error}") from None
    platform = fields.object("platform")
    descriptor = Descriptor(
        media_type,
        digest,
        fields.integer("size"),
        media_type_in(fields, "artifactType"),
        None if platform is None else _platform(platform),
        fields.texts("urls"),
        fields.texts_by_name("annotations"),
        _data(fields),
    )
    if descriptor.data is not None and not is_content(descriptor, descriptor.data):
        raise SourceError(f"{fields.at('data')} is not what the digest beside it names")
    return descriptor


def media_type_in(fields: Fields, name: str) -> str | None:
    """A media type: what can be a header and a line on a terminal. No stricter: real ones have parameters."""
    text = fields.text(name, 255)
    if text is None or (name == "artifactType" and not text):
        return None
    if not text or not text.isascii() or not text.isprintable():
        raise SourceError(f"{fields.at(name)} is no media type")
    return text


def is_content(descriptor: Descriptor, data: bytes) -> bool:
    """Whether bytes are what a descriptor names: in size and digest."""
    digest = descriptor.digest
    return len(data) == descriptor.size and hashlib.new(digest.algorithm, data).hexdigest() == digest.hex


def _platform(fields: Fields) -> Platform:
    return Platform(
        fields.text("os", 255) or "",
        fields.text("architecture", 255) or "",
        fields.text("variant", 255) or None,
        fields.text("os.version", 255) or None,
        fields.texts("os.features"),
    )


def _data(fields: Fields) -> bytes | None:
    text = fields.text("data", 2 * DOCUMENT_LIMIT_BYTES)
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise SourceError(f"{fields.at('data')} is no base64") from None
