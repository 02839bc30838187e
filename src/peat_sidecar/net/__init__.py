"""The network: endpoints, connections and streams over Iroh, and a twin in memory for tests.

The only place that imports `iroh`. It promises that every wait ends, that the failures of a stream are told
apart (ended, reset, stopped, stalled), and that only admitted peers get as far as a stream. What the bytes
mean is for others.
"""

from peat_sidecar.net.changes import watch_network
from peat_sidecar.net.endpoint import IrohConnection, IrohEndpoint
from peat_sidecar.net.failures import (
    ConnectionClosed,
    NotSpoken,
    StreamEnded,
    StreamReset,
    StreamStalled,
    StreamStopped,
)
from peat_sidecar.net.identity import endpoint_id, load_identity
from peat_sidecar.net.interfaces import DATAGRAM_BYTES, Connection, ConnectionStats, Endpoint, Stream
from peat_sidecar.net.memory import MemoryConnection, MemoryEndpoint, MemoryNetwork
from peat_sidecar.net.pool import Pool
from peat_sidecar.net.returns import Returns
from peat_sidecar.net.routes import interface_towards, remote_ip
from peat_sidecar.net.watchdog import Watchdog

__all__ = [
    "DATAGRAM_BYTES",
    "Connection",
    "ConnectionClosed",
    "ConnectionStats",
    "Endpoint",
    "IrohConnection",
    "IrohEndpoint",
    "MemoryConnection",
    "MemoryEndpoint",
    "MemoryNetwork",
    "NotSpoken",
    "Pool",
    "Returns",
    "Stream",
    "StreamEnded",
    "StreamReset",
    "StreamStalled",
    "StreamStopped",
    "Watchdog",
    "endpoint_id",
    "interface_towards",
    "load_identity",
    "remote_ip",
    "watch_network",
]
