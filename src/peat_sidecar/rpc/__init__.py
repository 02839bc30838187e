"""The face of the daemon: Connect, gRPC and gRPC-Web on unix sockets and TCP, health and metrics.

It translates requests, answers, errors and progress, decides who may call, bounds what a call may cost, and
holds no other rules.
"""

from peat_sidecar.rpc.application import Application
from peat_sidecar.rpc.generated.peat_sidecar_pb import NodePhase
from peat_sidecar.rpc.listeners import open_listeners
from peat_sidecar.rpc.parts import Node, Parts

__all__ = ["Application", "Node", "NodePhase", "Parts", "open_listeners"]
