"""What the service stands on: made by the app, handed in as a whole."""

import time
from dataclasses import dataclass, field

from peat_sidecar.confined import Roots
from peat_sidecar.ids import PeerAddress
from peat_sidecar.mesh import Peers
from peat_sidecar.metrics import Metrics
from peat_sidecar.net import Endpoint
from peat_sidecar.oci import RegistryOptions
from peat_sidecar.rpc.generated.peat_sidecar_pb import NodePhase
from peat_sidecar.store import Store
from peat_sidecar.transfer import Exporter, Getter, Importer, Transfers


@dataclass(slots=True)
class Node:
    """This node as the API shows it."""

    endpoint: Endpoint
    version: str
    phase: NodePhase = NodePhase.INITIALIZING
    """The app moves it on."""
    started: float = field(default_factory=time.monotonic)

    @property
    def address(self) -> PeerAddress:
        """How peers name it."""
        return PeerAddress(self.endpoint.id, self.endpoint.addresses())


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything that a call may end in."""

    node: Node
    store: Store
    peers: Peers
    transfers: Transfers
    importer: Importer
    exporter: Exporter
    getter: Getter
    import_roots: Roots
    export_roots: Roots
    registries: RegistryOptions
    metrics: Metrics
