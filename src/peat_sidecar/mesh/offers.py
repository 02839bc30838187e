"""What `packages` documents say of content: which package a name means, and who holds it.

A document comes from a member that may say anything: what is not as it should be is no offer. A replica, that
is what a node holds because it fetched it, says so (`origin`) and goes behind packages of their owners: else
the slowest node would bring old versions back.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import BlobHash, Digest, Reference
from peat_sidecar.mesh.policy import Platforms, same_arch
from peat_sidecar.mesh.tag_policies import NEWEST, TagPolicies, TagPolicy
from peat_sidecar.oci import subject_of_tag
from peat_sidecar.records import Document

PACKAGES = "packages"
_TEXT_LIMIT = 512
_NUMBER_LIMIT = 1 << 53
_FALSE_REMEMBERED = 1000

Name = BlobHash | Digest | str


class FindsDocuments(Protocol):
    """The part of the records that is needed here."""

    def find(self, path: str, value: str) -> list[Document]:
        """`packages` documents with that value at that path."""
        ...


class Decides(Protocol):
    """Says whose documents count."""

    def decides(self, document: Document) -> bool:
        """Whether a document may cause something here."""
        ...


@dataclass(frozen=True, slots=True)
class Offer:
    """One node's word about one package that it has, or is getting."""

    doc_id: str
    agent_id: str
    reference: str
    """As its source writes it; empty for a package without one."""
    arch: str
    listed_as: str
    """The reference with its registry that it goes by in stores; empty where there is none."""
    root: Digest
    collection: BlobHash
    bytes: int
    blobs: int
    complete: bool
    clock: int
    """Of the document's newest field."""
    origin: str
    """Agent id of the node whose package it is a replica of; empty for one that is not."""
    subject: Digest | None = None
    """What a signature or an SBOM refers to, by its own word or by the tag that lists it."""

    @property
    def pinned_as(self) -> str:
        """A name that no other content can take."""
        return (
            f"{self.listed_as}@{self.root}"
            if self.listed_as and "@" not in self.listed_as
            else self.listed_as
        )


def offer_of(document: Document) -> Offer | None:
    """None for a document without content, and for one that makes no sense."""
    content = document.fields.get("content")
    if not isinstance(content, dict):
        return None
    fields = document.fields
    try:
        root, collection = Digest.parse(_text(content, "root")), BlobHash.parse(_text(content, "collection"))
        reference, arch, origin = (_text(fields, name) for name in ("reference", "arch", "origin"))
        arch = _text(content, "arch") or arch
        size, blobs = _count(content, "bytes"), _count(content, "blobs")
        listed_as = listable(_text(content, "listed_as") or reference)
    except ConfigError:
        return None
    return Offer(
        document.doc_id,
        document.owner,
        reference,
        arch,
        listed_as,
        root,
        collection,
        size,
        blobs,
        content.get("state") == "complete",
        document.clock,
        origin,
        _subject(content, listed_as),
    )


def listable(text: str) -> str:
    """A reference as stores list it; empty for what is none."""
    try:
        return str(Reference.parse(text))
    except ConfigError:
        return ""


def keys_of(name: str, offer: Offer | None, claims: Iterable[Offer]) -> frozenset[str]:
    """What a change has to be about to make a name mean something else."""
    keys = {name, listable(name), name.partition("@")[2], *(each.doc_id for each in claims)}
    keys |= {offer.doc_id, str(offer.root), str(offer.collection)} if offer is not None else set()
    parsed = parse_name(name)
    return frozenset(keys | {str(parsed)}) - {""}


def keys_in(doc_id: str, document: Document | None) -> frozenset[str]:
    """What a changed document is about."""
    offer = offer_of(document) if document is not None else None
    if document is None or offer is None:
        return frozenset({doc_id})
    manifest = document.fields["content"].get("manifest")
    found = {doc_id, offer.reference, offer.listed_as, str(offer.root), str(offer.collection)}
    return frozenset(found | ({manifest} if isinstance(manifest, str) else set()))


def parse_name(text: str) -> Name:
    """A root's or manifest's digest, a collection's hash, or a reference."""
    for parse in (Digest.parse, BlobHash.parse):
        try:
            return parse(text)
        except ConfigError:
            continue
    return text


class Offers:
    """Looks packages up in the records; blocks."""

    def __init__(
        self,
        records: FindsDocuments,
        trust: Decides,
        platforms: Platforms,
        tags: TagPolicies | None = None,
    ) -> None:
        self._records = records
        self._trust = trust
        self._platforms = platforms
        self.tags = tags or TagPolicies()
        self._false: dict[Offer, None] = {}

    def disprove(self, offer: Offer) -> None:
        """The content was got and is not what it was said to be: others' word goes first from now on."""
        self._false[replace(offer, clock=0)] = None
        if len(self._false) > _FALSE_REMEMBERED:
            del self._false[next(iter(self._false))]

    def is_false(self, offer: Offer) -> bool:
        """Whether it was disproved, however often it was said again since."""
        return replace(offer, clock=0) in self._false

    def holders(self, collection: BlobHash) -> list[Offer]:
        """Everyone who says that they hold some of it."""
        return _offers(self._records.find("content.collection", str(collection)))

    def resolve(self, name: str, *, arch: str = "", reference: str = "") -> Offer | None:
        """The package that a name means: packages of their owners before replicas, platforms of this cluster
        before others, the newest by its document's clock; what was disproved is the last. Of a tag only what
        its policy admits, and of an immutable one the oldest. None while no document that decides names it.
        """
        parsed, policy = parse_name(name), NEWEST
        match parsed:
            case Digest():
                documents = self._find("content.root", name) + self._find("content.manifest", name)
            case BlobHash():
                documents = self._find("content.collection", str(parsed))
            case _:
                policy = self.tags.of(listable(name))
                documents = [each for each in self._named(name) if policy.admits(each.signers)]
        offers = [each for each in _offers(documents) if not arch or same_arch(each.arch, arch)]
        return max(offers, key=lambda offer: self._rank(offer, reference, policy), default=None)

    def named(self, reference: str) -> list[Offer]:
        """All that documents that decide say of a reference, whatever its policy."""
        return _offers(self._named(reference))

    def _find(self, path: str, value: str) -> list[Document]:
        return [each for each in self._records.find(path, value) if self._trust.decides(each)]

    def _named(self, name: str) -> list[Document]:
        """By the reference as it is, and by what is listed under it: sources may leave the registry out."""
        exact, listed = self._find("reference", name), listable(name)
        if not listed:
            return exact
        if "@" in listed:
            return exact or self._find("content.root", listed.partition("@")[2])
        forms = dict.fromkeys([listed, listed.removesuffix(":latest"), listed.partition("/")[2]])
        forms.pop(name, None)
        return exact + [
            document
            for text in forms
            for document in self._find("reference", text)
            if _listed(document) == listed
        ]

    def _rank(
        self, offer: Offer, reference: str, policy: TagPolicy
    ) -> tuple[bool, bool, bool, bool, int, str]:
        return (
            not self.is_false(offer),
            offer.reference == reference,
            policy.is_immutable or not offer.origin,
            self._platforms.runs(offer.arch),
            -offer.clock if policy.is_immutable else offer.clock,
            offer.doc_id,
        )


def _offers(documents: Iterable[Document]) -> list[Offer]:
    return [offer for offer in map(offer_of, documents) if offer is not None]


def _listed(document: Document) -> str:
    offer = offer_of(document)
    return offer.listed_as if offer is not None else ""


def _text(fields: Any, name: str) -> str:
    value = fields.get(name, "")
    if not isinstance(value, str) or len(value) > _TEXT_LIMIT or not value.isprintable():
        raise ConfigError(f"{name} is no text of at most {_TEXT_LIMIT} characters")
    return value


def _subject(content: Any, listed_as: str) -> Digest | None:
    with suppress(ConfigError):
        return Digest.parse(_text(content, "subject"))
    return subject_of_tag(listed_as.rpartition(":")[2]) if "@" not in listed_as else None


def _count(fields: Any, name: str) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _NUMBER_LIMIT:
        raise ConfigError(f"{name} is no number of bytes or blobs")
    return value
