"""The tag policies of a node, applied to what records offer. Thread-safe; blocks."""

from typing import Protocol

from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh.offers import Offer
from peat_sidecar.mesh.tag_policies import TagPolicies


class KnowsOwners(Protocol):
    """The part of the records that is needed here."""

    def owner_of(self, agent_id: str) -> EndpointId | None:
        """Whose that agent id is."""
        ...


class TagRules:
    """One for the program."""

    def __init__(self, policies: TagPolicies, records: KnowsOwners) -> None:
        self._policies = policies
        self._records = records

    def is_immutable(self, reference: str) -> bool:
        """Whether the tag stays at what it stands for."""
        return self._policies.of(reference).is_immutable

    def signer(self, offer: Offer) -> EndpointId | None:
        """Whose word it is."""
        return self._records.owner_of(offer.agent_id)

    def admits(self, offer: Offer) -> bool:
        """Whether its signer may say what its tag stands for."""
        policy, signer = self._policies.of(offer.listed_as), self.signer(offer)
        return policy.admits([signer] if signer is not None else [])
