"""The call about what the formation offers."""

import asyncio
import time
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any

from connectrpc.request import RequestContext

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import BlobHash
from peat_sidecar.records import Document
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.parts import Parts

_COLLECTION = "packages"
_PAGE_DEFAULT = 100
_PAGE_LIMIT = 1000
_LOOK_LIMIT = 5000
"""Documents that one call looks at, so that a pattern that fits few does not hold a thread for long."""
_STEP = 500
_PATTERN_LIMIT = 500
_TEXT_LIMIT = 1000


class MeshPackageCalls:
    """A part of the service."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def list_mesh_packages(
        self,
        request: pb.ListMeshPackagesRequest,
        ctx: RequestContext[pb.ListMeshPackagesRequest, pb.ListMeshPackagesResponse],
        /,
    ) -> pb.ListMeshPackagesResponse:
        limit = request.page_size or _PAGE_DEFAULT
        if limit > _PAGE_LIMIT:
            raise ConfigError(f"page_size is {limit}, and at most {_PAGE_LIMIT}; ask for several pages")
        if len(request.reference) > _PATTERN_LIMIT:
            raise ConfigError(f"a pattern has at most {_PATTERN_LIMIT} characters; write a shorter one")
        return await asyncio.to_thread(self._list, request, limit)

    def _list(self, request: pb.ListMeshPackagesRequest, limit: int) -> pb.ListMeshPackagesResponse:
        found, after, looked = [], request.page_token, 0
        wanted = {each.name for each in self._parts.wants.list() if each.state != "done"}
        holders: dict[str, tuple[int, int]] = {}
        while looked < _LOOK_LIMIT:
            page = self._parts.records.list_ids(_COLLECTION, after=after, limit=_STEP)
            for after in page:
                looked += 1
                # One at a time: each may have a megabyte.
                document = self._parts.records.get(_COLLECTION, after)
                if document is None or not _fits(document, request):
                    continue
                found.append(self._message(document, wanted, holders))
                if len(found) == limit:
                    return pb.ListMeshPackagesResponse(packages=found, next_page_token=after)
            if len(page) < _STEP:
                after = ""
                break
        return pb.ListMeshPackagesResponse(packages=found, next_page_token=after)

    def _message(
        self, document: Document, wanted: set[str], holders: dict[str, tuple[int, int]]
    ) -> pb.MeshPackage:
        fields = document.fields
        content = fields.get("content")
        if not isinstance(content, dict):
            content = {}
        collection, root, reference = (
            _text(content.get("collection")),
            _text(content.get("root")),
            _text(fields.get("reference")),
        )
        message = pb.MeshPackage(
            reference=reference,
            arch=_text(fields.get("arch")),
            version=_text(fields.get("version")),
            root=root,
            collection=collection,
            bytes=_count(content.get("bytes", fields.get("total_bytes"))),
            blobs=min(_count(content.get("blobs")), (1 << 32) - 1),
            agent_id=document.owner,
            pull_status=_text(fields.get("pull_status")),
            state=_text(content.get("state")),
            here=pb.BlobState.ABSENT,
            decides=self._parts.trust.decides(document),
            age_seconds=max(time.time() - (document.clock >> 16) / 1000, 0.0),
            doc_id=document.doc_id,
        )
        hash = _hash(collection)
        if hash is not None:
            if collection not in holders:
                states = [each.state for each in self._parts.providers.holders(hash)]
                holders[collection] = (states.count("complete"), states.count("partial"))
            message.complete_holders, message.partial_holders = holders[collection]
            message.here = self._here(hash)
        if message.here is pb.BlobState.ABSENT and wanted & {collection, root, reference} - {""}:
            message.here = pb.BlobState.WANTED
        return message

    def _here(self, collection: BlobHash) -> pb.BlobState:
        store = self._parts.store
        if store.package(collection) is not None:
            return pb.BlobState.COMPLETE
        # The first blob that is fetched of a package says what the others are.
        return pb.BlobState.PARTIAL if store.find(collection) is not None else pb.BlobState.ABSENT


def _fits(document: Document, request: pb.ListMeshPackagesRequest) -> bool:
    if request.agent_id and document.owner != request.agent_id:
        return False
    return not request.reference or fnmatchcase(_text(document.fields.get("reference")), request.reference)


def _text(value: Any) -> str:
    """What a member wrote where a text belongs."""
    if isinstance(value, str):
        return value[:_TEXT_LIMIT]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _count(value: Any) -> int:
    """What a member wrote where a number belongs."""
    return value if isinstance(value, int) and 0 < value < 1 << 63 else 0


def _hash(text: str) -> BlobHash | None:
    with suppress(ConfigError):
        return BlobHash.parse(text)
    return None
