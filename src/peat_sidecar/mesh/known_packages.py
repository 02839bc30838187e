"""Which packages of a repository the formation knows, here or not: an index of the records."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import LOCAL_REGISTRY, BlobHash, Digest, Reference
from peat_sidecar.mesh.offers import PACKAGES, Decides, Offer, offer_of
from peat_sidecar.mesh.paging import every_document
from peat_sidecar.records import Change, Document

_OWN_CLUSTER = f"{LOCAL_REGISTRY}/"
"""What was pushed without naming a registry means something else in every cluster."""


class ReadsPackages(Protocol):
    """The part of the records that is needed here."""

    def documents(self, collection: str, /, *, after: str = "", limit: int = 1000) -> list[Document]:
        """A page in the order of the ids."""
        ...

    def get(self, collection: str, doc_id: str, /) -> Document | None:
        """One of them."""
        ...

    def subscribe(self, listener: Callable[[Sequence[Change]], None], /) -> Callable[[], None]:
        """Called after each commit, in the writing thread."""
        ...


class KnownPackages:
    """Follows the records from its making to `close`. Thread-safe; blocks."""

    def __init__(self, records: ReadsPackages, trust: Decides, agent_id: str) -> None:
        """`agent_id`: this node's, whose own word is left out: what it had and is removed is nowhere."""
        self._agent_id = agent_id
        self._records = records
        self._trust = trust
        self._lock = threading.Lock()
        self._repositories: dict[str, set[str]] = {}
        """Ids of documents by the repository of what they name."""
        self._named: dict[str, str] = {}
        """The other way round."""
        self._is_read = False
        self.close = records.subscribe(self._changed)

    def of(self, repository: str) -> list[Offer]:
        """What documents that decide say there is in it, each content once, the newest first."""
        offers = self.all_of(repository)
        found: dict[tuple[BlobHash, Digest], Offer] = {}
        for each in sorted(offers, key=lambda offer: (bool(offer.origin), -offer.clock, offer.doc_id)):
            found.setdefault((each.collection, each.root), each)
        return list(found.values())

    def all_of(self, repository: str) -> list[Offer]:
        """Each document's word."""
        self._read()
        with self._lock:
            ids = tuple(self._repositories.get(repository, ()))
        return [offer for id in ids if (offer := self._offer(id)) is not None]

    def repositories(self) -> list[str]:
        """That some document names, whether it decides or not."""
        self._read()
        with self._lock:
            return list(self._repositories)

    def _offer(self, doc_id: str) -> Offer | None:
        document = self._records.get(PACKAGES, doc_id)
        if document is None or document.owner == self._agent_id or not self._trust.decides(document):
            return None
        return offer_of(document)

    def _read(self) -> None:
        """Once; what changes meanwhile is noted as well."""
        if self._is_read:
            return
        for document in every_document(self._records, PACKAGES):
            self._note(document.doc_id, document)
        self._is_read = True

    def _changed(self, changes: Sequence[Change]) -> None:
        for each in changes:
            if each.collection == PACKAGES:
                self._note(each.doc_id, each.document)

    def _note(self, doc_id: str, document: Document | None) -> None:
        repository = repository_of(offer_of(document)) if document is not None else ""
        with self._lock:
            before = self._named.pop(doc_id, "")
            if before:
                self._repositories[before].discard(doc_id)
                if not self._repositories[before]:
                    del self._repositories[before]
            if repository:
                self._named[doc_id] = repository
                self._repositories.setdefault(repository, set()).add(doc_id)


def repository_of(offer: Offer | None) -> str:
    """As `registry.example/team/app`; empty where clients of this cluster cannot mean it."""
    if offer is None or not offer.listed_as or offer.listed_as.startswith(_OWN_CLUSTER):
        return ""
    with suppress(ConfigError):
        parsed = Reference.parse(offer.listed_as)
        return f"{parsed.registry}/{parsed.repository}"
    return ""
