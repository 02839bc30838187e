"""Calls about what is in the store."""

import asyncio
from collections.abc import Sequence

from connectrpc.request import RequestContext

from peat_sidecar.errors import ConfigError, NotFound
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.messages import (
    blob_status,
    package_info,
    parse_blob_name,
    parse_package_name,
)
from peat_sidecar.rpc.parts import Parts
from peat_sidecar.rpc.source_messages import source_messages
from peat_sidecar.store import BlobInfo, StoredPackage
from peat_sidecar.transfer import TransferKind, TransferState, remove_package

_PAGE_DEFAULT = 100
_PAGE_LIMIT = 1000


class StoreCalls:
    """A part of the service."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def get_blob_status(
        self,
        request: pb.GetBlobStatusRequest,
        ctx: RequestContext[pb.GetBlobStatusRequest, pb.GetBlobStatusResponse],
        /,
    ) -> pb.GetBlobStatusResponse:
        name = parse_blob_name(request.name)
        info = await asyncio.to_thread(self._parts.store.find, name)
        if info is not None:
            status = self._status(info)
            if not info.complete:
                status.present_ranges = await asyncio.to_thread(self._present_ranges, info.hash)
            return pb.GetBlobStatusResponse(blob=status)
        status = pb.BlobStatus(state=pb.BlobState.ABSENT)
        if isinstance(name, Digest):
            status.digest = str(name)
        else:
            status.hash = str(name)
            self._add_fetch(status, name)
            if status.providers:
                status.state = pb.BlobState.WANTED
        return pb.GetBlobStatusResponse(blob=status)

    async def list_blobs(
        self, request: pb.ListBlobsRequest, ctx: RequestContext[pb.ListBlobsRequest, pb.ListBlobsResponse], /
    ) -> pb.ListBlobsResponse:
        limit = request.page_size or _PAGE_DEFAULT
        if limit > _PAGE_LIMIT:
            raise ConfigError(f"page_size is {limit}, and at most {_PAGE_LIMIT}; ask for several pages")
        found = await asyncio.to_thread(self._page, request, limit + 1)
        shown, more = found[:limit], len(found) > limit
        return pb.ListBlobsResponse(
            blobs=[self._status(each) for each in shown],
            next_page_token=str(shown[-1].hash) if more else "",
        )

    async def delete_blob(
        self,
        request: pb.DeleteBlobRequest,
        ctx: RequestContext[pb.DeleteBlobRequest, pb.DeleteBlobResponse],
        /,
    ) -> pb.DeleteBlobResponse:
        await asyncio.to_thread(self._delete, parse_blob_name(request.name))
        return pb.DeleteBlobResponse()

    async def list_packages(
        self,
        request: pb.ListPackagesRequest,
        ctx: RequestContext[pb.ListPackagesRequest, pb.ListPackagesResponse],
        /,
    ) -> pb.ListPackagesResponse:
        return pb.ListPackagesResponse(
            packages=self._infos(await asyncio.to_thread(self._parts.store.packages))
        )

    async def remove_package(
        self,
        request: pb.RemovePackageRequest,
        ctx: RequestContext[pb.RemovePackageRequest, pb.RemovePackageResponse],
        /,
    ) -> pb.RemovePackageResponse:
        removed = await asyncio.to_thread(remove_package, self._parts.store, parse_package_name(request.name))
        return pb.RemovePackageResponse(
            removed=self._infos(removed.packages),
            deleted_blobs=removed.deleted_blobs,
            deleted_bytes=removed.deleted_bytes,
        )

    def _page(self, request: pb.ListBlobsRequest, limit: int) -> list[BlobInfo]:
        complete = {pb.BlobState.PARTIAL: False, pb.BlobState.COMPLETE: True}.get(request.state)
        package: Digest | None = None
        if request.package:
            stored = self._parts.store.package(parse_package_name(request.package))
            if stored is None:
                raise NotFound(f"package {request.package[:200]!r} is not in the store")
            package = stored.root.digest
        return self._parts.store.blobs(
            after=request.page_token,
            limit=limit,
            complete=complete,
            media_type=request.media_type or None,
            package=package,
        )

    def _delete(self, name: BlobHash | Digest) -> None:
        info = self._parts.store.find(name)
        if info is None:
            raise NotFound(f"blob {name} is not in the store")
        self._parts.store.delete(info.hash)

    def _infos(self, packages: Sequence[StoredPackage]) -> list[pb.PackageInfo]:
        address = self._parts.node.address
        return [package_info(each, address) for each in packages]

    def _status(self, blob: BlobInfo) -> pb.BlobStatus:
        status = blob_status(blob)
        if not blob.complete:
            self._add_fetch(status, blob.hash)
        return status

    def _present_ranges(self, hash: BlobHash) -> int:
        """Blocks."""
        try:
            with self._parts.store.reader(hash) as reader:
                return sum(1 for _ in reader.have.intervals())
        except NotFound:
            return 0  # it was removed meanwhile

    def _add_fetch(self, status: pb.BlobStatus, hash: BlobHash) -> None:
        """From whom the rest of a blob comes and how fast, or why the last fetch of it failed."""
        fetches = [each for each in self._parts.transfers.all() if each.kind is TransferKind.FETCH]
        running = [each for each in fetches if each.state is TransferState.RUNNING]
        own = [each for each in fetches if each.subject == str(hash)]
        providers = self._parts.getter.providers_of(hash)
        asked = [str(each) for each in providers] or [each.other_side for each in own if each in running]
        if not asked:
            status.last_error = next((str(each.error) for each in own if each.error), "")
            return
        status.providers = asked
        progress = self._parts.getter.progress_of(hash)
        bringing = [each for each in running if each.progress is progress]
        if bringing:
            status.transfer_id = bringing[0].id
            status.sources = source_messages(bringing[0].progress)
        status.bytes_per_second = sum(each.bytes_per_second for each in bringing)
        if status.bytes_per_second and status.size:
            status.eta_seconds = (status.size - status.present_bytes) / status.bytes_per_second
