"""Image layouts for tests, demo and benches: made of the machine's files, without root, always the same.

`build_image` makes one image. `ImageLayout` is the workbench below it: images, indexes, artifacts, referrers
in both forms, foreign layers, sha512, nested indexes. `build_zoo` makes a small one of each.
"""

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_FOREIGN_LAYER = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
SBOM = "application/spdx+json"
REF_NAME = "org.opencontainers.image.ref.name"

_SOURCES = ("/usr/lib/python3", "/usr/share", "/usr/bin", "/usr/lib", "/usr/local", "/opt")
_LARGEST_FILE_BYTES = 32 << 20

Json = dict[str, Any]


def build_image(
    directory: Path,
    size_mb: float,
    layers: int = 4,
    *,
    tag: str = "v1",
    skip_files: int = 0,
    gzip_level: int = 1,
) -> str:
    """Makes, or adds, an image whose blobs are about `size_mb` 10^6 bytes; the digest of its manifest.

    With another `skip_files` the content begins elsewhere, which makes another image.
    """
    layout = ImageLayout(directory)
    files = machine_files(skip_files)
    made = [layout.layer(int(size_mb * 1e6 / layers), files, gzip_level=gzip_level) for _ in range(layers)]
    return str(layout.tag(layout.image(made), tag)["digest"])


class ImageLayout:
    """An image layout being made; each method writes at once and gives the descriptor as JSON."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
        (directory / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        if not self._index.exists():
            self._write_index([])

    @property
    def _index(self) -> Path:
        return self.directory / "index.json"

    def _write_index(self, manifests: list[Json]) -> None:
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
        self._index.write_bytes(compact(index))

    def path(self, digest: str) -> Path:
        return self.directory / "blobs" / digest.replace(":", "/")

    def blob(self, data: bytes, media_type: str, *, algorithm: str = "sha256") -> Json:
        digest = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
        self.path(digest).parent.mkdir(exist_ok=True)
        self.path(digest).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def layer(
        self,
        size_bytes: int,
        files: Iterator[tuple[str, Path]] | None = None,
        *,
        media_type: str | None = None,
        gzip_level: int = 1,
        algorithm: str = "sha256",
    ) -> Json:
        """A tar of files until the blob has about that size; gzip level 0 leaves it plain.

        The descriptor carries, for `image`, the digest of the plain tar under the key `diff_id`.
        """
        temporary = self.directory / "blobs" / "layer.tmp"
        with temporary.open("wb") as file:
            blob = _Hashing(file, algorithm)
            inner: BinaryIO = blob  # type: ignore[assignment]
            if gzip_level:
                inner = gzip.GzipFile("", "wb", gzip_level, fileobj=blob, mtime=0)  # type: ignore[assignment]
            plain = _Hashing(inner, "sha256")
            with tarfile.open(fileobj=plain, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
                for name, path in files or machine_files():
                    _add_file(tar, name, path)
                    if blob.count >= size_bytes:
                        break
            if gzip_level:
                inner.close()
        digest = f"{algorithm}:{blob.hash.hexdigest()}"
        self.path(digest).parent.mkdir(exist_ok=True)
        temporary.rename(self.path(digest))
        kind = media_type or (OCI_LAYER + "+gzip" if gzip_level else OCI_LAYER)
        return {
            "mediaType": kind,
            "digest": digest,
            "size": blob.count,
            "diff_id": f"sha256:{plain.hash.hexdigest()}",
        }

    def image(
        self,
        layers: Sequence[Json],
        *,
        architecture: str = "amd64",
        os_name: str = "linux",
        docker: bool = False,
        algorithm: str = "sha256",
        **fields: Any,
    ) -> Json:
        """A manifest with its config; fields such as `subject` or `annotations` go into the manifest."""
        diff_ids = [layer.get("diff_id", layer["digest"]) for layer in layers]
        config = {
            "architecture": architecture,
            "os": os_name,
            "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": [{"created_by": f"layer {number}"} for number in range(len(layers))],
        }
        plain = [{key: value for key, value in layer.items() if key != "diff_id"} for layer in layers]
        if docker:
            plain = [layer | {"mediaType": DOCKER_LAYER} for layer in plain]
        media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
        manifest = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": self.blob(
                compact(config), DOCKER_CONFIG if docker else OCI_CONFIG, algorithm=algorithm
            ),
            "layers": plain,
        }
        made = self.blob(compact(manifest | fields), media_type, algorithm=algorithm)
        return made | {"platform": {"os": os_name, "architecture": architecture}}

    def index(self, manifests: Sequence[Json], *, docker: bool = False, **fields: Any) -> Json:
        """An index over manifests, or other indexes."""
        media_type = DOCKER_LIST if docker else OCI_INDEX
        index = {"schemaVersion": 2, "mediaType": media_type, "manifests": list(manifests)}
        return self.blob(compact(index | fields), media_type)

    def artifact(self, data: bytes, artifact_type: str = SBOM, *, subject: Json | None = None) -> Json:
        """A manifest with `artifactType`, the empty config and one layer; with a subject it is a referrer."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": self.blob(b"{}", OCI_EMPTY),
            "layers": [self.blob(data, artifact_type)],
        }
        if subject:
            manifest["subject"] = {key: subject[key] for key in ("mediaType", "digest", "size")}
        return self.blob(compact(manifest), OCI_MANIFEST) | {"artifactType": artifact_type}

    def tag(self, descriptor: Json, tag: str | None = None) -> Json:
        """Lists a descriptor in index.json, under a tag that it takes over from another."""
        entry = {key: value for key, value in descriptor.items() if key != "diff_id"}
        if tag:
            entry["annotations"] = entry.get("annotations", {}) | {REF_NAME: tag}
        others = [
            other
            for other in json.loads(self._index.read_bytes())["manifests"]
            if other.get("annotations", {}).get(REF_NAME) != tag or (not tag and other != entry)
        ]
        self._write_index([*others, entry])
        return descriptor


def build_zoo(directory: Path, layer_bytes: int = 200_000) -> dict[str, Json]:
    """A small one of each kind, by tag; every kind that a registry takes is listed in index.json.

    Not listed: `sha512` (docker-registry refuses it), and `sparse`, an index of two manifests, one missing.
    """
    layout = ImageLayout(directory)
    files = machine_files()
    base, app, plain = (layout.layer(layer_bytes, files) for _ in range(3))
    plain = layout.layer(layer_bytes // 4, files, gzip_level=0)
    made = {
        "image": layout.image([base, app, plain]),
        "docker": layout.image([base, app], docker=True),
        "no-layers": layout.image([]),
        "zarf": layout.index(
            [layout.image([base, plain], os_name="multi") | {"annotations": {"zarf": "yes"}}]
        ),
        "artifact": layout.artifact(b'{"spdxVersion":"SPDX-2.3"}'),
    }
    arm = layout.image([base], architecture="arm64")
    made["multi"] = layout.index([made["image"], arm, layout.image([app], architecture="riscv64")])
    made["docker-list"] = layout.index([made["docker"]], docker=True)
    made["nested"] = layout.index([made["multi"], made["zarf"]], annotations={"nested": "yes"})
    foreign = {
        "mediaType": OCI_FOREIGN_LAYER,
        "digest": f"sha256:{hashlib.sha256(b'not distributed').hexdigest()}",
        "size": 4711,
        "urls": ["https://example.invalid/layer"],
    }
    made["foreign"] = layout.image([base, foreign])
    for tag, descriptor in made.items():
        layout.tag(descriptor, tag)
    # Both forms of a referrer: listed beside its subject, and through the tag of its subject's digest.
    made["sbom"] = layout.tag(layout.artifact(b'{"sbom":1}', subject=made["image"]))
    made["signature"] = layout.artifact(b"signed", "application/vnd.example.signature", subject=made["image"])
    layout.tag(layout.index([made["signature"]]), made["image"]["digest"].replace(":", "-"))
    wide = layout.layer(layer_bytes // 4, files, algorithm="sha512")
    made["sha512"] = layout.image([wide], algorithm="sha512")
    missing = hashlib.sha256(b"missing").hexdigest()
    made["sparse"] = layout.index(
        [
            made["image"],
            {
                "mediaType": OCI_MANIFEST,
                "digest": f"sha256:{missing}",
                "size": 500,
                "platform": {"os": "linux", "architecture": "s390x"},
            },
        ]
    )
    return made


def machine_files(skip_files: int = 0) -> Iterator[tuple[str, Path]]:
    """Names in a layer and files to fill them, always in the same order; from the start again at the end."""
    turn = 0
    while True:
        prefix = f"turn-{turn}" if turn else ""
        for source in _SOURCES:
            for folder, folders, names in os.walk(source):
                folders[:] = sorted(name for name in folders if name != "__pycache__")
                for name in sorted(names):
                    if skip_files:
                        skip_files -= 1
                        continue
                    path = Path(folder, name)
                    yield os.path.join(prefix, str(path).lstrip("/")), path
        turn += 1


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _add_file(tar: tarfile.TarFile, name: str, path: Path) -> None:
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > _LARGEST_FILE_BYTES:
            return
        data = path.read_bytes()
    except OSError:  # unreadable without root: leave it out
        return
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o755 if os.access(path, os.X_OK) else 0o644
    tar.addfile(info, io.BytesIO(data))


class _Hashing:
    """A file that is written through, hashed and counted."""

    def __init__(self, file: BinaryIO, algorithm: str) -> None:
        self._file = file
        self.hash = hashlib.new(algorithm)
        self.count = 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self.hash.update(data)
        self.count += len(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()
