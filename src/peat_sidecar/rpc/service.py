"""The service: it translates requests, answers and errors, and holds no rules."""

from peat_sidecar.rpc.content_calls import ContentCalls
from peat_sidecar.rpc.node_calls import NodeCalls
from peat_sidecar.rpc.parts import Parts
from peat_sidecar.rpc.store_calls import StoreCalls
from peat_sidecar.rpc.transfer_calls import TransferCalls


class Service(NodeCalls, StoreCalls, ContentCalls, TransferCalls):
    """All calls of `proto/peat_sidecar.proto`."""

    def __init__(self, parts: Parts) -> None:
        for calls in (NodeCalls, StoreCalls, ContentCalls, TransferCalls):
            calls.__init__(self, parts)
