"""Calls that begin a transfer: import, fetch, export.

What can be refused at once is; the rest is the transfer's, which goes on when the caller leaves.
"""

import asyncio
from collections.abc import Iterable
from functools import partial

from connectrpc.request import RequestContext

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import LOCAL_REGISTRY, BlobHash, Digest, PeerAddress, Reference
from peat_sidecar.oci import Source, Target
from peat_sidecar.packages import Platform
from peat_sidecar.rpc.arrivals import Arrivals
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.mesh_messages import parse_class
from peat_sidecar.rpc.messages import (
    ended_transfer_message,
    parse_blob_name,
    parse_digest,
    parse_list_as,
    parse_package_name,
)
from peat_sidecar.rpc.parts import Parts
from peat_sidecar.rpc.places import list_packages, open_file, open_parent, open_source, open_target
from peat_sidecar.store import StoredPackage
from peat_sidecar.transfer import Outcome, Progress, Transfer, TransferKind, Work, import_all
from peat_sidecar.wire import Ticket


class ContentCalls:
    """A part of the service."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._arrivals = Arrivals(parts.store, parts.transfers)

    async def import_blob(
        self,
        request: pb.ImportBlobRequest,
        ctx: RequestContext[pb.ImportBlobRequest, pb.ImportBlobResponse],
        /,
    ) -> pb.ImportBlobResponse:
        if request.source is None:
            raise ConfigError(
                "nothing is named to import;"
                " set file, layout, archive, reference, registry_storage or containerd"
            )
        place, name = request.source.field, request.source.value
        if place == "file":
            transfer = await self._import_file(request, name)
        elif request.all:
            transfer = await self._import_all(request, place, name)
        else:
            transfer = await self._import_package(request, place, name)
        return pb.ImportBlobResponse(transfer=await self._answer(transfer, wait=request.wait))

    async def fetch_blob(
        self, request: pb.FetchBlobRequest, ctx: RequestContext[pb.FetchBlobRequest, pb.FetchBlobResponse], /
    ) -> pb.FetchBlobResponse:
        wanted, is_package, peer = self._fetched(request)
        expected, list_as = parse_digest(request.expected_digest), parse_list_as(request.list_as)
        if list_as and not is_package:
            raise ConfigError("list_as is for packages; a single blob is not listed under a reference")
        transfer_class = parse_class(request.transfer_class) or TransferClass.HIGH
        getter = self._parts.getter

        async def fetch(progress: Progress) -> Outcome:
            progress.transfer_class = transfer_class
            if not request.approved:
                progress.approve_above = self._parts.limiter.limits.budgets.approve_above
            if not is_package:
                return await self._fetch_kept(wanted, peer, progress, expected)
            package = await getter.fetch_package(wanted, peer, progress, list_as=list_as, expected=expected)
            return Outcome(package=package, foreign=tuple(progress.foreign))

        async def bear(progress: Progress) -> Outcome:
            return await self._parts.limiter.bear(fetch, progress)

        transfer = self._start(TransferKind.FETCH, str(wanted), str(peer), bear, (list_as, expected))
        return pb.FetchBlobResponse(transfer=await self._answer(transfer, wait=request.wait))

    async def export_blob(
        self,
        request: pb.ExportBlobRequest,
        ctx: RequestContext[pb.ExportBlobRequest, pb.ExportBlobResponse],
        /,
    ) -> pb.ExportBlobResponse:
        if request.what is None:
            raise ConfigError("nothing is named to export; set package or blob")
        if request.target is None:
            raise ConfigError("no target is named; set file for a blob, or layout, archive or reference")
        place, path = request.target.field, request.target.value
        if (request.what.field == "blob") != (place == "file"):
            raise ConfigError(
                "a blob is exported to a file, a package to a layout, an archive or a reference"
            )
        if request.what.field == "blob":
            transfer = await self._export_blob(request, parse_blob_name(request.what.value), path)
        else:
            transfer = await self._export_package(request, request.what.value, place, path)
        return pb.ExportBlobResponse(transfer=await self._answer(transfer, wait=request.wait))

    # ---- import

    async def _import_file(self, request: pb.ImportBlobRequest, path: str) -> Transfer:
        if request.choice or request.platforms or request.referrers or request.list_as or request.all:
            raise ConfigError("choice, all, platforms, referrers, list_as are for packages, not for a file")
        expected = parse_digest(request.expected_digest)
        media_type, link, importer = request.media_type or None, request.link, self._parts.importer
        file = await open_file(self._parts.import_roots, path)

        async def take(progress: Progress) -> Outcome:
            try:
                blob = await importer.import_file(
                    file.fileno(), progress, expected=expected, media_type=media_type, link=link
                )
                return Outcome(blob=blob)
            finally:
                file.close()

        try:
            root, _ = self._parts.import_roots.locate(path)
            return self._start(TransferKind.IMPORT, path, root, take, (expected,))
        except BaseException:
            file.close()
            raise

    async def _import_package(self, request: pb.ImportBlobRequest, place: str, name: str) -> Transfer:
        _refuse_fields_of_a_file(request)
        platforms = [Platform.parse(text) for text in request.platforms]
        list_as = parse_list_as(request.list_as) or _own_name(place, name, request.choice)
        referrers, link, importer = request.referrers, request.link, self._parts.importer
        source = await open_source(
            self._parts.import_roots, self._parts.registries, place, name, request.choice
        )

        async def take(progress: Progress) -> Outcome:
            try:
                imported = await importer.import_package(
                    source, progress, list_as=list_as, platforms=platforms, referrers=referrers, link=link
                )
            finally:
                await source.close()
            return Outcome(imported.package, referrers=imported.referrers, foreign=imported.foreign)

        return await self._start_closing(
            source, TransferKind.IMPORT, list_as or source.name, source.name, take, (list_as,)
        )

    async def _import_all(self, request: pb.ImportBlobRequest, place: str, path: str) -> Transfer:
        _refuse_fields_of_a_file(request)
        if request.choice:
            raise ConfigError("choice names one package, and all is set; leave one of them out")
        roots, registries, importer = self._parts.import_roots, self._parts.registries, self._parts.importer
        platforms = [Platform.parse(text) for text in request.platforms]
        referrers, link = request.referrers, request.link
        named = await list_packages(roots, place, path, request.list_as)
        packages = [
            (list_as, partial(open_source, roots, registries, place, path, choice))
            for choice, list_as in named
        ]

        async def take(progress: Progress) -> Outcome:
            count = await import_all(
                importer, packages, progress, platforms=platforms, referrers=referrers, link=link
            )
            return Outcome(packages=count, foreign=tuple(progress.foreign))

        return self._start(TransferKind.IMPORT, f"all of {path}", path, take)

    # ---- fetch

    def _fetched(self, request: pb.FetchBlobRequest) -> tuple[BlobHash, bool, PeerAddress]:
        """The hash, whether it is a package's, and the peer."""
        if request.what is None:
            raise ConfigError("nothing is named to fetch; set package, blob or ticket")
        field, text = request.what.field, request.what.value
        peers = self._parts.peers
        if field != "ticket":
            if not request.peer:
                raise ConfigError("no peer is named to fetch from; set peer to ID or ID@host:port")
            return BlobHash.parse(text), field == "package", peers.resolve(request.peer)
        ticket = Ticket.parse(text)
        named = PeerAddress(ticket.endpoint_id, ticket.addresses)
        peer = peers.resolve(request.peer or str(named))
        return ticket.hash, ticket.is_sequence, peer

    async def _fetch_kept(
        self, wanted: BlobHash, peer: PeerAddress, progress: Progress, expected: Digest | None
    ) -> Outcome:
        """A blob that is asked for by itself stays until somebody deletes it."""
        store = self._parts.store
        with store.hold([wanted]):
            blob = await self._parts.getter.fetch_blob(wanted, peer, progress, expected=expected)
            await asyncio.to_thread(store.kept.add, blob.proven_digest)
        return Outcome(blob=blob)

    # ---- export

    async def _export_blob(
        self, request: pb.ExportBlobRequest, name: BlobHash | Digest, path: str
    ) -> Transfer:
        if request.tag or request.mount_from:
            raise ConfigError("tag and mount_from are for packages, not for a blob")
        waits, link, exporter = request.wait_for_content, request.link, self._parts.exporter
        if not waits:
            await self._arrivals.require_blob(name)
        directory, file_name = await open_parent(self._parts.export_roots, path)

        async def write(progress: Progress) -> Outcome:
            with directory:
                if waits:
                    await self._arrivals.blob(name, progress)
                return Outcome(
                    blob=await exporter.export_blob(name, directory, file_name, progress, link=link)
                )

        try:
            return self._start(TransferKind.EXPORT, str(name), path, write)
        except BaseException:
            directory.close()
            raise

    async def _export_package(
        self, request: pb.ExportBlobRequest, text: str, place: str, where: str
    ) -> Transfer:
        name = parse_package_name(text)
        waits, link, mount_from = request.wait_for_content, request.link, tuple(request.mount_from)
        asked_tag, exporter = request.tag or None, self._parts.exporter
        if not waits:
            await self._arrivals.require_package(name)
        target = await open_target(self._parts.export_roots, self._parts.registries, place, where)

        async def write(progress: Progress) -> Outcome:
            try:
                package = (
                    await self._arrivals.package(name, progress)
                    if waits
                    else await self._arrivals.require_package(name)
                )
                tag = asked_tag or _tag(place, where, package)
                await exporter.export_package(
                    package, target, progress, tag=tag, link=link, mount_from=mount_from
                )
            finally:
                await target.close()
            return Outcome(package=package)

        return await self._start_closing(target, TransferKind.EXPORT, str(name), where, write)

    # ---- transfers

    def _start(
        self,
        kind: TransferKind,
        subject: str,
        other_side: str,
        work: Work,
        also: Iterable[str | Digest | None] = (),
    ) -> Transfer:
        transfer = self._parts.transfers.start(kind, subject, other_side, work)
        self._arrivals.announce(transfer, {str(each) for each in (subject, *also) if each})
        return transfer

    async def _start_closing(
        self,
        place: Source | Target,
        kind: TransferKind,
        subject: str,
        other_side: str,
        work: Work,
        also: Iterable[str | Digest | None] = (),
    ) -> Transfer:
        """As `_start`; what was opened is closed when the transfer may not begin."""
        try:
            return self._start(kind, subject, other_side, work, also)
        except BaseException:
            await asyncio.shield(place.close())
            raise

    async def _answer(self, transfer: Transfer, *, wait: bool) -> pb.Transfer:
        return await ended_transfer_message(transfer, self._parts.node.address, wait=wait)


def _refuse_fields_of_a_file(request: pb.ImportBlobRequest) -> None:
    if request.expected_digest or request.media_type:
        raise ConfigError(
            "expected_digest and media_type are for a file; name a digest as choice, or in the reference"
        )


def _own_name(place: str, name: str, choice: str) -> str | None:
    """What a package is called where it comes from, if that is a reference."""
    if place == "registry_storage":
        choice = f"{LOCAL_REGISTRY}/{choice}"
    try:
        reference = Reference.parse(name if place == "reference" else choice)
    except ConfigError:
        return None
    if reference.tag and reference.digest:
        reference = Reference(reference.registry, reference.repository, reference.tag)
    return str(reference)


def _tag(place: str, where: str, package: StoredPackage) -> str | None:
    """The name of a package in its target: of a registry what is asked for, else what it has here."""
    if place == "reference":
        return Reference.parse(where).tag
    try:
        return Reference.parse(package.reference).tag if package.reference else None
    except ConfigError:
        return None
