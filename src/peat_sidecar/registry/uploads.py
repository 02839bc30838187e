"""Uploads of blobs: in one request or in many, in order, gone on with after any break, or mounted."""

import asyncio
import re
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from peat_sidecar.errors import IntegrityError, NotFound, Refused
from peat_sidecar.ids import Digest
from peat_sidecar.registry.exchange import Answer, Request
from peat_sidecar.registry.faults import Code, Fault
from peat_sidecar.registry.names import Repository, parse_digest, parse_repository
from peat_sidecar.registry.repositories import Repositories
from peat_sidecar.store import Upload
from peat_sidecar.transfer import in_thread

_WRITE_BYTES = 1 << 20
_WRITE_SECONDS = 0.5
"""What came is in the file by then, so that a kill costs no more."""
_FINISHING = 2
"""Uploads that are read at their end, at once: it takes a thread for as long as the blob is large."""
_BUSY_SECONDS = 5.0
"""For a request whose client has left, and whose end is not noticed yet."""
_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?([0-9]{1,18})-([0-9]{1,18})(?:/.*)?")


class Uploads:
    """`/v2/<name>/blobs/uploads/`."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories
        self._store = repositories.store.uploads
        self._finishing = asyncio.Semaphore(_FINISHING)
        self._busy: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def begin(self, request: Request, repository: Repository, name: str) -> Answer:
        """POST: mounts a blob, takes one that comes with the request, or says where to send it."""
        if request.query.get("mount"):
            mounted = await self._mount(request, repository, parse_digest(request.query["mount"]))
            if mounted is not None:
                return mounted
        stated = request.query.get("digest")
        digest = parse_digest(stated) if stated else None
        try:
            upload = await in_thread(self._store.begin, repository.name)
        except Refused as error:
            raise Fault(Code.TOOMANYREQUESTS, str(error)) from None
        if digest is None:
            return _accepted(repository, upload, 0, 202)
        async with self._own(upload):
            try:
                await _take(request, upload)
                return await self._finish(repository, upload, digest)
            finally:
                await in_thread(upload.drop)

    async def patch(self, request: Request, repository: Repository, name: str) -> Answer:
        """The next bytes."""
        upload = await self._open(repository, name)
        async with self._own(upload):
            offset = await self._append(request, repository, upload)
        return _accepted(repository, upload, offset, 202)

    async def put(self, request: Request, repository: Repository, name: str) -> Answer:
        """The last bytes, if any, and the digest of all."""
        stated = request.query.get("digest")
        if not stated:
            raise Fault(Code.DIGEST_INVALID, "an upload ends with ?digest= of all that was sent")
        digest = parse_digest(stated)
        upload = await self._open(repository, name)
        async with self._own(upload):
            await self._append(request, repository, upload)
            return await self._finish(repository, upload, digest)

    async def get(self, request: Request, repository: Repository, name: str) -> Answer:
        """How far it is."""
        upload = await self._open(repository, name)
        async with self._own(upload):
            return _accepted(repository, upload, await in_thread(lambda: upload.offset), 204)

    async def delete(self, request: Request, repository: Repository, name: str) -> Answer:
        """Gives it up."""
        upload = await self._open(repository, name)
        async with self._own(upload):
            await in_thread(upload.drop)
        return Answer(204)

    async def _mount(self, request: Request, repository: Repository, digest: Digest) -> Answer | None:
        source = request.query.get("from")
        namespace = request.query.get("ns", "")
        there = parse_repository(source, namespace, request.header("host")) if source else None
        if not await in_thread(self._repositories.mount, repository, digest, there):
            return None
        return _created(repository, digest)

    async def _append(self, request: Request, repository: Repository, upload: Upload) -> int:
        """Takes the body; where it ends."""
        before = await in_thread(lambda: upload.offset)
        stated = request.header("content-range")
        end = _end_of(stated, before, _accepted(repository, upload, before, 416)) if stated else None
        await _take(request, upload)
        offset = await in_thread(lambda: upload.offset)
        if end is not None and offset != end:
            await in_thread(upload.truncate, before)
            raise Fault(
                Code.SIZE_INVALID,
                f"Content-Range {stated[:40]} came with {offset - before} bytes; send it again",
            )
        return offset

    async def _finish(self, repository: Repository, upload: Upload, digest: Digest) -> Answer:
        try:
            async with self._finishing:
                await in_thread(self._store.finish, upload, digest)
        except IntegrityError as error:
            raise Fault(Code.DIGEST_INVALID, str(error), detail={"digest": str(digest)}) from None
        return _created(repository, digest)

    async def _open(self, repository: Repository, name: str) -> Upload:
        try:
            return await in_thread(self._store.open, repository.name, name)
        except NotFound as error:
            raise Fault(Code.BLOB_UPLOAD_UNKNOWN, str(error)) from None

    @asynccontextmanager
    async def _own(self, upload: Upload) -> AsyncIterator[None]:
        """One request at a time; another one waits until that is over, and not for long."""
        lock = self._busy.setdefault(upload.id, asyncio.Lock())
        try:
            async with asyncio.timeout(_BUSY_SECONDS):
                await lock.acquire()
        except TimeoutError:
            text = "another request is sending to this upload; wait for its end"
            raise Fault(Code.BLOB_UPLOAD_INVALID, text, status=409) from None
        try:
            yield
        finally:
            lock.release()


async def _take(request: Request, upload: Upload) -> None:
    """Writes the body as it comes. What came before a break is kept."""
    await in_thread(upload.require_room, request.length)
    clock = asyncio.get_running_loop().time
    waiting: list[bytes] = []
    size, written_at = 0, clock()
    try:
        async for piece in request.pieces():
            waiting.append(piece)
            size += len(piece)
            if size >= _WRITE_BYTES or clock() - written_at >= _WRITE_SECONDS:
                ready, waiting, size, written_at = waiting, [], 0, clock()
                await in_thread(upload.append, ready)
    finally:
        if waiting:
            await in_thread(upload.append, waiting)


def _end_of(stated: str, offset: int, where: Answer) -> int:
    """Where a chunk ends that has to begin at the offset; else the answer says where to go on."""
    found = _CONTENT_RANGE.fullmatch(stated)
    if found is None:
        raise Fault(
            Code.BLOB_UPLOAD_INVALID, f"Content-Range {stated[:40]!r} is none of an upload, as 0-1023"
        )
    first, last = int(found[1]), int(found[2])
    if first != offset or last < first:
        text = f"the next byte is {offset}, and the chunk is {stated[:40]}; send what follows"
        raise Fault(Code.BLOB_UPLOAD_INVALID, text, status=416, headers=where.headers)
    return last + 1


def _accepted(repository: Repository, upload: Upload, offset: int, status: int) -> Answer:
    headers = {
        "Location": repository.url(f"blobs/uploads/{upload.id}"),
        "Range": f"0-{max(0, offset - 1)}",
        "Docker-Upload-UUID": upload.id,
    }
    return Answer(status, headers)


def _created(repository: Repository, digest: Digest) -> Answer:
    headers = {"Location": repository.url(f"blobs/{digest}"), "Docker-Content-Digest": str(digest)}
    return Answer(201, headers)
