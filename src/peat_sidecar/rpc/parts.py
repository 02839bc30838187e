"""What the service stands on: made by the app, handed in as a whole."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from peat_sidecar.confined import Roots
from peat_sidecar.ids import PeerAddress
from peat_sidecar.mesh import (
    Collector,
    Peers,
    Pins,
    Providers,
    RegistryExports,
    Replicator,
    Syncer,
    Trust,
    Wants,
)
from peat_sidecar.metrics import Metrics
from peat_sidecar.net import Endpoint
from peat_sidecar.oci import RegistryOptions
from peat_sidecar.records import Records
from peat_sidecar.rpc.generated.peat_sidecar_pb import NodePhase
from peat_sidecar.state import State
from peat_sidecar.store import Store
from peat_sidecar.transfer import Exporter, Getter, Importer, Limiter, Transfers


class Watching(Protocol):
    """Whatever looks for packages."""

    @property
    def status(self) -> str:
        """How that goes, in a sentence."""
        ...


@dataclass(slots=True)
class Node:
    """This node as the API shows it."""

    endpoint: Endpoint
    version: str
    agent_id: str
    """What its documents begin with."""
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
    limiter: Limiter
    import_roots: Roots
    export_roots: Roots
    registries: RegistryOptions
    metrics: Metrics
    state: State
    records: Records
    syncer: Syncer
    trust: Trust
    providers: Providers
    wants: Wants
    replicator: Replicator
    pins: Pins
    collector: Collector
    exports: RegistryExports
    watchers: Mapping[str, Watching]
    """By what they watch, such as `agent http://127.0.0.1:9090`."""
    app_id: str
    """Of the formation; empty without a formation key."""

    @property
    def phase(self) -> NodePhase:
        """The node's, or that it is taking in records."""
        if self.node.phase is NodePhase.READY and self.exchanges_documents and self.syncer.is_syncing:
            return NodePhase.SYNCING
        return self.node.phase

    @property
    def exchanges_documents(self) -> bool:
        """Whether documents are exchanged with peers."""
        return bool(self.app_id) and self.syncer.active
