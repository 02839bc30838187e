"""Blobs that clients send piece by piece, each under an owner's name, and what an owner has sent.

An upload is a file that grows; its length is where the client has to go on, also after the death of the
program. When its digest is known it is read once, and becomes a blob by its name. Then the owner has a claim
to the blob, until a package of its own speaks of it or a time is over.
"""

import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from peat_sidecar.errors import IntegrityError, NotFound, Refused
from peat_sidecar.ids import BlobHash, Digest
from peat_sidecar.store.failures import require_room, translated
from peat_sidecar.store.importing import take_file
from peat_sidecar.store.records import BlobInfo
from peat_sidecar.store.shelf import Shelf

_ID = re.compile(r"[0-9a-f]{32}")
_UPLOAD, _CLAIM = ".upload", ".blob"
_BROUGHT = b"brought"
"""In a claim: the blob was not here before, so that it goes with the last claim unless a package has it."""
OPEN_LIMIT = 1000
"""Uploads at once, of all owners."""


class Uploads:
    """Thread-safe, but for one upload, which is one caller's at a time."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._folder = shelf.layout.uploads
        self.discard: Callable[[Iterable[BlobHash]], object] = lambda blobs: None
        """Deletes those of the blobs that nothing needs."""

    def begin(self, owner: str) -> "Upload":
        """A new one, empty. `Refused` when too many have been begun and not ended."""
        if sum(1 for _ in self._folder.glob(f"*/*{_UPLOAD}")) >= OPEN_LIMIT:
            raise Refused(
                f"{OPEN_LIMIT} uploads are open; end or give up some of them, or wait: they are dropped after"
                " a day in which nothing came"
            )
        upload = Upload(self._shelf, owner, self._place(owner) / f"{secrets.token_hex(16)}{_UPLOAD}")
        with translated(upload.path):
            upload.path.parent.mkdir(parents=True, exist_ok=True)
            upload.path.touch(mode=0o600)
        return upload

    def open(self, owner: str, id: str) -> "Upload":
        """One that was begun; `NotFound` when it is not the owner's, has ended, or was given up."""
        path = self._place(owner) / f"{id}{_UPLOAD}"
        if not _ID.fullmatch(id) or not path.is_file():
            raise NotFound(f"there is no upload {id[:40]!r}; it has ended, or was given up: begin a new one")
        return Upload(self._shelf, owner, path)

    def finish(self, upload: "Upload", expected: Digest) -> BlobInfo:
        """Makes it a blob that its owner has a claim to. `IntegrityError`: it is another one, and is dropped;
        after any other error it stays as it is.
        """

        def claim() -> None:
            self.claim(upload.owner, expected, brought=self._shelf.find(expected) is None)

        try:
            return take_file(self._shelf, upload.path, expected=expected, proven=claim)
        except IntegrityError:
            upload.drop()
            raise

    def claim(self, owner: str, digest: Digest, *, brought: bool = False) -> None:
        """The owner has sent the blob, or been given it; the time of a claim begins again."""
        path = self._claim(owner, digest)
        with self._shelf.naming, translated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                if brought:
                    file.write(_BROUGHT)
            os.utime(path)

    def share(self, owner: str, digest: Digest) -> bool:
        """Gives the owner a claim to a blob that others have, and that goes with the last claim where it did
        before. Whether it is still here.
        """
        with self._shelf.naming:
            here = self._shelf.find(digest) is not None
            if here:
                self.claim(owner, digest, brought=any(map(_was_brought, self._claims_to(digest))))
            return here

    def claims(self, owner: str, digest: Digest) -> bool:
        """Whether the owner has a claim to the blob."""
        return self._claim(owner, digest).is_file()

    def is_claimed(self, digest: Digest) -> bool:
        """Whether anyone has a claim to it."""
        return any(True for _ in self._claims_to(digest))

    def spoken_for(self) -> set[Digest]:
        """Blobs that somebody has a claim to."""
        return {_digest_of(path) for path in self._folder.glob(f"*/*{_CLAIM}")}

    def release(self, owner: str, digest: Digest) -> bool:
        """Gives the claim up, and with the last one the blob that was brought for it, unless a package has
        it. Whether there was one.
        """
        path = self._claim(owner, digest)
        with translated(path), suppress(FileNotFoundError):
            self._release(path, digest)
            return True
        return False

    def expire(self, age_seconds: float) -> int:
        """Drops uploads and claims that nothing happened to for so long; says how many."""
        before, dropped = time.time() - age_seconds, 0
        for path in self._folder.glob("*/*"):
            if path.suffix not in (_CLAIM, _UPLOAD):
                continue  # not ours
            with translated(path), suppress(FileNotFoundError):
                if path.stat().st_mtime > before:
                    continue
                if path.suffix == _CLAIM:
                    self._release(path, _digest_of(path))
                else:
                    path.unlink()
                dropped += 1
        return dropped

    def _release(self, path: Path, digest: Digest) -> None:
        with self._shelf.naming:  # so that nobody gets a claim between the look and the deletion
            brought = _was_brought(path)
            path.unlink()
            row = self._shelf.find(digest)
            if brought and row is not None:
                self.discard([row.hash])

    def _claims_to(self, digest: Digest) -> Iterable[Path]:
        name = _claim_name(digest)
        with suppress(FileNotFoundError):
            for owner in os.listdir(self._folder):
                path = self._folder / owner / name
                if path.exists():
                    yield path

    def _place(self, owner: str) -> Path:
        """Names of repositories are longer than those of files may be, and have slashes."""
        return self._folder / hashlib.sha256(owner.encode()).hexdigest()

    def _claim(self, owner: str, digest: Digest) -> Path:
        return self._place(owner) / _claim_name(digest)


@dataclass(frozen=True, slots=True)
class Upload:
    """One blob on its way in. Blocks; StoreFull when there is no room, and what came is kept."""

    _shelf: Shelf
    owner: str
    path: Path

    @property
    def id(self) -> str:
        return self.path.stem

    @property
    def offset(self) -> int:
        """Bytes that came: where the client has to go on."""
        with translated(self.path):
            return self.path.stat().st_size

    def require_room(self, needed_bytes: int) -> None:
        """StoreFull before the bytes are sent."""
        require_room(self.path.parent, needed_bytes)

    def append(self, pieces: Sequence[bytes]) -> None:
        """The next bytes; they outlive the program when it returns. The disk has them early, so that the end
        of a large upload does not wait for all of it.
        """
        size = sum(map(len, pieces))
        with translated(self.path, size):
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                for piece in pieces:
                    left = memoryview(piece)
                    while left:
                        left = left[os.write(fd, left) :]
                self._shelf.disk.begin_sync(fd, os.fstat(fd).st_size - size, size)
            finally:
                os.close(fd)

    def truncate(self, size: int) -> None:
        """Takes back what came after so many bytes."""
        with translated(self.path):
            os.truncate(self.path, size)

    def drop(self) -> None:
        """It is given up."""
        with translated(self.path):
            self.path.unlink(missing_ok=True)


def _digest_of(path: Path) -> Digest:
    """Of a claim."""
    algorithm, _, digits = path.name.removesuffix(_CLAIM).partition("-")
    return Digest(algorithm, digits)


def _was_brought(claim: Path) -> bool:
    return claim.read_bytes().startswith(_BROUGHT)


def _claim_name(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.hex}{_CLAIM}"
