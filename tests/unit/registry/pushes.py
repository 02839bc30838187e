"""Pushes over an asynchronous client."""

from typing import Any

import httpx

from tests.support.images import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from tests.support.registry_client import digest_of, encoded


async def push_blob(client: httpx.AsyncClient, name: str, data: bytes) -> str:
    """In one request; its digest."""
    digest = digest_of(data)
    answer = await client.post(f"/v2/{name}/blobs/uploads/", params={"digest": digest}, content=data)
    assert answer.status_code == 201, answer.text
    return digest


async def push_manifest(client: httpx.AsyncClient, name: str, document: Any, tag: str | None = None) -> str:
    """Its digest."""
    raw = encoded(document)
    media_type = {"Content-Type": document["mediaType"]}
    path = f"/v2/{name}/manifests/{tag or digest_of(raw)}"
    answer = await client.put(path, content=raw, headers=media_type)
    assert answer.status_code == 201, answer.text
    return digest_of(raw)


async def image(client: httpx.AsyncClient, name: str, text: str = "a layer") -> dict[str, Any]:
    """The manifest of an image whose blobs were pushed."""
    entries = [
        {"mediaType": kind, "digest": await push_blob(client, name, data), "size": len(data)}
        for kind, data in ((OCI_CONFIG, b"{}"), (OCI_LAYER, text.encode()))
    ]
    return {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": entries[0], "layers": entries[1:]}
