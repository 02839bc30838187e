"""The peers of this node: who may connect, whom to dial, and how the connections to them are."""

from peat_sidecar.mesh.peers import PeerInfo, Peers

__all__ = ["PeerInfo", "Peers"]
