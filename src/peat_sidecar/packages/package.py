"""What a package is once it is known as a whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from peat_sidecar.ids import Digest
from peat_sidecar.packages.descriptors import Descriptor
from peat_sidecar.packages.documents import Index, Manifest


@dataclass(frozen=True)
class Package:
    """A root and everything that is reachable from it, as far as it was chosen."""

    root: Descriptor
    documents: Mapping[Digest, Manifest | Index]
    """Those that were read."""
    blobs: tuple[Descriptor, ...]
    """The root first, then depth first: a document, its config and its layers, each digest once."""
    foreign: tuple[Descriptor, ...]
    """Layers that stay where their `urls` say."""
    missing: tuple[Descriptor, ...]
    """What an index names and was not chosen, is not there, or is no manifest that can be read."""

    @cached_property
    def total_bytes(self) -> int:
        """The sizes of all blobs added up."""
        return sum(blob.size for blob in self.blobs)
