"""Blobs: whether they are there, all of their bytes or some, and taking them back."""

import asyncio

from peat_sidecar.errors import IntegrityError, NotFound
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.registry.byte_ranges import Unsatisfiable, parse_range
from peat_sidecar.registry.exchange import Answer, Request
from peat_sidecar.registry.faults import Code, Fault
from peat_sidecar.registry.names import Repository, parse_digest
from peat_sidecar.registry.repositories import Repositories
from peat_sidecar.store import BlobReader, Store
from peat_sidecar.transfer import in_thread, opened

PIECE_BYTES = 512 << 10
"""Read while the piece before is sent. With half of it 32 clients got a third less in all."""
_OCTETS = "application/octet-stream"


class Blobs:
    """`/v2/<name>/blobs/<digest>`."""

    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories

    async def get(self, request: Request, repository: Repository, name: str) -> Answer:
        """GET and HEAD."""
        digest = parse_digest(name)
        info = await in_thread(self._repositories.blob, repository, digest)
        if info is None:
            raise _unknown(repository, digest)
        headers = {**names_of(digest), "Accept-Ranges": "bytes", "Content-Type": _OCTETS}
        if is_known(request, digest):
            return Answer(304, names_of(digest))
        wanted, status = range(info.size), 200
        if request.method == "GET" and request.header("if-range") in ("", headers["ETag"]):
            try:
                part = parse_range(request.header("range"), info.size)
            except Unsatisfiable:
                headers = {"Content-Range": f"bytes */{info.size}"}
                text = f"{digest} has {info.size} bytes, and none where the range asks"
                raise Fault(Code.SIZE_INVALID, text, status=416, headers=headers) from None
            if part is not None:
                wanted, status = part, 206
                headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{info.size}"
        headers["Content-Length"] = str(len(wanted))
        if request.method == "HEAD":
            return Answer(status, headers)
        try:
            pieces = await _Pieces.open(self._repositories.store, info.hash, wanted)
        except (NotFound, IntegrityError):  # it was removed, or its owner has changed the file
            raise _unknown(repository, digest) from None
        return Answer(status, headers, pieces=pieces)

    async def delete(self, request: Request, repository: Repository, name: str) -> Answer:
        """Takes back what was uploaded."""
        digest = parse_digest(name)
        if not await in_thread(self._repositories.remove_blob, repository, digest):
            raise _unknown(repository, digest)
        return Answer(202)


def names_of(digest: Digest) -> dict[str, str]:
    """The headers that say what is sent."""
    return {"Docker-Content-Digest": str(digest), "ETag": f'"{digest}"'}


def is_known(request: Request, digest: Digest) -> bool:
    """Whether the client has it already, and says so by `If-None-Match`."""
    given = [each.strip().removeprefix("W/") for each in request.header("if-none-match").split(",")]
    return "*" in given or f'"{digest}"' in given


class _Pieces:
    """Bytes of a blob, read one piece ahead."""

    def __init__(self, reader: BlobReader, wanted: range) -> None:
        self._reader = reader
        self._wanted = wanted
        self._offsets = iter(range(wanted.start, wanted.stop, PIECE_BYTES))
        self._reading = asyncio.ensure_future(asyncio.to_thread(self._read))

    @classmethod
    async def open(cls, store: Store, hash: BlobHash, wanted: range) -> "_Pieces":
        """With its first piece, so that what cannot be read is known before the answer begins."""
        pieces = cls(await opened(lambda: store.reader(hash), BlobReader.close), wanted)
        try:
            await asyncio.shield(pieces._reading)
        except BaseException:
            await pieces.aclose()
            raise
        return pieces

    def __aiter__(self) -> "_Pieces":
        return self

    async def __anext__(self) -> bytes:
        piece = await asyncio.shield(self._reading)
        if not piece:
            raise StopAsyncIteration
        self._reading = asyncio.ensure_future(asyncio.to_thread(self._read))
        return piece

    async def aclose(self) -> None:
        """A read that goes on keeps the file open until it is done."""
        self._reader.close()
        self._reading.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _read(self) -> bytes:
        offset = next(self._offsets, None)
        if offset is None:
            return b""
        return self._reader.read(offset, min(PIECE_BYTES, self._wanted.stop - offset))


def _unknown(repository: Repository, digest: Digest) -> Fault:
    return Fault(
        Code.BLOB_UNKNOWN, f"{repository.shown} has no blob {digest}", detail={"digest": str(digest)}
    )
