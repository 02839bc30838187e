"""Signatures and SBOMs follow what they refer to: what is wanted or held here makes them wanted too, in the
same class, also where they are attached later.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from peat_sidecar.classes import TransferClass
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.mesh.offers import Offer
from peat_sidecar.mesh.policy import Choice
from peat_sidecar.mesh.ranking import Candidate
from peat_sidecar.store import StoredPackage

REFERRER_LIMIT_BYTES = 64 << 20
"""Larger ones come only where a rule of their own fits them: else any member could fill the disk."""
SUBJECT_LIMIT = 100
"""Referrers of one subject that follow it, the newest first."""


class Referrers:
    """What records offer that refers to something, by its subject."""

    def __init__(self) -> None:
        self._offers: dict[str, Offer] = {}
        self._subjects: dict[Digest, set[str]] = {}

    def note(self, doc_id: str, offer: Offer | None) -> None:
        """What a document says now; None: nothing that counts."""
        before = self._offers.pop(doc_id, None)
        if before is not None and before.subject is not None:
            self._subjects[before.subject].discard(doc_id)
            if not self._subjects[before.subject]:
                del self._subjects[before.subject]
        if offer is not None and offer.subject is not None:
            self._offers[doc_id] = offer
            self._subjects.setdefault(offer.subject, set()).add(doc_id)

    def clear(self) -> None:
        """Nothing is known."""
        self._offers.clear()
        self._subjects.clear()

    def following(
        self,
        chosen: Collection[Candidate],
        wanted: Iterable[Offer],
        packages: Iterable[StoredPackage],
        classes: Mapping[str, TransferClass],
    ) -> list[Candidate]:
        """What refers to packages that the policy has `chosen`, that are `wanted` otherwise, and that are
        here, there to any manifest of them. `classes`: of wants, by their names.
        """
        if not self._subjects:
            return []
        choices = {each.offer.collection: each.choice for each in chosen}
        subjects: dict[Digest, Choice] = {}

        def follow(digests: Sequence[Digest], collection: BlobHash, reference: str) -> None:
            for subject in self._subjects.keys() & set(digests):
                own = classes.get(str(collection)) or classes.get(reference) or TransferClass.NORMAL
                choice = choices.get(collection) or Choice(own, True, "")
                if choice.referrers:
                    subjects.setdefault(subject, choice)

        for candidate in sorted(chosen, key=lambda each: each.rank):
            follow([candidate.offer.root], candidate.offer.collection, "")
        for offer in wanted:
            follow([offer.root], offer.collection, offer.reference)
        for package in packages:
            follow(package.blobs, package.collection, package.reference or "")
        return self._of_all(subjects)

    def _of_all(self, subjects: Mapping[Digest, Choice]) -> list[Candidate]:
        """What refers to these, and what refers to that in turn."""
        found: dict[str, Candidate] = {}
        left = [(subject, _beside(choice)) for subject, choice in subjects.items()]
        while left:
            subject, choice = left.pop()
            for offer in self._of(subject):
                if offer.doc_id not in found:
                    found[offer.doc_id] = Candidate(offer, choice)
                    left.append((offer.root, choice))
        return list(found.values())

    def _of(self, subject: Digest) -> list[Offer]:
        offers = [self._offers[id] for id in self._subjects.get(subject, ())]
        small = [each for each in offers if each.bytes <= REFERRER_LIMIT_BYTES]
        return sorted(small, key=lambda each: (-each.clock, each.doc_id))[:SUBJECT_LIMIT]


def _beside(choice: Choice) -> Choice:
    """A place with a tag of its own is the subject's alone."""
    has_tag = ":" in choice.export_to.partition("/")[2]
    return replace(choice, export_to="") if has_tag else choice
