"""What the records offer that is to come here: packages that a rule fits, and what refers to something.
An index, kept up change by change.
"""

from collections.abc import Iterable, Mapping

from peat_sidecar.classes import TransferClass
from peat_sidecar.mesh.arrivals import JudgesTags
from peat_sidecar.mesh.offers import Decides, Offer, offer_of
from peat_sidecar.mesh.policy import Choice, Policy
from peat_sidecar.mesh.ranking import Candidate
from peat_sidecar.mesh.referrers import Referrers
from peat_sidecar.records import Document
from peat_sidecar.store import StoredPackage


class Offered:
    """For one thread."""

    def __init__(self, policy: Policy, trust: Decides, tags: JudgesTags) -> None:
        self._policy = policy
        self._trust = trust
        self._tags = tags
        self._fitting: dict[str, Candidate] = {}
        """What a rule fits, by document id."""
        self._referrers = Referrers()

    def clear(self) -> None:
        """All is noted anew."""
        self._fitting.clear()
        self._referrers.clear()

    def note(self, doc_id: str, document: Document | None) -> None:
        """Replicas are left out: what they are replicas of decides."""
        self._fitting.pop(doc_id, None)
        offer = offer_of(document) if document is not None else None
        if document is None or offer is None or not self._counts(offer, document):
            self._referrers.note(doc_id, None)
            return
        self._referrers.note(doc_id, offer)
        choice = self._choose(offer)
        if choice is not None:
            self._fitting[doc_id] = Candidate(offer, choice, self._tags.is_immutable(offer.listed_as))

    def candidates(
        self,
        wanted: Iterable[Offer],
        packages: Iterable[StoredPackage],
        classes: Mapping[str, TransferClass],
    ) -> list[Candidate]:
        """What a rule fits, and what refers to that, to what is `wanted` otherwise and to what is here;
        `classes`: of wants, by their names.
        """
        fitting = list(self._fitting.values())
        return fitting + self._referrers.following(fitting, wanted, packages, classes)

    def _counts(self, offer: Offer, document: Document) -> bool:
        return not offer.origin and self._trust.decides(document) and self._tags.admits(offer)

    def _choose(self, offer: Offer) -> Choice | None:
        """As the policy has it for either of its names."""
        names, is_referrer = dict.fromkeys((offer.reference, offer.listed_as)), offer.subject is not None
        choices = (self._policy.choose(name, offer.arch, is_referrer=is_referrer) for name in names)
        return next((each for each in choices if each is not None), None)
