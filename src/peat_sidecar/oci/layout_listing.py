"""Which packages an image layout in a folder lists, and under which names."""

from dataclasses import dataclass

from peat_sidecar.confined import Directory
from peat_sidecar.errors import ConfigError, NotFound, SourceError
from peat_sidecar.ids import Reference
from peat_sidecar.oci.layout_index import parse_layout_file, parse_layout_index, ref_name
from peat_sidecar.oci.layouts import INDEX_LIMIT_BYTES
from peat_sidecar.oci.tags import is_referrers_tag
from peat_sidecar.packages import Descriptor

_IMAGE_NAME = "io.containerd.image.name"


@dataclass(frozen=True, slots=True)
class ListedPackage:
    """An entry of `index.json` that is a package of its own."""

    root: Descriptor
    tag: str
    """As the layout has it; empty where it has none."""
    reference: str
    """In full, with a registry, where the layout has one; else empty."""


def list_layout(directory: Directory) -> list[ListedPackage]:
    """The packages of a layout, in its order, each name once; the last of a name counts.

    Referrers are not among them: they come with what they refer to. `SourceError` for a folder that is no
    layout, or not yet a whole one. Blocks.
    """
    try:
        parse_layout_file(directory.read_file("oci-layout", 4096), directory.path)
        raw = directory.read_file("index.json", INDEX_LIMIT_BYTES)
    except NotFound as error:
        raise SourceError(f"{directory.path} is no OCI image layout, or not yet: {error}") from None
    found: dict[str, ListedPackage] = {}
    for entry in parse_layout_index(raw, directory.path).manifests:
        tag = ref_name(entry) or ""
        reference = _reference(entry.annotations.get(_IMAGE_NAME)) or _reference(tag)
        if not entry.is_manifest and not entry.is_index:
            continue
        if is_referrers_tag(tag) or (not tag and not reference and entry.artifact_type is not None):
            continue
        name = reference or tag or str(entry.digest)
        found.pop(name, None)
        found[name] = ListedPackage(entry, tag, reference)
    return list(found.values())


def _reference(text: str | None) -> str:
    """A whole reference; empty for a tag alone, or nothing."""
    if not text or "/" not in text:
        return ""
    try:
        return str(Reference.parse(text))
    except ConfigError:
        return ""
