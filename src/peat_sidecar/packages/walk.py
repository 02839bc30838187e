"""The walk from a root to everything that it reaches, without I/O: the caller reads what is wanted.

    walk = Walk(root, platforms)
    while wanted := walk.wanted():
        for descriptor in wanted:
            walk.feed(descriptor, <its bytes>)       # or walk.absent(descriptor)
    package = walk.package()

Documents may come from anyone: each is checked against the descriptor that named it, and what they name is
bounded in number, depth and bytes before it is asked for. They cannot name each other in a circle, since a
document would have to hold its own digest.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from peat_sidecar.errors import IntegrityError, NotFound, SourceError
from peat_sidecar.ids import Digest
from peat_sidecar.packages.descriptors import Descriptor, Platform, is_content
from peat_sidecar.packages.documents import Index, Manifest, parse_manifest
from peat_sidecar.packages.fields import DOCUMENT_LIMIT_BYTES
from peat_sidecar.packages.package import Package

DOCUMENTS_LIMIT = 10_000
DOCUMENTS_LIMIT_BYTES = 64 << 20
"""All documents of a package together: they are held in memory while it is walked."""
ENTRIES_LIMIT = 100_000
"""Everything that the documents of a package name, counted each time."""
DEPTH_LIMIT = 8
"""Indexes in indexes; real ones have two."""

# How BuildKit ties a provenance or SBOM manifest to the image in the same index that it speaks of.
_ATTESTED = "vnd.docker.reference.digest"


class Walk:
    """One walk. It is given platforms to take only the manifests of an index that are for one of them."""

    def __init__(self, root: Descriptor, platforms: Sequence[Platform] | None = None) -> None:
        if not root.is_manifest and not root.is_index:
            raise SourceError(
                f"{root.digest} is {root.media_type}; a package begins with a manifest or index"
            )
        self._root = root
        self._platforms = tuple(platforms) if platforms else None
        self._named: dict[Digest, Descriptor] = {}
        self._depths: dict[Digest, int] = {}
        self._wanted: dict[Digest, Descriptor] = {}
        self._documents: dict[Digest, Manifest | Index] = {}
        self._absent: set[Digest] = set()
        self._entries = 0
        self._document_bytes = 0
        self._name(root)
        self._want(root, 0)

    def wanted(self) -> list[Descriptor]:
        """The documents to read next, in the order in which they were named; none: the walk is done."""
        return list(self._wanted.values())

    def feed(self, descriptor: Descriptor, raw: bytes) -> None:
        """Takes the bytes of a wanted document.

        `IntegrityError` when they are others than its descriptor names, `SourceError` when they are no
        document or name more than a package may.
        """
        named = self._expected(descriptor)
        if not is_content(named, raw):
            raise IntegrityError(f"the bytes given for manifest {named.digest} are others than it names")
        document = replace(parse_manifest(raw, named.media_type), descriptor=named)
        del self._wanted[named.digest]
        self._documents[named.digest] = document
        for each in _entries_of(document):
            self._name(each)
        if isinstance(document, Index):
            depth = self._depths[named.digest] + 1
            for each in self._chosen(document):
                self._want(each, depth)

    def absent(self, descriptor: Descriptor) -> None:
        """Takes note that a wanted document is not there, as in a sparse index; without a root there is
        no package.
        """
        named = self._expected(descriptor)
        if named.digest == self._root.digest:
            raise NotFound(f"manifest {named.digest} is not there, and a package begins with it")
        del self._wanted[named.digest]
        self._absent.add(named.digest)

    def package(self) -> Package:
        """The whole, when nothing is wanted any more."""
        if self._wanted:
            raise ValueError("documents are wanted still")
        blobs: dict[Digest, Descriptor] = {}
        foreign: dict[Digest, Descriptor] = {}
        missing: dict[Digest, Descriptor] = {}
        for document in self._depth_first():
            blobs.setdefault(document.descriptor.digest, document.descriptor)
            for each in _entries_of(document):
                if isinstance(document, Index):
                    if each.digest not in self._documents:
                        missing.setdefault(each.digest, each)
                elif each.is_foreign:
                    foreign.setdefault(each.digest, each)
                else:
                    blobs.setdefault(each.digest, each)
        self._check(blobs, missing)
        return Package(
            self._root,
            self._documents,
            tuple(blobs.values()),
            tuple(each for digest, each in foreign.items() if digest not in blobs),
            tuple(missing.values()),
        )

    def _check(self, blobs: Mapping[Digest, Descriptor], missing: Mapping[Digest, Descriptor]) -> None:
        """Refuses what a getter could not tell from the names of its blobs, and a choice of nothing."""
        for digest, each in missing.items():
            if digest in blobs and (each.is_manifest or each.is_index):
                raise SourceError(f"{digest} is named as a manifest and as a layer; import all platforms")
        if not self._platforms or any(isinstance(each, Manifest) for each in self._documents.values()):
            return
        asked = ", ".join(str(each) for each in self._platforms)
        if self._absent:
            raise NotFound(f"{self._root.digest} names manifests for {asked}, which are not there")
        if missing:
            there = sorted({str(each.platform) for each in missing.values() if each.platform})
            listed = ", ".join(there[:20]) or "none that says its platform"
            raise NotFound(f"{self._root.digest} has no manifest for {asked}; it has {listed}")

    def _expected(self, descriptor: Descriptor) -> Descriptor:
        named = self._wanted.get(descriptor.digest)
        if named is None:
            raise ValueError(f"{descriptor.digest} is not wanted")
        return named

    def _name(self, descriptor: Descriptor) -> None:
        """Takes note of a blob; two sizes for one digest are a lie in one of the two places."""
        self._entries += 1
        if self._entries > ENTRIES_LIMIT:
            raise SourceError(f"{self._root.digest} names more than {ENTRIES_LIMIT} blobs, which is refused")
        known = self._named.setdefault(descriptor.digest, descriptor)
        if known.size != descriptor.size:
            raise SourceError(
                f"{descriptor.digest} is named with two sizes, {known.size} and {descriptor.size} bytes"
            )

    def _want(self, descriptor: Descriptor, depth: int) -> None:
        digest = descriptor.digest
        if digest in self._depths:
            read = self._documents.get(digest)
            known = read.descriptor if read else self._wanted.get(digest)
            if known and known.media_type != descriptor.media_type:
                raise SourceError(f"{digest} is named as {known.media_type} and as {descriptor.media_type}")
            return
        if descriptor.size > DOCUMENT_LIMIT_BYTES:
            raise SourceError(f"manifest {digest} has {descriptor.size} bytes; registries take 4 MiB at most")
        self._document_bytes += descriptor.size
        if len(self._depths) >= DOCUMENTS_LIMIT or self._document_bytes > DOCUMENTS_LIMIT_BYTES:
            raise SourceError(
                f"{self._root.digest} has more manifests than {DOCUMENTS_LIMIT}, or 64 MiB of them"
            )
        if depth > DEPTH_LIMIT:
            raise SourceError(
                f"{self._root.digest} nests indexes deeper than {DEPTH_LIMIT}, which is refused"
            )
        self._depths[digest] = depth
        self._wanted[digest] = descriptor

    def _chosen(self, index: Index) -> Iterator[Descriptor]:
        readable = [each for each in index.manifests if each.is_manifest or each.is_index]
        if self._platforms is None:
            yield from readable
            return
        chosen = {str(each.digest) for each in readable if self._fits(each)}
        for each in readable:
            if str(each.digest) in chosen or each.annotations.get(_ATTESTED) in chosen:
                yield each

    def _fits(self, entry: Descriptor) -> bool:
        """What says no platform is for all of them: an artifact, or an index that says it for each entry."""
        platform = entry.platform
        if platform is None or self._platforms is None:
            return True
        return any(platform.matches(wanted) for wanted in self._platforms)

    def _depth_first(self) -> Iterator[Manifest | Index]:
        """The documents that were read, each once, each before what it names, in the order of naming."""
        seen: set[Digest] = set()
        stack = [self._root.digest]
        while stack:
            digest = stack.pop()
            document = self._documents.get(digest)
            if document is None or digest in seen:
                continue
            seen.add(digest)
            yield document
            if isinstance(document, Index):
                stack.extend(each.digest for each in reversed(document.manifests))


def assemble(
    root: Descriptor,
    fetch: Mapping[Digest, bytes] | Callable[[Digest], bytes | None],
    platforms: Sequence[Platform] | None = None,
) -> Package:
    """The walk over documents that are at hand; what `fetch` has not is missing, as in a sparse index."""
    read = fetch.get if isinstance(fetch, Mapping) else fetch
    walk = Walk(root, platforms)
    while wanted := walk.wanted():
        for descriptor in wanted:
            raw = read(descriptor.digest)
            if raw is None:
                walk.absent(descriptor)
            else:
                walk.feed(descriptor, raw)
    return walk.package()


def _entries_of(document: Manifest | Index) -> tuple[Descriptor, ...]:
    if isinstance(document, Index):
        return document.manifests
    return (document.config, *document.layers)
