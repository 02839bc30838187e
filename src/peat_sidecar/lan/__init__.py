"""The local network: finds peers by mDNS and by names of DNS, with nobody to ask but the network itself.

It promises that nothing it hears can do harm: what is no announcement of a member is passed over, what is
kept is bounded, and whoever is found is only a place to dial, where the handshake decides. A network that is
not there, or carries no multicast, is said once and tried again; nothing here ever ends the daemon.
"""

from peat_sidecar.lan.discovery import LanDiscovery
from peat_sidecar.lan.names import DnsDiscovery

__all__ = ["DnsDiscovery", "LanDiscovery"]
