"""The `index.json` of an image layout: what it lists, and which entry a name means. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from peat_sidecar.errors import NotFound, SourceError
from peat_sidecar.ids import Digest
from peat_sidecar.packages import Descriptor, Index, parse_manifest

INDEX_MEDIA_TYPE = "application/vnd.oci.image.index.v1+json"
REF_NAME = "org.opencontainers.image.ref.name"
LAYOUT_FILE = b'{"imageLayoutVersion":"1.0.0"}'
# containerd and docker write the whole reference there, and only the tag into the standard annotation.
_IMAGE_NAME = "io.containerd.image.name"


def parse_layout_file(raw: bytes, place: str) -> None:
    """Checks `oci-layout`; `SourceError` for another version, or something else."""
    try:
        version = json.loads(raw)["imageLayoutVersion"]
    except (ValueError, LookupError, TypeError, RecursionError):
        version = None
    if not isinstance(version, str) or not version.startswith("1."):
        raise SourceError(f"{place} is no OCI image layout of version 1; its file oci-layout does not say so")


def parse_layout_index(raw: bytes, place: str) -> Index:
    """What `index.json` lists."""
    try:
        found = parse_manifest(raw, INDEX_MEDIA_TYPE)
    except SourceError as error:
        raise SourceError(f"index.json of {place} cannot be read: {error}") from None
    if not isinstance(found, Index):
        raise SourceError(f"index.json of {place} is no index")
    return found


def choose(index: Index, tag: str | None, place: str) -> Descriptor:
    """The entry that a tag names, or without one the only package; `NotFound` says which there are."""
    if tag is not None:
        fitting = [entry for entry in index.manifests if _is_named(entry, tag)]
    else:
        fitting = _packages(index)
    distinct = {entry.digest: entry for entry in fitting}
    if len(distinct) == 1:
        return next(iter(distinct.values()))
    names = sorted({name for entry in index.manifests if (name := ref_name(entry))})
    listed = ", ".join(names[:20]) or "none"
    if tag is not None:
        problem = "has several entries of" if distinct else "has nothing of"
        raise NotFound(f"{place} {problem} the name {tag!r}; its names are: {listed}")
    if not index.manifests:
        raise NotFound(f"{place} lists no package in its index.json")
    raise NotFound(f"{place} holds several packages; say which, by name or digest. Its names are: {listed}")


def by_digest(index: Index, digest: Digest) -> Descriptor | None:
    """The entry with that digest."""
    return next((entry for entry in index.manifests if entry.digest == digest), None)


def ref_name(entry: Descriptor) -> str | None:
    """The tag of an entry."""
    return entry.annotations.get(REF_NAME)


def with_entry(raw: bytes | None, root: Descriptor, name: str | None) -> bytes:
    """The text of `index.json` with one more entry, which takes its name over; the rest stays."""
    entry: dict[str, Any] = {
        "mediaType": root.media_type,
        "digest": str(root.digest),
        "size": root.size,
    }
    if name:
        entry["annotations"] = {REF_NAME: name}
    index: dict[str, Any] = (json.loads(raw) if raw else None) or {
        "schemaVersion": 2,
        "mediaType": INDEX_MEDIA_TYPE,
        "manifests": [],
    }
    others = [other for other in index["manifests"] if not _is_replaced(other, entry, name)]
    index["manifests"] = [*others, entry]
    return json.dumps(index, separators=(",", ":")).encode()


def _is_replaced(other: Mapping[str, Any], entry: Mapping[str, Any], name: str | None) -> bool:
    other_name = (other.get("annotations") or {}).get(REF_NAME)
    return other_name == name and (name is not None or other["digest"] == entry["digest"])


def _is_named(entry: Descriptor, tag: str) -> bool:
    full = entry.annotations.get(_IMAGE_NAME)
    return ref_name(entry) == tag or full == tag


def _packages(index: Index) -> list[Descriptor]:
    """Entries that are not there only as referrers of another."""
    tags = {f"{entry.digest.algorithm}-{entry.digest.hex[:64]}" for entry in index.manifests}
    plain = [entry for entry in index.manifests if ref_name(entry) not in tags]
    named = [entry for entry in plain if entry.artifact_type is None]
    return named or plain
