"""One pass over a blob's bytes gives its SHA-256, its SHA-512 where wanted, its BLAKE3 hash and its tree.

Each name is worked out in a thread of its own: hashlib and the tree kernel release the GIL, so on two
cores SHA-256 (1.6 GB/s with SHA-NI) is what decides, while tree and file write share the other core.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from peat_sidecar.bao import TreeBuilder
from peat_sidecar.errors import IntegrityError
from peat_sidecar.ids import BlobHash, Digest

PIECE_BYTES = 1 << 20
"""Bytes handed to the threads at once: handing over costs nothing then, and they fit the cache."""
_AHEAD = 4
"""Pieces that may wait for the slowest thread."""

Bytes = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Names:
    """Everything that a blob is called, proven by its bytes."""

    hash: BlobHash
    sha256: Digest
    sha512: Digest | None
    """Only where it was asked for."""

    def require(self, expected: Digest | None) -> None:
        """IntegrityError when the bytes are not what the digest promised."""
        if expected is None:
            return
        found = self.sha512 if expected.algorithm == "sha512" else self.sha256
        if found != expected:
            raise IntegrityError(
                f"the content has digest {found} where {expected} was expected; nothing is stored, "
                "get it from another source"
            )


class Digester:
    """Plain SHA hashing of bytes that come in order."""

    def __init__(self, *, sha512: bool) -> None:
        self._sha256 = hashlib.sha256()
        self._sha512 = hashlib.sha512() if sha512 else None
        self.position = 0
        """Bytes hashed."""

    def update(self, data: Bytes) -> None:
        self._sha256.update(data)
        if self._sha512 is not None:
            self._sha512.update(data)
        self.position += len(data)

    def names(self, blob_hash: BlobHash) -> Names:
        sha512 = Digest("sha512", self._sha512.hexdigest()) if self._sha512 is not None else None
        return Names(blob_hash, Digest("sha256", self._sha256.hexdigest()), sha512)


class NamePipeline:
    """All names in one pass, in parallel threads. Driven by one thread, in order.

    `submit` keeps the pieces until they are hashed; they must not change before `settle` says how many
    submissions are done with. `finish` or `close` ends the threads.
    """

    def __init__(self, size: int, write_tree: Callable[[int, bytes], object], *, sha512: bool) -> None:
        self._tree = TreeBuilder(size, write_tree)
        self._sha256 = hashlib.sha256()
        self._sha512 = hashlib.sha512() if sha512 else None
        works: list[Callable[[Bytes], object]] = [self._sha256.update, self._tree.update]
        if self._sha512 is not None:
            works.append(self._sha512.update)
        self._works = works
        self._threads = size > PIECE_BYTES
        self._lanes = [ThreadPoolExecutor(1, "names") for _ in works] if self._threads else []
        self._pending: deque[list[Future[None]]] = deque()

    def submit(self, pieces: Sequence[Bytes]) -> None:
        """Hands pieces over, waiting while `_AHEAD` submissions are not done."""
        if not self._threads:
            for work in self._works:
                _apply(work, pieces)
            return
        self.settle(_AHEAD - 1)
        pairs = zip(self._lanes, self._works, strict=True)
        self._pending.append([lane.submit(_apply, work, pieces) for lane, work in pairs])

    def settle(self, pending: int = 0) -> None:
        """Waits until at most so many submissions are not done; raises what went wrong in a thread."""
        while len(self._pending) > max(0, pending):
            for future in self._pending.popleft():
                future.result()

    def finish(self) -> Names:
        self.settle()
        self.close()
        sha512 = Digest("sha512", self._sha512.hexdigest()) if self._sha512 is not None else None
        return Names(self._tree.finish(), Digest("sha256", self._sha256.hexdigest()), sha512)

    def close(self) -> None:
        """Ends the threads; pieces not hashed yet are left."""
        for lane in self._lanes:
            lane.shutdown(cancel_futures=True)
        self._pending.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _apply(work: Callable[[Bytes], object], pieces: Sequence[Bytes]) -> None:
    for piece in pieces:
        work(piece)


def wants_sha512(expected: Digest | None) -> bool:
    return expected is not None and expected.algorithm == "sha512"
