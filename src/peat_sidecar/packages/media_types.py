"""The media types that decide how a document is read, and which layers stay where they are."""

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

SINGLE = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
LISTS = frozenset({OCI_INDEX, DOCKER_LIST})

MANIFEST_MEDIA_TYPES = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST)
"""Every kind of root that is read; what a client says that it accepts."""

SCHEMA1 = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
"""Given up by everyone: their digests depend on a signature that registries make anew."""

# Layers that their licence keeps out of registries; they are fetched from `urls`, if at all.
FOREIGN_PREFIXES = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)
