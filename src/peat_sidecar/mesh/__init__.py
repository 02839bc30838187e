"""The peers of this node: who may connect, whom to dial, and how the connections to them are."""

from peat_sidecar.mesh.formation import Formation
from peat_sidecar.mesh.half_open import Handshakes
from peat_sidecar.mesh.peers import PeerInfo, Peers

__all__ = ["Formation", "Handshakes", "PeerInfo", "Peers"]
