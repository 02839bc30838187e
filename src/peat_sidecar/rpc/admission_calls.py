"""Calls about who may take part: bans and the roster."""

import asyncio

from connectrpc.request import RequestContext

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh import parse_signed
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.mesh_messages import ban_message, roster_message
from peat_sidecar.rpc.parts import Parts

_REASON_LIMIT = 500


class AdmissionCalls:
    """A part of the service."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def ban_peer(
        self, request: pb.BanPeerRequest, ctx: RequestContext[pb.BanPeerRequest, pb.BanPeerResponse], /
    ) -> pb.BanPeerResponse:
        peer, trust = EndpointId.parse(request.endpoint_id), self._parts.trust
        if len(request.reason) > _REASON_LIMIT:
            raise ConfigError(f"a reason has at most {_REASON_LIMIT} characters; write a shorter one")
        self._parts.peers.ban(peer, request.reason)
        await asyncio.to_thread(self._parts.records.ban, peer)
        (ban,) = [each for each in self._parts.peers.bans() if each.endpoint_id == peer]
        return pb.BanPeerResponse(ban=ban_message(ban), is_final=trust.admin is not None, note=trust.ban_note)

    async def unban_peer(
        self, request: pb.UnbanPeerRequest, ctx: RequestContext[pb.UnbanPeerRequest, pb.UnbanPeerResponse], /
    ) -> pb.UnbanPeerResponse:
        peer = EndpointId.parse(request.endpoint_id)
        self._parts.peers.unban(peer)
        await asyncio.to_thread(self._parts.records.unban, peer)
        return pb.UnbanPeerResponse()

    async def list_bans(
        self, request: pb.ListBansRequest, ctx: RequestContext[pb.ListBansRequest, pb.ListBansResponse], /
    ) -> pb.ListBansResponse:
        trust = self._parts.trust
        return pb.ListBansResponse(
            bans=[ban_message(each) for each in self._parts.peers.bans()],
            is_final=trust.admin is not None,
            note=trust.ban_note,
        )

    async def get_roster(
        self, request: pb.GetRosterRequest, ctx: RequestContext[pb.GetRosterRequest, pb.GetRosterResponse], /
    ) -> pb.GetRosterResponse:
        trust = self._parts.trust
        return pb.GetRosterResponse(
            required=trust.admin is not None,
            admin=str(trust.admin or ""),
            roster=roster_message(trust.roster) if trust.roster is not None else None,
            last_refusal=trust.last_refusal,
        )

    async def load_roster(
        self,
        request: pb.LoadRosterRequest,
        ctx: RequestContext[pb.LoadRosterRequest, pb.LoadRosterResponse],
        /,
    ) -> pb.LoadRosterResponse:
        signed = parse_signed(request.signed_roster)
        roster = await asyncio.to_thread(self._parts.trust.load, signed)
        return pb.LoadRosterResponse(roster=roster_message(roster))
