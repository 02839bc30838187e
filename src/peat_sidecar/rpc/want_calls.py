"""Calls about what this node wants, and what getting it would take."""

import asyncio
import re

from connectrpc.request import RequestContext

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import ConfigError, NotFound
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.mesh_messages import parse_class, quote_message, want_message
from peat_sidecar.rpc.messages import parse_package_name
from peat_sidecar.rpc.parts import Parts

_is_arch = re.compile(r"(?=.{1,64}\Z)[\w.-]+(/[\w.-]+)*", re.ASCII).fullmatch


class WantCalls:
    """A part of the service."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def add_want(
        self, request: pb.AddWantRequest, ctx: RequestContext[pb.AddWantRequest, pb.AddWantResponse], /
    ) -> pb.AddWantResponse:
        name = str(parse_package_name(request.name))
        if request.arch and not _is_arch(request.arch):
            raise ConfigError(
                f"{request.arch[:80]!r} is no architecture; one looks like amd64, or linux/arm64/v8"
            )
        transfer_class = parse_class(request.transfer_class) or TransferClass.NORMAL
        want = await asyncio.to_thread(
            self._parts.wants.add,
            name,
            transfer_class,
            arch=request.arch,
            export_to=request.export_to,
            approved=request.approved,
            deadline_seconds=request.deadline_seconds,
        )
        return pb.AddWantResponse(want=want_message(want))

    async def list_wants(
        self, request: pb.ListWantsRequest, ctx: RequestContext[pb.ListWantsRequest, pb.ListWantsResponse], /
    ) -> pb.ListWantsResponse:
        wants = await asyncio.to_thread(self._parts.wants.list)
        return pb.ListWantsResponse(wants=[want_message(each) for each in wants])

    async def cancel_want(
        self,
        request: pb.CancelWantRequest,
        ctx: RequestContext[pb.CancelWantRequest, pb.CancelWantResponse],
        /,
    ) -> pb.CancelWantResponse:
        want = await asyncio.to_thread(self._parts.wants.cancel, request.id)
        return pb.CancelWantResponse(want=want_message(want))

    async def approve_want(
        self,
        request: pb.ApproveWantRequest,
        ctx: RequestContext[pb.ApproveWantRequest, pb.ApproveWantResponse],
        /,
    ) -> pb.ApproveWantResponse:
        want = await asyncio.to_thread(self._parts.wants.approve, request.id)
        return pb.ApproveWantResponse(want=want_message(want))

    async def set_want_class(
        self,
        request: pb.SetWantClassRequest,
        ctx: RequestContext[pb.SetWantClassRequest, pb.SetWantClassResponse],
        /,
    ) -> pb.SetWantClassResponse:
        transfer_class = parse_class(request.transfer_class)
        if transfer_class is None:
            raise ConfigError("no class is named; set transfer_class to CRITICAL, HIGH, NORMAL, LOW or BULK")
        want = await asyncio.to_thread(self._parts.wants.set_class, request.id, transfer_class)
        return pb.SetWantClassResponse(want=want_message(want))

    async def quote(
        self, request: pb.QuoteRequest, ctx: RequestContext[pb.QuoteRequest, pb.QuoteResponse], /
    ) -> pb.QuoteResponse:
        name = str(parse_package_name(request.name))
        rates = self._parts.limiter.shaper.rates
        limit = rates.of_fetch(TransferClass.NORMAL)
        quote = await asyncio.to_thread(self._parts.wants.quote, name, limit)
        if quote.root is None:
            raise NotFound(
                f"nobody whose record counts here offers {name[:200]!r}; want it, and it is waited for"
            )
        return quote_message(quote)
