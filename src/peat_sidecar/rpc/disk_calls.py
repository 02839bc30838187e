"""Calls about the disk: pins, what takes it, what nothing needs, and whether all is what it was."""

import asyncio

from connectrpc.request import RequestContext

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import NotFound
from peat_sidecar.mesh import Garbage, fits
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.messages import ended_transfer_message, parse_package_name
from peat_sidecar.rpc.parts import Parts
from peat_sidecar.state import Pin
from peat_sidecar.transfer import Outcome, Progress, TransferKind, Verifier

_PATTERN = frozenset("*?[")


class DiskCalls:
    """A part of the service."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def set_pin(
        self, request: pb.SetPinRequest, ctx: RequestContext[pb.SetPinRequest, pb.SetPinResponse], /
    ) -> pb.SetPinResponse:
        pin = await asyncio.to_thread(self._parts.pins.set, _pinned(request.name))
        packages = await asyncio.to_thread(self._parts.store.packages)
        held = [each.name for each in packages if fits(pin.name, each)]
        return pb.SetPinResponse(pin=_message(pin), packages=held)

    async def remove_pin(
        self, request: pb.RemovePinRequest, ctx: RequestContext[pb.RemovePinRequest, pb.RemovePinResponse], /
    ) -> pb.RemovePinResponse:
        name = _pinned(request.name)
        if not await asyncio.to_thread(self._parts.pins.remove, name):
            raise NotFound(f"{name[:200]!r} is not pinned; list the pins to see what is")
        return pb.RemovePinResponse()

    async def list_pins(
        self, request: pb.ListPinsRequest, ctx: RequestContext[pb.ListPinsRequest, pb.ListPinsResponse], /
    ) -> pb.ListPinsResponse:
        pins = await asyncio.to_thread(self._parts.pins.list)
        return pb.ListPinsResponse(pins=[_message(each) for each in pins])

    async def get_store_usage(
        self,
        request: pb.GetStoreUsageRequest,
        ctx: RequestContext[pb.GetStoreUsageRequest, pb.GetStoreUsageResponse],
        /,
    ) -> pb.GetStoreUsageResponse:
        return await asyncio.to_thread(self._usage)

    async def collect_garbage(
        self,
        request: pb.CollectGarbageRequest,
        ctx: RequestContext[pb.CollectGarbageRequest, pb.CollectGarbageResponse],
        /,
    ) -> pb.CollectGarbageResponse:
        collector = self._parts.collector
        work = collector.garbage if request.dry_run else collector.collect
        found: Garbage = await asyncio.to_thread(work, 0.0 if request.all else None)
        return pb.CollectGarbageResponse(
            orphan_blobs=len(found.orphans),
            orphan_bytes=sum(each.size for each in found.orphans),
            partial_blobs=len(found.parts) + len(found.downloads),
            partial_bytes=sum(each.present for each in found.parts) + sum(found.downloads),
        )

    async def verify_store(
        self,
        request: pb.VerifyStoreRequest,
        ctx: RequestContext[pb.VerifyStoreRequest, pb.VerifyStoreResponse],
        /,
    ) -> pb.VerifyStoreResponse:
        verifier, store = Verifier(self._parts.store), self._parts.store

        async def work(progress: Progress) -> Outcome:
            await verifier.run(progress)
            broken = await asyncio.to_thread(verifier.broken_packages)
            if request.repair:
                for package in broken:
                    await asyncio.to_thread(
                        self._parts.wants.add,
                        str(package.collection),
                        TransferClass.HIGH,
                        reference=package.reference or "",
                    )
            if fault := verifier.fault(len(broken), repair=request.repair):
                raise fault
            return Outcome()

        transfer = self._parts.transfers.start(TransferKind.VERIFY, "the store", str(store.directory), work)
        message = await ended_transfer_message(transfer, self._parts.node.address, wait=request.wait)
        return pb.VerifyStoreResponse(transfer=message)

    def _usage(self) -> pb.GetStoreUsageResponse:
        parts, store = self._parts, self._parts.store
        replicas = {each.collection for each in parts.state.replicas()}
        found = sorted(store.package_usage(), key=lambda each: (-each.own_bytes, each.package.root.digest))
        orphans, usage = store.orphans(0), store.usage()
        sizes, cached = store.blob_sizes(), store.cached.all()
        named = {digest for each in found for digest in each.package.blobs}
        return pb.GetStoreUsageResponse(
            packages=[
                pb.PackageUsage(
                    reference=each.package.reference or "",
                    root=str(each.package.root.digest),
                    own_bytes=each.own_bytes,
                    shared_bytes=each.shared_bytes,
                    pinned=parts.pins.holds(each.package),
                    replica=each.package.collection in replicas or each.package.root.digest in cached,
                    last_used_at=store.uses.at(each.package.root.digest),
                )
                for each in found
            ],
            package_bytes=sum(sizes.get(str(digest), 0) for digest in named),
            kept_bytes=store.kept_bytes(),
            orphan_blobs=len(orphans),
            orphan_bytes=sum(each.size for each in orphans),
            partial_blobs=usage.partial_blobs,
            partial_bytes=usage.partial_bytes,
            free_bytes=usage.free_bytes,
            quota_bytes=parts.replicator.quota_bytes,
        )


def _pinned(name: str) -> str:
    """A pattern as it is; else as packages are listed."""
    text = name.strip()
    return text if not _PATTERN.isdisjoint(text) else str(parse_package_name(text))


def _message(pin: Pin) -> pb.Pin:
    return pb.Pin(name=pin.name, created_at=pin.created_at)
