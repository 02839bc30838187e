"""Manifests that clients got from an upstream: what their blobs are, and which packages they make up."""

from collections import OrderedDict
from dataclasses import dataclass, field

from peat_sidecar.ids import Digest
from peat_sidecar.packages import Descriptor, Index, Manifest, parse_manifest

_REMEMBERED = 1000


@dataclass(slots=True)
class _Seen:
    document: Manifest | Index
    root: Descriptor
    tag: str = ""
    """By which it was asked for last; empty for one that was asked for by its digest only."""


@dataclass(frozen=True, slots=True)
class Belonging:
    """What a blob is a part of."""

    blob: Descriptor
    manifest: Digest
    """The manifest that names it."""
    root: Descriptor
    """That, or an index that was seen and lists it."""
    reference: str
    """Of the root."""


@dataclass(slots=True)
class SeenDocuments:
    """The last thousand."""

    _seen: OrderedDict[tuple[str, Digest], _Seen] = field(default_factory=OrderedDict)
    """By repository and digest, the last one last."""

    def add(self, repository: str, name: str | Digest, root: Descriptor, raw: bytes) -> None:
        """A client has got it by that name. `SourceError` for what is no manifest."""
        document = parse_manifest(raw, root.media_type)
        if isinstance(name, str):
            self._moved(repository, name)
        key = repository, root.digest
        before = self._seen.pop(key, None)
        tag = name if isinstance(name, str) else before.tag if before is not None else ""
        self._seen[key] = _Seen(document, root, tag)
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def _moved(self, repository: str, tag: str) -> None:
        """What had the tag before goes by its digest: its layers, read on, must not take the tag back."""
        for (place, _), each in self._seen.items():
            if place == repository and each.tag == tag:
                each.tag = ""

    def find(self, repository: str, blob: Digest) -> Belonging | None:
        """What a blob of the repository belongs to, as far as that was seen."""
        for (place, digest), each in reversed(self._seen.items()):
            if place != repository or isinstance(each.document, Index):
                continue
            for named in (each.document.config, *each.document.layers):
                if named.digest == blob:
                    root, reference = self._package(repository, digest, each)
                    return Belonging(named, digest, root, reference)
        return None

    def _package(self, repository: str, digest: Digest, seen: _Seen) -> tuple[Descriptor, str]:
        """The manifest itself where it was asked for by a tag, else the index that has it."""
        if seen.tag:
            return seen.root, f"{repository}:{seen.tag}"
        for (place, parent), each in reversed(self._seen.items()):
            listed = each.document.manifests if isinstance(each.document, Index) else ()
            if place == repository and any(child.digest == digest for child in listed):
                return self._package(repository, parent, each)
        return seen.root, f"{repository}@{digest}"
