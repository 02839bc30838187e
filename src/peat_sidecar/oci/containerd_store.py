"""containerd's content store on this machine's disk, read in place.

Beneath its `root` a blob is `io.containerd.content.v1.content/blobs/<algorithm>/<hex>`; which image has which
name is in the bolt database `io.containerd.metadata.v1.bolt/meta.db`, by namespace (`k8s.io` is
Kubernetes'). containerd may run and write meanwhile. Nothing is ever written here.

An image whose layers containerd has dropped after unpacking (`discard_unpacked_layers`) cannot be read.
"""

import os
from collections.abc import Iterator
from contextlib import suppress

from peat_sidecar.confined import Directory
from peat_sidecar.errors import ConfigError, NotFound, PeatError, SourceError
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.oci.bolt import Bucket, read_bolt
from peat_sidecar.oci.file_reader import FileReader, Folder
from peat_sidecar.oci.named_packages import NamedPackage, only_one
from peat_sidecar.oci.tags import is_referrers_tag
from peat_sidecar.packages import Descriptor

_BLOBS = "io.containerd.content.v1.content/blobs"
_METADATA = "io.containerd.metadata.v1.bolt/meta.db"

Images = dict[str, dict[str, Digest]]
"""What each name stands for in each namespace that has it."""


class ContainerdSource(FileReader):
    """A package in containerd's store. A choice is the name of an image, or a digest."""

    def __init__(self, directory: Directory, choice: str | Digest | None = None) -> None:
        """Takes the directory over: closing the source closes it."""
        super().__init__(Folder(directory), directory.path, choice)
        self._directory = directory

    def _file_name(self, digest: Digest) -> str:
        return f"{_BLOBS}/{digest.algorithm}/{digest.hex}"

    def _resolve(self) -> Descriptor:
        if isinstance(self._choice, Digest):
            return self._unlisted(self._choice)
        images = _images(self._directory)
        name = self._choice or only_one(_packages(images), self._place)
        if name not in images:
            shown = ", ".join(sorted(images)[:20]) or "none"
            raise NotFound(f"{self._place} has no image {name!r}; its images are: {shown}")
        if len(set(images[name].values())) > 1:
            meant = ", ".join(f"{digest} in {namespace}" for namespace, digest in images[name].items())
            raise NotFound(f"{name} stands for several images; choose one by its digest: {meant}")
        return self._unlisted(next(iter(images[name].values())))

    def _entries(self) -> Iterator[tuple[str, Descriptor]]:
        for name, by_namespace in _images(self._directory).items():
            for digest in set(by_namespace.values()):
                with suppress(PeatError):  # gone, or of a kind that has no manifest
                    yield name.rpartition(":")[2], self._unlisted(digest)


def list_containerd(directory: Directory) -> list[NamedPackage]:
    """All images of all namespaces, each once. `SourceError` for a folder that is no root of containerd.
    Blocks.
    """
    return _packages(_images(directory))


def _packages(images: Images) -> list[NamedPackage]:
    """Names by tag, and names by digest of what has no other; Kubernetes gives each image both, and its id as
    a third. A name that stands for several images counts by its digests.
    """
    tagged: list[NamedPackage] = []
    by_digest: dict[Digest, NamedPackage] = {}
    named: set[Digest] = set()
    for name, by_namespace in sorted(images.items()):
        try:
            reference = Reference.parse(name)
        except ConfigError:  # an id
            continue
        digests = set(by_namespace.values())
        if is_referrers_tag(reference.tag or ""):
            continue
        if reference.tag and not reference.digest and len(digests) == 1:
            tagged.append(NamedPackage(name, name))
            named |= digests
            continue
        for digest in sorted(digests, key=str):
            place = Reference(reference.registry, reference.repository, None, digest)
            by_digest.setdefault(digest, NamedPackage(str(digest), str(place)))
    return tagged + [package for digest, package in by_digest.items() if digest not in named]


def _images(directory: Directory) -> Images:
    if not directory.exists(_BLOBS) or not directory.exists(_METADATA):
        raise SourceError(
            f"{directory.path} is no root of containerd: it has no {_BLOBS} or no {_METADATA};"
            " name what its configuration has as root, usually /var/lib/containerd"
        )
    file = directory.open_file(_METADATA)
    try:
        return read_bolt(file, os.path.join(directory.path, _METADATA), _read_images)
    finally:
        os.close(file)


def _read_images(root: Bucket) -> Images:
    """Bucket `v1`, in it one for each namespace, `images`, the name, `target`, the key `digest`."""
    found: Images = {}
    version = root.bucket("v1")
    for namespace, content in version.buckets() if version else ():
        images = content.bucket("images")
        for name, image in images.buckets() if images else ():
            target = image.bucket("target")
            digest = dict(target.items()).get(b"digest") if target else None
            if isinstance(digest, bytes):
                with suppress(ConfigError):
                    found.setdefault(name, {})[namespace] = Digest.parse(digest.decode("ascii", "replace"))
    return found
