"""Walks and copies packages with sources and targets alone: what importer and exporter do, without a store.

The walk is its own, in plain JSON, so that tests of sources do not stand on the code that they test.
"""

import contextlib
import hashlib
import json
from pathlib import Path

from peat_sidecar.ids import Digest
from peat_sidecar.oci import ReadBlob, Source, Target
from peat_sidecar.packages import Descriptor


def descriptor_of(entry: dict[str, object]) -> Descriptor:
    """A descriptor from the JSON that `tests.support.images` makes."""
    size = entry["size"]
    assert isinstance(size, int)
    return Descriptor(str(entry["mediaType"]), Digest.parse(str(entry["digest"])), size)


def reader_of(data: bytes) -> ReadBlob:
    """What targets read a blob through."""
    return lambda offset, length: data[offset : offset + length]


async def read_blob(source: Source, descriptor: Descriptor, offset: int = 0) -> bytes:
    """A whole blob."""
    async with contextlib.aclosing(source.blob(descriptor, offset)) as pieces:
        return b"".join([piece async for piece in pieces])


async def read_package(source: Source, root: Descriptor | None = None) -> dict[str, bytes]:
    """Every document and blob of a package but foreign layers, by digest, each proven here."""
    root = root or await source.resolve()
    found: dict[str, bytes] = {}
    await _walk(source, root, found)
    for digest, data in found.items():
        algorithm, _, digits = digest.partition(":")
        assert hashlib.new(algorithm, data).hexdigest() == digits
    return found


async def _walk(source: Source, descriptor: Descriptor, found: dict[str, bytes]) -> None:
    raw = await source.read_document(descriptor)
    found[str(descriptor.digest)] = raw
    document = json.loads(raw)
    for child in document.get("manifests", []):
        await _walk(source, descriptor_of(child), found)
    for entry in [document[key] for key in ("config",) if key in document] + document.get("layers", []):
        if "nondistributable" not in entry["mediaType"] and entry["digest"] not in found:
            found[entry["digest"]] = await read_blob(source, descriptor_of(entry))


async def copy_package(source: Source, target: Target, tag: str | None = None) -> Descriptor:
    """Copies a package as the exporter does: blobs, then documents from the leaves up, then the name."""
    root = await source.resolve()
    found: dict[str, bytes] = {}
    await _walk(source, root, found)
    documents: list[Descriptor] = []
    await _documents(source, root, documents)
    named = {document.digest for document in documents}
    for digest, data in found.items():
        blob = Descriptor("application/octet-stream", Digest.parse(digest), len(data))
        if blob.digest not in named and not await target.has_blob(blob):
            await target.push_blob(blob, reader_of(data))
    for document in reversed(documents):
        await target.push_manifest(
            document, found[str(document.digest)], tag if document.digest == root.digest else None
        )
    await target.finish(root, tag)
    return root


async def _documents(source: Source, descriptor: Descriptor, found: list[Descriptor]) -> None:
    found.append(descriptor)
    for child in json.loads(await source.read_document(descriptor)).get("manifests", []):
        await _documents(source, descriptor_of(child), found)


def layout_package(directory: Path, digest: str) -> dict[str, bytes]:
    """What `read_package` must give for a layout, taken from its files."""
    found: dict[str, bytes] = {}

    def walk(digest: str) -> None:
        raw = found[digest] = (directory / "blobs" / digest.replace(":", "/")).read_bytes()
        try:
            document = json.loads(raw)
        except ValueError:
            return
        if not isinstance(document, dict) or "schemaVersion" not in document:
            return
        children = document.get("manifests", []) + document.get("layers", [])
        for child in [*children, *([document["config"]] if "config" in document else [])]:
            if "nondistributable" not in child["mediaType"]:
                walk(child["digest"])

    walk(digest)
    return found
