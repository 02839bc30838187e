"""The registry endpoint: OCI Distribution 1.1 over the local store.

It translates requests, answers and errors. What it lists are packages of this node, and what is pushed
becomes one; it remembers nothing beside.
"""

from peat_sidecar.registry.counting import count_requests
from peat_sidecar.registry.listeners import open_registry
from peat_sidecar.registry.mirroring import Mirroring
from peat_sidecar.registry.upkeep import drop_abandoned

__all__ = ["Mirroring", "count_requests", "drop_abandoned", "open_registry"]
