"""Calls about transfers that there are."""

from collections.abc import AsyncIterator

from connectrpc.request import RequestContext

from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.messages import transfer_message
from peat_sidecar.rpc.parts import Parts
from peat_sidecar.rpc.transfer_watches import TransferWatches


class TransferCalls:
    """A part of the service."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._watches = TransferWatches(parts)

    async def list_transfers(
        self,
        request: pb.ListTransfersRequest,
        ctx: RequestContext[pb.ListTransfersRequest, pb.ListTransfersResponse],
        /,
    ) -> pb.ListTransfersResponse:
        address = self._parts.node.address
        return pb.ListTransfersResponse(
            transfers=[transfer_message(each, address) for each in self._parts.transfers.all()]
        )

    async def watch_transfer(
        self,
        request: pb.WatchTransferRequest,
        ctx: RequestContext[pb.WatchTransferRequest, pb.WatchTransferResponse],
        /,
    ) -> AsyncIterator[pb.WatchTransferResponse]:
        address = self._parts.node.address
        async for transfer in self._parts.transfers.watch(request.id):
            message = transfer_message(transfer, address)
            yield pb.WatchTransferResponse(transfer=message)

    async def watch_transfers(
        self,
        request: pb.WatchTransfersRequest,
        ctx: RequestContext[pb.WatchTransfersRequest, pb.WatchTransfersResponse],
        /,
    ) -> AsyncIterator[pb.WatchTransfersResponse]:
        async for snapshot in self._watches.snapshots():
            yield snapshot

    def close_watches(self) -> None:
        """Ends them, so that they do not keep the daemon from stopping."""
        self._watches.close()

    async def cancel_transfer(
        self,
        request: pb.CancelTransferRequest,
        ctx: RequestContext[pb.CancelTransferRequest, pb.CancelTransferResponse],
        /,
    ) -> pb.CancelTransferResponse:
        transfer = self._parts.transfers.cancel(request.id)
        await transfer.wait()
        return pb.CancelTransferResponse(transfer=transfer_message(transfer, self._parts.node.address))
