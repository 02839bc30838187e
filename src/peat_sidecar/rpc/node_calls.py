"""Calls about this node and its peers."""

import asyncio
import time

from connectrpc.request import RequestContext

from peat_sidecar.errors import Refused
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.messages import peer_info, store_status
from peat_sidecar.rpc.parts import Parts


class NodeCalls:
    """A part of the service."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def get_status(
        self, request: pb.GetStatusRequest, ctx: RequestContext[pb.GetStatusRequest, pb.GetStatusResponse], /
    ) -> pb.GetStatusResponse:
        parts, node = self._parts, self._parts.node
        usage = await asyncio.to_thread(parts.store.usage)
        return pb.GetStatusResponse(
            node_id=str(node.endpoint.id),
            endpoint_addr=str(node.address),
            connected_peers=parts.peers.connected,
            phase=node.phase,
            version=node.version,
            store=store_status(str(parts.store.directory.parent), usage),
            running_transfers=len(parts.transfers.running()),
            import_roots=list(parts.import_roots.paths),
            export_roots=list(parts.export_roots.paths),
            uptime_seconds=time.monotonic() - node.started,
        )

    async def connect_peer(
        self,
        request: pb.ConnectPeerRequest,
        ctx: RequestContext[pb.ConnectPeerRequest, pb.ConnectPeerResponse],
        /,
    ) -> pb.ConnectPeerResponse:
        if request.relay_url:
            raise Refused("relays are not used; name addresses of the peer and leave relay_url empty")
        peer = EndpointId.parse(request.endpoint_id)
        text = f"{peer}@{','.join(request.addresses)}" if request.addresses else str(peer)
        info = await self._parts.peers.connect(PeerAddress.parse(text))
        return pb.ConnectPeerResponse(peer=peer_info(info))

    async def disconnect_peer(
        self,
        request: pb.DisconnectPeerRequest,
        ctx: RequestContext[pb.DisconnectPeerRequest, pb.DisconnectPeerResponse],
        /,
    ) -> pb.DisconnectPeerResponse:
        self._parts.peers.disconnect(EndpointId.parse(request.endpoint_id))
        return pb.DisconnectPeerResponse()

    async def list_peers(
        self, request: pb.ListPeersRequest, ctx: RequestContext[pb.ListPeersRequest, pb.ListPeersResponse], /
    ) -> pb.ListPeersResponse:
        return pb.ListPeersResponse(peers=[peer_info(peer) for peer in self._parts.peers.list()])
