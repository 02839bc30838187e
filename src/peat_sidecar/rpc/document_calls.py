"""Calls about documents and their synchronisation."""

import asyncio
from collections.abc import AsyncIterator

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext

from peat_sidecar.errors import ConfigError
from peat_sidecar.records import Records, check_collection, check_names
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.json_documents import parse_document
from peat_sidecar.rpc.parts import Parts
from peat_sidecar.rpc.subscriptions import DOCUMENT_LIMIT_BYTES, Subscriptions

_PAGE_LIMIT = 10_000
_STEP = 1000
_ANSWER_LIMIT_BYTES = 3 << 20
"""Of ids, so that an answer stays within the 4 MiB that a gRPC client takes."""


class DocumentCalls:
    """A part of the service."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._subscriptions = Subscriptions(parts.records)

    async def put_document(
        self,
        request: pb.PutDocumentRequest,
        ctx: RequestContext[pb.PutDocumentRequest, pb.PutDocumentResponse],
        /,
    ) -> pb.PutDocumentResponse:
        def put() -> bool:
            document = parse_document(request.json_data)
            return self._parts.records.put(request.collection, request.doc_id, document)

        return pb.PutDocumentResponse(changed=await asyncio.to_thread(put))

    async def get_document(
        self,
        request: pb.GetDocumentRequest,
        ctx: RequestContext[pb.GetDocumentRequest, pb.GetDocumentResponse],
        /,
    ) -> pb.GetDocumentResponse:
        check_names(request.collection, request.doc_id)
        document = await asyncio.to_thread(self._parts.records.get, request.collection, request.doc_id)
        if document is None:
            return pb.GetDocumentResponse()
        text = document.json
        if (size := len(text.encode())) > DOCUMENT_LIMIT_BYTES:
            raise ConnectError(
                Code.RESOURCE_EXHAUSTED,
                f"{len(document.signers)} members have let the document grow to {size:,} bytes, and an answer"
                f" has at most {DOCUMENT_LIMIT_BYTES:,}; put it again with fewer fields",
            )
        return pb.GetDocumentResponse(json_data=text)

    async def delete_document(
        self,
        request: pb.DeleteDocumentRequest,
        ctx: RequestContext[pb.DeleteDocumentRequest, pb.DeleteDocumentResponse],
        /,
    ) -> pb.DeleteDocumentResponse:
        changed = await asyncio.to_thread(self._parts.records.delete, request.collection, request.doc_id)
        return pb.DeleteDocumentResponse(changed=changed)

    async def list_documents(
        self,
        request: pb.ListDocumentsRequest,
        ctx: RequestContext[pb.ListDocumentsRequest, pb.ListDocumentsResponse],
        /,
    ) -> pb.ListDocumentsResponse:
        check_collection(request.collection)
        if request.page_size > _PAGE_LIMIT:
            raise ConfigError(
                f"page_size is {request.page_size}, and at most {_PAGE_LIMIT}; ask for several pages"
            )
        ids, more = await asyncio.to_thread(
            _list, self._parts.records, request.collection, request.page_token, request.page_size
        )
        if more and not request.page_size:
            raise ConfigError(
                f"collection {request.collection[:80]!r} has more documents than fit one answer;"
                " set page_size and ask for pages"
            )
        return pb.ListDocumentsResponse(doc_ids=ids, next_page_token=ids[-1] if more else "")

    async def subscribe(
        self, request: pb.SubscribeRequest, ctx: RequestContext[pb.SubscribeRequest, pb.DocumentChange], /
    ) -> AsyncIterator[pb.DocumentChange]:
        for name in request.collections:
            check_collection(name)
        async for change in self._subscriptions.changes(request.collections):
            yield change

    async def start_sync(
        self, request: pb.StartSyncRequest, ctx: RequestContext[pb.StartSyncRequest, pb.StartSyncResponse], /
    ) -> pb.StartSyncResponse:
        if not self._parts.app_id:
            raise ConfigError(
                "this node is in no formation, so there is nobody to exchange documents with;"
                " start it with --formation-key-file"
            )
        self._parts.syncer.start()
        return pb.StartSyncResponse()

    async def stop_sync(
        self, request: pb.StopSyncRequest, ctx: RequestContext[pb.StopSyncRequest, pb.StopSyncResponse], /
    ) -> pb.StopSyncResponse:
        self._parts.syncer.stop()
        return pb.StopSyncResponse()

    async def get_sync_stats(
        self,
        request: pb.GetSyncStatsRequest,
        ctx: RequestContext[pb.GetSyncStatsRequest, pb.GetSyncStatsResponse],
        /,
    ) -> pb.GetSyncStatsResponse:
        syncer = self._parts.syncer
        return pb.GetSyncStatsResponse(
            sync_active=self._parts.exchanges_documents,
            connected_peers=syncer.sessions,
            bytes_sent=syncer.sent_bytes,
            bytes_received=syncer.received_bytes,
        )

    def close_subscriptions(self) -> None:
        """Ends them, so that they do not keep the daemon from stopping."""
        self._subscriptions.close()


def _list(records: Records, collection: str, after: str, count: int) -> tuple[list[str], bool]:
    """Ids behind `after`, `count` (0: all) or as many as fit an answer; whether there are more."""
    ids: list[str] = []
    size = 0
    while True:
        for doc_id in (page := records.list_ids(collection, after=after, limit=_STEP)):
            size += len(doc_id.encode()) + 4
            if size > _ANSWER_LIMIT_BYTES or len(ids) == (count or -1):
                return ids, True
            ids.append(doc_id)
        if len(page) < _STEP:
            return ids, False
        after = page[-1]
