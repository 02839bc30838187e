"""The mesh: who belongs to it, what nodes tell each other, and what this one fetches because of it.

Peers and the formation say who may connect; the syncer keeps records the same; watchers and the announcer say
what is here; the replicator and wants fetch what is to be here, and exports write it to registries.
"""

from peat_sidecar.mesh.announcer import Announcer
from peat_sidecar.mesh.arrivals import Arrivals
from peat_sidecar.mesh.collector import Collector, Garbage
from peat_sidecar.mesh.formation import Formation
from peat_sidecar.mesh.half_open import Handshakes
from peat_sidecar.mesh.known_documents import KnownDocuments
from peat_sidecar.mesh.known_packages import KnownPackages
from peat_sidecar.mesh.name_maps import NameMaps
from peat_sidecar.mesh.offers import Offers
from peat_sidecar.mesh.on_demand import OnDemand
from peat_sidecar.mesh.peer_info import PeerInfo
from peat_sidecar.mesh.peers import Peers
from peat_sidecar.mesh.pins import Pins, fits
from peat_sidecar.mesh.policy import Platforms, Policy
from peat_sidecar.mesh.providers import Providers
from peat_sidecar.mesh.quota import Quota
from peat_sidecar.mesh.registry_exports import RegistryExports
from peat_sidecar.mesh.replicator import Replicator
from peat_sidecar.mesh.roster import Entry, Role, Roster, encode_signed, parse_entry, parse_signed
from peat_sidecar.mesh.roster_draft import (
    Draft,
    init_draft,
    read_draft,
    read_roster,
    sign_draft,
    signed_state,
    write_draft,
)
from peat_sidecar.mesh.sync import Syncer
from peat_sidecar.mesh.tag_disputes import TagDisputes
from peat_sidecar.mesh.tag_policies import TagPolicies
from peat_sidecar.mesh.tag_rules import TagRules
from peat_sidecar.mesh.tags import Tagged, Tags
from peat_sidecar.mesh.trust import BAN_WITH_ROSTER, BAN_WITHOUT_ROSTER, Trust
from peat_sidecar.mesh.upkeep import Upkeep
from peat_sidecar.mesh.want import Quote, Want
from peat_sidecar.mesh.wants import Wants
from peat_sidecar.mesh.watching_agent import AgentWatcher
from peat_sidecar.mesh.watching_layouts import LayoutWatcher
from peat_sidecar.mesh.watching_registry import RegistryPattern, RegistryWatcher
from peat_sidecar.mesh.whereabouts import Whereabouts

__all__ = [
    "BAN_WITHOUT_ROSTER",
    "BAN_WITH_ROSTER",
    "AgentWatcher",
    "Announcer",
    "Arrivals",
    "Collector",
    "Draft",
    "Entry",
    "Formation",
    "Garbage",
    "Handshakes",
    "KnownDocuments",
    "KnownPackages",
    "LayoutWatcher",
    "NameMaps",
    "Offers",
    "OnDemand",
    "PeerInfo",
    "Peers",
    "Pins",
    "Platforms",
    "Policy",
    "Providers",
    "Quota",
    "Quote",
    "RegistryExports",
    "RegistryPattern",
    "RegistryWatcher",
    "Replicator",
    "Role",
    "Roster",
    "Syncer",
    "TagDisputes",
    "TagPolicies",
    "TagRules",
    "Tagged",
    "Tags",
    "Trust",
    "Upkeep",
    "Want",
    "Wants",
    "Whereabouts",
    "encode_signed",
    "fits",
    "init_draft",
    "parse_entry",
    "parse_signed",
    "read_draft",
    "read_roster",
    "sign_draft",
    "signed_state",
    "write_draft",
]
