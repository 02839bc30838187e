"""Blobs: whether they are there, all of their bytes or some, and taking them back."""

from peat_sidecar.errors import IntegrityError, NotFound
from peat_sidecar.ids import Digest
from peat_sidecar.packages import Descriptor
from peat_sidecar.registry.byte_ranges import Unsatisfiable, parse_range
from peat_sidecar.registry.elsewhere import Elsewhere
from peat_sidecar.registry.exchange import Answer, Request
from peat_sidecar.registry.faults import Code, Fault, sought
from peat_sidecar.registry.names import Repository, parse_digest
from peat_sidecar.registry.pieces import ReadAhead, StoredBlob
from peat_sidecar.registry.repositories import Repositories
from peat_sidecar.store import BlobInfo
from peat_sidecar.transfer import in_thread

_OCTETS = "application/octet-stream"


class Blobs:
    """`/v2/<name>/blobs/<digest>`."""

    def __init__(self, repositories: Repositories, elsewhere: Elsewhere) -> None:
        self._repositories = repositories
        self._elsewhere = elsewhere

    async def get(self, request: Request, repository: Repository, name: str) -> Answer:
        """GET and HEAD."""
        digest = parse_digest(name)
        found = await self._find(repository, digest, is_head=request.method == "HEAD")
        headers = {**names_of(digest), "Accept-Ranges": "bytes", "Content-Type": _OCTETS}
        if is_known(request, digest):
            return Answer(304, names_of(digest))
        wanted, status = range(found.size), 200
        if request.method == "GET" and request.header("if-range") in ("", headers["ETag"]):
            try:
                part = parse_range(request.header("range"), found.size)
            except Unsatisfiable:
                headers = {"Content-Range": f"bytes */{found.size}"}
                text = f"{digest} has {found.size} bytes, and none where the range asks"
                raise Fault(Code.SIZE_INVALID, text, status=416, headers=headers) from None
            if part is not None:
                wanted, status = part, 206
                headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{found.size}"
        headers["Content-Length"] = str(len(wanted))
        if request.method == "HEAD":
            return Answer(status, headers)
        try:
            pieces = await self._open(repository, found, wanted)
        except (NotFound, IntegrityError):  # it was removed, or its owner has changed the file
            raise _unknown(repository, digest) from None
        return Answer(status, headers, pieces=pieces)

    async def _find(self, repository: Repository, digest: Digest, *, is_head: bool) -> BlobInfo | Descriptor:
        info = await in_thread(self._repositories.blob, repository, digest)
        if info is not None:
            return info
        found: Descriptor | None = None
        try:
            with sought():
                found = await self._elsewhere.blob(repository.name, digest)
        except Fault:
            if not is_head:  # by which who pushes asks whether a blob has to be sent
                raise
        if found is None:
            raise _unknown(repository, digest)
        return found

    async def _open(self, repository: Repository, found: BlobInfo | Descriptor, wanted: range) -> ReadAhead:
        if isinstance(found, BlobInfo):
            return await ReadAhead.begin(await StoredBlob.open(self._repositories.store, found.hash), wanted)
        with sought():
            arriving = await self._elsewhere.open(repository.name, found, wanted.start)
            return await ReadAhead.begin(arriving, wanted)

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


def _unknown(repository: Repository, digest: Digest) -> Fault:
    return Fault(
        Code.BLOB_UNKNOWN, f"{repository.shown} has no blob {digest}", detail={"digest": str(digest)}
    )
