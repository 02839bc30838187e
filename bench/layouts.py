"""OCI image layouts of given layers: what a package looks like that is fetched in a bench."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from mmap import mmap
from pathlib import Path
from typing import Any

_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": []}}


def layers_of(content: mmap, count: int) -> Iterator[bytes]:
    """The content in layers of the same size, but for the last."""
    size = -(-len(content) // count)
    for start in range(0, len(content), size):
        yield content[start : start + size]


def write_layout(directory: Path, layers: Iterable[bytes]) -> None:
    """One image, tagged `v1`."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST_TYPE,
        "config": put(json.dumps(_CONFIG).encode(), _CONFIG_TYPE),
        "layers": [put(layer, _LAYER_TYPE) for layer in layers],
    }
    root = put(json.dumps(manifest).encode(), _MANIFEST_TYPE)
    root["annotations"] = {"org.opencontainers.image.ref.name": "v1"}
    (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [root]}))
