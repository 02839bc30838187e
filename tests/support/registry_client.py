"""A client of registries that is as plain as the specification: one method for each step of a push."""

import hashlib
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from peat_sidecar.packages import MANIFEST_MEDIA_TYPES
from tests.support.images import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST

_WAIT_SECONDS = 30.0
_NUMBERS = itertools.count(1)


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def encoded(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


@dataclass
class RegistryClient:
    """Requests to one repository, which is a new one unless it is named."""

    http: httpx.Client
    name: str = field(default_factory=lambda: f"conformance/case-{next(_NUMBERS)}")

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Of a path within the repository."""
        return self.http.request(method, f"/v2/{self.name}/{path}", **options)

    def follow(self, method: str, answer: httpx.Response, **options: Any) -> httpx.Response:
        """Of the `Location` of an answer, whose query stays."""
        params = options.pop("params", {})
        url = self.http.base_url.join(answer.headers["Location"]).copy_merge_params(params)
        return self.http.request(method, url, **options)

    def begin(self) -> httpx.Response:
        """An upload."""
        answer = self.ask("POST", "blobs/uploads/")
        assert answer.status_code == 202, answer.text
        return answer

    def push_blob(self, data: bytes, algorithm: str = "sha256") -> str:
        """In two requests; its digest."""
        digest = digest_of(data, algorithm)
        done = self.follow("PUT", self.begin(), params={"digest": digest}, content=data)
        assert done.status_code == 201, done.text
        return digest

    def push_manifest(self, document: Any, name: str | None = None, algorithm: str = "sha256") -> str:
        """Under a tag, or its digest; its digest."""
        raw = document if isinstance(document, bytes) else encoded(document)
        digest = digest_of(raw, algorithm)
        media_type = json.loads(raw).get("mediaType", OCI_MANIFEST)
        answer = self.put_manifest(raw, name or digest, media_type)
        assert answer.status_code == 201, answer.text
        return digest

    def put_manifest(self, raw: bytes, name: str, media_type: str = OCI_MANIFEST) -> httpx.Response:
        return self.ask("PUT", f"manifests/{name}", content=raw, headers={"Content-Type": media_type})

    def image(self, text: str = "a layer", algorithm: str = "sha256", **fields: Any) -> dict[str, Any]:
        """An image whose blobs are pushed; its manifest."""
        blobs = {OCI_CONFIG: b'{"of":' + encoded(text) + b"}", OCI_LAYER: text.encode()}
        config, layer = (
            {"mediaType": kind, "digest": self.push_blob(data, algorithm), "size": len(data)}
            for kind, data in blobs.items()
        )
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [layer]}
        return document | fields

    def get(self, name: str) -> httpx.Response:
        """A manifest."""
        return self.ask("GET", f"manifests/{name}")


def descriptor(document: Any, algorithm: str = "sha256", **fields: Any) -> dict[str, Any]:
    """How an index or a subject names a document."""
    raw = document if isinstance(document, bytes) else encoded(document)
    media_type = json.loads(raw)["mediaType"]
    return {"mediaType": media_type, "digest": digest_of(raw, algorithm), "size": len(raw)} | fields


def index(*documents: Any, **fields: Any) -> dict[str, Any]:
    """Over documents."""
    manifests = [descriptor(each) for each in documents]
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests} | fields


def code_of(answer: httpx.Response) -> str:
    """The specification's code of an error."""
    (error,) = answer.json()["errors"]
    assert error["message"]
    return str(error["code"])


@contextmanager
def registry_http(address: str, **options: Any) -> Iterator[httpx.Client]:
    """A client of `host:port` over plain HTTP."""
    headers = {"Accept": ", ".join(MANIFEST_MEDIA_TYPES), **options.pop("headers", {})}
    options |= {"base_url": f"http://{address}", "timeout": _WAIT_SECONDS, "trust_env": False}
    with httpx.Client(headers=headers, **options) as made:
        yield made
