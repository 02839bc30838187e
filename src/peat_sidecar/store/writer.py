"""A blob coming in as a stream: one pass, and nothing is visible before it is proven."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from peat_sidecar.errors import IntegrityError, PeatError, StoreFailed
from peat_sidecar.ids import Digest
from peat_sidecar.store.hashing import PIECE_BYTES
from peat_sidecar.store.incoming import Incoming, copy_of
from peat_sidecar.store.records import BlobInfo
from peat_sidecar.store.shelf import Shelf


class BlobWriter:
    """Takes a blob's bytes in order. Driven by one thread at a time.

    With `keep` the bytes stay under that name when the writer is suspended or the program dies, and the next
    writer of it goes on after them; they are hashed again then, so nothing unproven gets in.
    """

    def __init__(
        self,
        shelf: Shelf,
        size: int,
        *,
        expected: Digest | None = None,
        media_type: str | None = None,
        keep: Path | None = None,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self._size = size
        self._expected = expected
        self._media_type = media_type
        self._keep = keep is not None
        self._on_close = on_close
        self._pieces: list[bytes] = []
        self._buffered = 0
        self._closed = False
        self._incoming = Incoming(shelf, size, keep or shelf.layout.temporary("data"), expected)

    @property
    def offset(self) -> int:
        """Bytes taken so far, those of an earlier run included: where the stream has to go on."""
        return self._incoming.length + self._buffered

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """The next bytes. After StoreFull: `suspend` keeps what came before, `abort` drops it."""
        self._require_open()
        if self.offset + len(data) > self._size:
            self.abort()
            raise IntegrityError(
                f"{self._what()} is longer than the {self._size} bytes that were said; it is dropped"
            )
        if len(data):
            self._pieces.append(copy_of(data))
            self._buffered += len(data)
        if self._buffered >= PIECE_BYTES:
            self._flush()

    def flush(self) -> None:
        """Hands what was taken to the file; a kill of the program loses nothing of it then."""
        self._require_open()
        self._flush()

    def finish(self) -> BlobInfo:
        """Proves and publishes. IntegrityError: the bytes are not what was expected, and they are dropped."""
        self._require_open()
        try:
            if self.offset != self._size:
                raise IntegrityError(
                    f"{self._what()} ended after {self.offset} of {self._size} bytes; it is dropped"
                )
            self._flush()
            info = self._incoming.publish(self._incoming.prove(), self._media_type)
        except IntegrityError:
            self.abort()
            raise
        except BaseException:
            self.suspend()
            raise
        self._end()
        return info

    def suspend(self) -> None:
        """Ends for now; a kept download goes on from here later, any other one is dropped."""
        if self._closed:
            return
        if not self._keep:
            self.abort()
            return
        with suppress(PeatError, OSError):
            self._flush()
            self._incoming.sync()
        self._end()
        self._incoming.drop(keep_data=True)

    def abort(self) -> None:
        """Drops everything that came."""
        if self._closed:
            return
        self._end()
        self._incoming.drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.suspend()

    def _flush(self) -> None:
        pieces, self._pieces, self._buffered = self._pieces, [], 0
        if pieces:
            self._incoming.add(pieces)

    def _end(self) -> None:
        self._closed = True
        self._incoming.close()
        self._on_close()

    def _require_open(self) -> None:
        if self._closed:
            raise StoreFailed("this writer has ended; open a new one")

    def _what(self) -> str:
        return f"the content for {self._expected}" if self._expected else "the content"
