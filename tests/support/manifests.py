"""Manifests as real tools write them, in code: what parsers of packages are tried on.

Digests are of short texts, so that tests can name blobs by what they stand for.
"""

import hashlib
import json
from typing import Any

from peat_sidecar.ids import Digest
from peat_sidecar.packages import Descriptor

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"

Json = dict[str, Any]


def digest_of(data: bytes, algorithm: str = "sha256") -> Digest:
    return Digest(algorithm, hashlib.new(algorithm, data).hexdigest())


def entry(name: str, size: int | None = None, media_type: str = OCI_LAYER, **fields: Any) -> Json:
    """A descriptor of the blob whose bytes are that text."""
    data = name.encode()
    found = {
        "mediaType": media_type,
        "digest": str(digest_of(data)),
        "size": len(data) if size is None else size,
    }
    return found | fields


def encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def image(*layers: str, **fields: Any) -> Json:
    """An OCI image with layers of those names."""
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": entry("config of " + " ".join(layers), media_type=OCI_CONFIG),
        "layers": [entry(name) for name in layers],
    } | fields


def index(*manifests: Json, **fields: Any) -> Json:
    """An OCI index over descriptors."""
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(manifests)} | fields


class Shelf:
    """Documents by digest, as a source has them."""

    def __init__(self) -> None:
        self.documents: dict[Digest, bytes] = {}

    def put(self, document: Json, algorithm: str = "sha256", **fields: Any) -> Json:
        """Keeps a document; how an index names it."""
        raw = encoded(document)
        digest = digest_of(raw, algorithm)
        self.documents[digest] = raw
        media_type = document.get("mediaType", OCI_MANIFEST)
        return {"mediaType": media_type, "digest": str(digest), "size": len(raw)} | fields

    def root(self, document: Json, algorithm: str = "sha256") -> Descriptor:
        """Keeps a document that is a package's root."""
        return descriptor(self.put(document, algorithm))


def descriptor(made: Json) -> Descriptor:
    return Descriptor(made["mediaType"], Digest.parse(made["digest"]), made["size"])


def platform(text: str) -> Json:
    """How an index says `os/architecture[/variant]`."""
    os, architecture, *variant = text.split("/")
    return {
        "platform": {"architecture": architecture, "os": os} | ({"variant": variant[0]} if variant else {})
    }


ZARF_LAYERS = ("zarf.yaml", "checksums.txt", "components/init.tar", "images/oci-layout", "sboms.tar")


def zarf() -> Json:
    """A Zarf package: titles on the layers, a config of its own, annotations. Its index says os multi."""
    document = image(*ZARF_LAYERS)
    document["config"] = entry(
        '{"architecture":"amd64","ociVersion":"1.1"}', media_type="application/vnd.zarf.config.v1+json"
    )
    document["layers"] = [
        entry(
            name,
            media_type="application/vnd.zarf.layer.v1.blob",
            annotations={"org.opencontainers.image.title": name},
        )
        for name in ZARF_LAYERS
    ]
    document["annotations"] = {
        "org.opencontainers.image.title": "init",
        "org.opencontainers.image.description": "é ✓",
    }
    return document


def cosign_signature() -> Json:
    """What `cosign sign` pushes under the tag sha256-<hex>.sig: its layer is the signed payload."""
    return {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": entry("cosign config", media_type=OCI_CONFIG),
        "layers": [
            entry(
                '{"critical":{}}',
                media_type="application/vnd.dev.cosign.simplesigning.v1+json",
                annotations={
                    "dev.cosignproject.cosign/signature": "MEUCIQ==",
                    "dev.sigstore.cosign/bundle": '{"SignedEntryTimestamp":"MEUC","Payload":{"body":"e30"}}',
                },
            )
        ],
    }


def helm_chart() -> Json:
    """What `helm push` writes: no mediaType of its own."""
    return {
        "schemaVersion": 2,
        "config": entry("helm config", media_type="application/vnd.cncf.helm.config.v1+json"),
        "layers": [
            entry("chart", media_type="application/vnd.cncf.helm.chart.content.v1.tar+gzip"),
            entry("provenance", media_type="application/vnd.cncf.helm.chart.provenance.v1.prov"),
        ],
        "annotations": {"org.opencontainers.image.version": "1.2.3"},
    }


def docker_image() -> Json:
    """What `docker push` writes; Windows images begin with a foreign layer."""
    foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    return {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST,
        "config": entry("docker config", media_type="application/vnd.docker.container.image.v1+json"),
        "layers": [
            entry("windows base", media_type=foreign, urls=["https://example.invalid/base"]),
            entry("app", media_type="application/vnd.docker.image.rootfs.diff.tar.gzip"),
        ],
    }


def artifact(subject: Json | None = None) -> Json:
    """What `oras attach` writes: an artifactType, the empty config with its data inside, a subject."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/spdx+json",
        "config": entry("{}", media_type=OCI_EMPTY, data="e30="),
        "layers": [entry('{"spdxVersion":"SPDX-2.3"}', media_type="application/spdx+json")],
    }
    return document | ({"subject": subject} if subject else {})
