"""One blob on its way into a registry: resumable where the registry can, in one piece where it cannot.

A blob up to `chunk_bytes` goes in one PUT. A larger one goes in chunks (PATCH); after a lost connection
the registry is asked how much it holds and the upload goes on there. docker-registry 2.8 forgets an upload
that was cut within a chunk (404 to that question): then it begins anew. Registries without chunks get one
PUT.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator

import httpx

from peat_sidecar.errors import IntegrityError, NotFound, PeatError, SourceError
from peat_sidecar.oci.destinations import follow
from peat_sidecar.oci.failures import ConnectionLost
from peat_sidecar.oci.interfaces import ReadBlob
from peat_sidecar.oci.session import Answer, Content, Session
from peat_sidecar.packages import Descriptor

_READ_BYTES = 1 << 20
# One write is under the stall time as a whole, so it is small: 64 KiB in 20 s is 26 kbit/s.
_WRITE_BYTES = 64 << 10
_GAIN_BYTES = 64 << 10
_CANCEL_SECONDS = 2.0
_HELD = re.compile(r"(?:bytes=)?0-(\d{1,19})")
_OCTETS = "application/octet-stream"
_NO_CHUNKS = frozenset({400, 405, 411, 415, 501})
_ANY_STATUS = range(200, 600)


class Upload:
    """Sends one blob; `run` it once."""

    def __init__(
        self, session: Session, descriptor: Descriptor, read: ReadBlob, location: httpx.URL | None = None
    ) -> None:
        """With the location of an upload that was begun already, if there is one."""
        self._session = session
        self._descriptor = descriptor
        self._read = read
        self._location = location
        self._chunk_bytes = max(1, session.options.chunk_bytes)
        self._in_one = descriptor.size <= self._chunk_bytes
        self._position = 0
        self._begun = 0 if location is None else 1

    async def run(self) -> None:
        """Until the registry has confirmed the blob; an upload that is given up is cancelled there."""
        failed = 0
        try:
            while True:
                before = self._position
                try:
                    return await self._advance()
                except ConnectionLost as lost:
                    failed = 1 if self._position - before >= _GAIN_BYTES else failed + 1
                    await self._session.pause(lost, failed)
                    await self._take_up_again()
        except BaseException:
            await self._cancel()
            raise

    async def _advance(self) -> None:
        if self._location is None and await self._begin():
            return
        while not self._in_one and self._position < self._descriptor.size:
            await self._send_chunk()
        await self._commit()

    async def _begin(self) -> bool:
        """Opens an upload; True when there is nothing to upload any more."""
        self._begun += 1
        if self._begun > 1 and await has_blob(self._session, self._descriptor):
            return True  # the confirmation was lost, not the blob
        url = await self._session.url("blobs/uploads/")
        answer = await self._session.request("POST", url, expect=(202,), tries=1)
        self._position = 0
        self._location = upload_location(self._session, answer)
        least = answer.headers.get("OCI-Chunk-Min-Length", "")
        if least.isascii() and least.isdigit():
            self._chunk_bytes = max(self._chunk_bytes, int(least[:12]))
        return False

    async def _send_chunk(self) -> None:
        start, end = self._position, min(self._position + self._chunk_bytes, self._descriptor.size)
        headers = {
            "Content-Type": _OCTETS,
            "Content-Length": str(end - start),
            "Content-Range": f"{start}-{end - 1}",
        }
        answer = await self._session.request(
            "PATCH",
            self._where(),
            headers=headers,
            content=self._content(start, end),
            expect=_ANY_STATUS,
            tries=1,
            patience_seconds=self._session.options.commit_seconds,
        )
        if answer.status in (201, 202, 204):
            self._location = upload_location(self._session, answer, self._location)
            held = _held_bytes(answer)
            self._position = held if held is not None and start < held <= end else end
        elif answer.status in _NO_CHUNKS or (answer.status == 416 and start == 0):
            await self._cancel()
            self._in_one = True
            await self._begin()
        elif answer.status in (404, 416):
            raise ConnectionLost(f"the registry lost its place in the upload of {self._descriptor.digest}")
        else:
            raise self._session.failure(answer)

    async def _commit(self) -> None:
        size = self._descriptor.size if self._in_one else 0
        url = self._where().copy_merge_params({"digest": str(self._descriptor.digest)})
        answer = await self._session.request(
            "PUT",
            url,
            headers={"Content-Type": _OCTETS, "Content-Length": str(size)},
            content=self._content(0, size),
            expect=_ANY_STATUS,
            tries=1,
            patience_seconds=self._session.options.commit_seconds,
        )
        if answer.status in (404, 416):
            raise ConnectionLost(f"the registry forgot the upload of {self._descriptor.digest}")
        if answer.status not in (200, 201, 202, 204):
            if b"DIGEST_INVALID" in answer.body:
                raise IntegrityError(
                    f"{self._session.reference.registry} got other bytes than {self._descriptor.digest},"
                    " and threw them away; try again, and check the store if it happens again"
                )
            raise self._session.failure(answer)
        self._location = None

    async def _take_up_again(self) -> None:
        """Asks how much the registry holds; what it does not answer for begins anew."""
        if self._location is None or self._in_one:
            self._location, self._position = None, 0
            return
        try:
            answer = await self._session.request("GET", self._location, expect=_ANY_STATUS, tries=2)
        except ConnectionLost:
            return  # the next attempt finds out
        held = _held_bytes(answer)
        if answer.status not in (200, 202, 204) or held is None or held > self._descriptor.size:
            self._location, self._position = None, 0
            return
        self._location = upload_location(self._session, answer, self._location)
        self._position = held

    async def _cancel(self) -> None:
        location, self._location = self._location, None
        if location is not None:
            await cancel_upload(self._session, location)

    def _where(self) -> httpx.URL:
        if self._location is None:
            raise ConnectionLost(f"the upload of {self._descriptor.digest} has no place yet")
        return self._location

    def _content(self, start: int, end: int) -> Content:
        async def pieces() -> AsyncIterator[bytes]:
            for offset in range(start, end, _READ_BYTES):
                length = min(_READ_BYTES, end - offset)
                piece = await asyncio.to_thread(self._read, offset, length)
                if len(piece) != length:
                    raise IntegrityError(f"{self._descriptor.digest} is shorter here than it has to be")
                for cut in range(0, length, _WRITE_BYTES):
                    yield piece[cut : cut + _WRITE_BYTES]

        return pieces


async def cancel_upload(session: Session, location: httpx.URL) -> None:
    """Tells a registry that an upload will not go on; when that fails it finds out by itself."""
    with contextlib.suppress(PeatError, TimeoutError):
        async with asyncio.timeout(_CANCEL_SECONDS):
            await session.request("DELETE", location, expect=_ANY_STATUS, tries=1)


async def has_blob(session: Session, descriptor: Descriptor) -> bool:
    """Whether a registry has a blob or manifest, of the right size."""
    kind = "manifests" if descriptor.is_manifest or descriptor.is_index else "blobs"
    url = await session.url(f"{kind}/{descriptor.digest}")
    headers = {"Accept": descriptor.media_type} if kind == "manifests" else {}
    try:
        answer = await session.request("HEAD", url, headers=headers, expect=(200, 405))
    except NotFound:
        return False
    length = answer.headers.get("Content-Length", "")
    return answer.status == 200 and length in ("", str(descriptor.size))


def upload_location(session: Session, answer: Answer, before: httpx.URL | None = None) -> httpx.URL:
    """Where an upload goes on, absolute or relative; `before` when the registry says nothing new."""
    location = answer.headers.get("Location")
    if location:
        return follow(answer.url, location, session.options)
    if before is None:
        raise SourceError(f"{session.reference.registry} begins an upload without saying where")
    return before


def _held_bytes(answer: Answer) -> int | None:
    """How many bytes of an upload a registry holds; `0-0` is said by those that have none."""
    found = _HELD.fullmatch(answer.headers.get("Range", ""))
    if not found:
        return None
    last = int(found[1])
    return last + 1 if last else 0
