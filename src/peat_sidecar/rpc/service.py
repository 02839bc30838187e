"""The service: it translates requests, answers and errors, and holds no rules."""

from peat_sidecar.rpc.generated.peat_sidecar_connect import PeatSidecar
from peat_sidecar.rpc.node_calls import NodeCalls
from peat_sidecar.rpc.store_calls import StoreCalls
from peat_sidecar.rpc.transfer_calls import TransferCalls


class Service(NodeCalls, StoreCalls, TransferCalls, PeatSidecar):
    """All calls of `proto/peat_sidecar.proto`."""
