"""The service: it translates requests, answers and errors, and holds no rules."""

from peat_sidecar.rpc.admission_calls import AdmissionCalls
from peat_sidecar.rpc.content_calls import ContentCalls
from peat_sidecar.rpc.disk_calls import DiskCalls
from peat_sidecar.rpc.document_calls import DocumentCalls
from peat_sidecar.rpc.limit_calls import LimitCalls
from peat_sidecar.rpc.mesh_package_calls import MeshPackageCalls
from peat_sidecar.rpc.node_calls import NodeCalls
from peat_sidecar.rpc.parts import Parts
from peat_sidecar.rpc.store_calls import StoreCalls
from peat_sidecar.rpc.transfer_calls import TransferCalls
from peat_sidecar.rpc.want_calls import WantCalls

_CALLS = (
    NodeCalls,
    AdmissionCalls,
    DocumentCalls,
    MeshPackageCalls,
    WantCalls,
    StoreCalls,
    DiskCalls,
    ContentCalls,
    TransferCalls,
    LimitCalls,
)


class Service(
    NodeCalls,
    AdmissionCalls,
    DocumentCalls,
    MeshPackageCalls,
    WantCalls,
    StoreCalls,
    DiskCalls,
    ContentCalls,
    TransferCalls,
    LimitCalls,
):
    """All calls of `proto/peat_sidecar.proto`."""

    def __init__(self, parts: Parts) -> None:
        for calls in _CALLS:
            calls.__init__(self, parts)

    def close(self) -> None:
        """Ends what would go on without end."""
        self.close_subscriptions()
        self.close_watches()
