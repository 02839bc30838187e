"""Tags as the signed records have them: what each stands for, who says so, and since when. Blocks.

A record from the future is not among them: it is set aside on arrival, until its time has come.
"""

from dataclasses import dataclass

from peat_sidecar.ids import Digest, EndpointId
from peat_sidecar.mesh.known_packages import KnownPackages
from peat_sidecar.mesh.offers import Offer, Offers
from peat_sidecar.mesh.tag_rules import TagRules


@dataclass(frozen=True, slots=True)
class Tagged:
    """What a tag stands for, by one record."""

    reference: str
    offer: Offer
    signer: EndpointId
    at: float
    """Unix seconds; when the record was written."""


class Tags:
    """Thread-safe."""

    def __init__(self, offers: Offers, known: KnownPackages, rules: TagRules) -> None:
        self._offers = offers
        self._known = known
        self._rules = rules

    def resolve(self, reference: str) -> Tagged | None:
        """By the policy of the tag; None where no record that counts has it."""
        offer = self._offers.resolve(reference)
        return self._tagged(reference, offer) if offer is not None else None

    def told(self, reference: str, root: Digest) -> Tagged | None:
        """Who says that a tag stands for that: a package's owner before those who have a replica, and of
        these the first.
        """
        offers = [each for each in self._offers.named(reference) if each.root == root]
        best = min(offers, key=lambda each: (bool(each.origin), each.clock, each.doc_id), default=None)
        return self._tagged(reference, best) if best is not None else None

    def is_immutable(self, reference: str) -> bool:
        """Whether a tag stays at what it stands for."""
        return self._rules.is_immutable(reference)

    def references(self, prefix: str) -> list[str]:
        """All with a tag that others have and that begin so, sorted."""
        known = self._known.repositories()
        names = {
            offer.listed_as
            for repository in known
            if repository.startswith(prefix) or prefix.startswith(repository)
            for offer in self._known.all_of(repository)
            if "@" not in offer.listed_as and self._rules.admits(offer)
        }
        return sorted(name for name in names if name.startswith(prefix))

    def referrers(self, repository: str, subject: Digest) -> list[Digest]:
        """Roots of what others have in a repository that refers to that."""
        return [each.root for each in self._known.of(repository) if each.subject == subject]

    def _tagged(self, reference: str, offer: Offer) -> Tagged | None:
        signer = self._rules.signer(offer)
        return Tagged(reference, offer, signer, (offer.clock >> 16) / 1000) if signer is not None else None
