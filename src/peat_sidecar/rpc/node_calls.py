"""Calls about this node and its peers."""

import asyncio
import time
from collections import Counter

from connectrpc.request import RequestContext

from peat_sidecar.errors import Refused
from peat_sidecar.ids import EndpointId, PeerAddress
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.mesh_messages import export_message, fault_message, records_message
from peat_sidecar.rpc.messages import peer_info, store_status
from peat_sidecar.rpc.parts import Parts
from peat_sidecar.wire import parse_peer

_EXPORTS_SHOWN = 100


class NodeCalls:
    """A part of the service."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def get_status(
        self, request: pb.GetStatusRequest, ctx: RequestContext[pb.GetStatusRequest, pb.GetStatusResponse], /
    ) -> pb.GetStatusResponse:
        parts, node = self._parts, self._parts.node
        usage = await asyncio.to_thread(parts.store.usage)
        records, faults = await asyncio.to_thread(lambda: (parts.records.status(), parts.records.faults()))
        wants = await asyncio.to_thread(self._wants)
        exports = await asyncio.to_thread(parts.exports.pending)
        return pb.GetStatusResponse(
            node_id=str(node.endpoint.id),
            endpoint_addr=str(node.address),
            sync_active=parts.exchanges_documents,
            connected_peers=parts.peers.connected,
            phase=parts.phase,
            version=node.version,
            store=store_status(str(parts.store.directory.parent), usage),
            running_transfers=len(parts.transfers.running()),
            import_roots=list(parts.import_roots.paths),
            export_roots=list(parts.export_roots.paths),
            uptime_seconds=time.monotonic() - node.started,
            agent_id=node.agent_id,
            formation=self._formation(),
            records=records_message(records),
            faults=[fault_message(each) for each in faults],
            watchers=[
                pb.WatcherStatus(name=name, status=each.status) for name, each in parts.watchers.items()
            ],
            wants=wants,
            exports=[export_message(each) for each in exports[:_EXPORTS_SHOWN]],
        )

    async def connect_peer(
        self,
        request: pb.ConnectPeerRequest,
        ctx: RequestContext[pb.ConnectPeerRequest, pb.ConnectPeerResponse],
        /,
    ) -> pb.ConnectPeerResponse:
        if request.relay_url:
            raise Refused("relays are not used; name addresses of the peer and leave relay_url empty")
        if request.addresses:
            id = EndpointId.parse(request.endpoint_id)
            peer = PeerAddress.parse(f"{id}@{','.join(request.addresses)}")
        else:
            peer = parse_peer(request.endpoint_id)
        info = await self._parts.peers.connect(peer)
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

    def _formation(self) -> pb.FormationStatus:
        parts = self._parts
        return pb.FormationStatus(
            active=bool(parts.app_id),
            app_id=parts.app_id,
            sessions=parts.syncer.sessions,
            refused_handshakes=parts.peers.refused_handshakes,
            has_roster=parts.trust.admin is not None,
            waits_for_roster=parts.trust.waits_for_roster,
        )

    def _wants(self) -> pb.WantsStatus:
        counts = Counter(want.state for want in self._parts.wants.list())
        return pb.WantsStatus(
            waiting=counts["waiting"],
            fetching=counts["fetching"],
            failed=counts["failed"],
            done=counts["done"],
            policy=self._parts.replicator.status,
        )
