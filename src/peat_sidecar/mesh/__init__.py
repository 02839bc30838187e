"""The peers of this node: who may connect, whom to dial, and how the connections to them are."""

from peat_sidecar.mesh.formation import Formation
from peat_sidecar.mesh.half_open import Handshakes
from peat_sidecar.mesh.peers import PeerInfo, Peers
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
from peat_sidecar.mesh.trust import BAN_WITH_ROSTER, BAN_WITHOUT_ROSTER, Trust

__all__ = [
    "BAN_WITHOUT_ROSTER",
    "BAN_WITH_ROSTER",
    "Draft",
    "Entry",
    "Formation",
    "Handshakes",
    "PeerInfo",
    "Peers",
    "Role",
    "Roster",
    "Trust",
    "encode_signed",
    "init_draft",
    "parse_entry",
    "parse_signed",
    "read_draft",
    "read_roster",
    "sign_draft",
    "signed_state",
    "write_draft",
]
