"""Reads two copies of an image back from where they lie, and compares them.

This code shares nothing with the sidecar's.
A copy is an OCI image layout or a repository in a registry. Compared are the bytes of the root manifest and
of every blob that it reaches; each is also hashed and held against its own digest.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

_PIECE_BYTES = 1 << 20
_ACCEPT = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"


class Different(Exception):
    """The copies are not the same; the text says where."""


class Copy(Protocol):
    """One copy of an image."""

    def root(self) -> bytes:
        """The root manifest, as it is stored."""
        ...

    def pieces(self, digest: str) -> Iterator[bytes]:
        """The bytes of a blob."""
        ...


@dataclass(frozen=True, slots=True)
class LayoutCopy:
    """In an OCI image layout whose `index.json` names one image."""

    directory: Path

    def root(self) -> bytes:
        index = json.loads((self.directory / "index.json").read_bytes())
        if len(index["manifests"]) != 1:
            raise Different(f"{self.directory} names {len(index['manifests'])} images, not one")
        return b"".join(self.pieces(index["manifests"][0]["digest"]))

    def pieces(self, digest: str) -> Iterator[bytes]:
        with (self.directory / "blobs" / digest.replace(":", "/")).open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece


@dataclass(frozen=True, slots=True)
class RegistryCopy:
    """In a repository of a registry on loopback."""

    url: str
    """Of the repository, as `http://127.0.0.1:5000/v2/app/a`."""
    tag: str

    def root(self) -> bytes:
        answer = httpx.get(f"{self.url}/manifests/{self.tag}", headers={"Accept": _ACCEPT}, timeout=30)
        answer.raise_for_status()
        return answer.content

    def pieces(self, digest: str) -> Iterator[bytes]:
        with httpx.stream("GET", f"{self.url}/blobs/{digest}", timeout=30, follow_redirects=True) as answer:
            answer.raise_for_status()
            yield from answer.iter_bytes(_PIECE_BYTES)


@dataclass(frozen=True, slots=True)
class Equal:
    """What was found equal."""

    root_digest: str
    blobs: int
    """Without the root."""
    bytes: int
    """Of the root and the blobs."""


def compare(left: Copy, right: Copy) -> Equal:
    """`Different` at the first byte that is not the same."""
    root = left.root()
    if right.root() != root:
        raise Different("the root manifests are not the same")
    total = len(root)
    blobs = descriptors(root)
    for descriptor in blobs:
        total += _compare_blob(descriptor, left, right)
    return Equal(f"sha256:{hashlib.sha256(root).hexdigest()}", len(blobs), total)


def descriptors(root: bytes) -> list[dict[str, Any]]:
    """Of all blobs that a manifest names."""
    manifest = json.loads(root)
    return [manifest["config"], *manifest["layers"]]


def _compare_blob(descriptor: dict[str, Any], left: Copy, right: Copy) -> int:
    digest = descriptor["digest"]
    sha256 = hashlib.sha256()
    size = 0
    with _evenly(left.pieces(digest)) as one, _evenly(right.pieces(digest)) as other:
        for ours, theirs in zip(one, other, strict=True):
            if ours != theirs:
                raise Different(f"{digest} differs within the 1 MiB at byte {size}")
            sha256.update(ours)
            size += len(ours)
    if f"sha256:{sha256.hexdigest()}" != digest or size != descriptor["size"]:
        raise Different(f"{digest} has other bytes than its name says, in both copies")
    return size


@contextmanager
def _evenly(pieces: Iterator[bytes]) -> Iterator[Iterator[bytes]]:
    """The same bytes in pieces of one size, so that two readers stay in step, and an empty one at the end,
    so that a copy that is longer by whole pieces is noticed too."""

    def regrouped() -> Iterator[bytes]:
        buffer = bytearray()
        for piece in pieces:
            buffer += piece
            while len(buffer) >= _PIECE_BYTES:
                yield bytes(buffer[:_PIECE_BYTES])
                del buffer[:_PIECE_BYTES]
        yield bytes(buffer)

    try:
        yield regrouped()
    finally:
        close = getattr(pieces, "close", None)
        if close is not None:
            close()
