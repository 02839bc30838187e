"""Sources and targets of packages: registries, image layouts and archives; what registries and containerd
keep on disk; credentials.

Everything a caller needs is named here. All errors are translated: `NotFound`, `Refused` (credentials,
rights), `IntegrityError` (wrong bytes), `SourceError` (unreachable, or wrong answers), `StoreFull`.
"""

from peat_sidecar.oci.archives import ArchiveSource, ArchiveTarget
from peat_sidecar.oci.catalogue import Catalogue
from peat_sidecar.oci.containerd_store import ContainerdSource, list_containerd
from peat_sidecar.oci.failures import ConnectionLost, NoRegistry
from peat_sidecar.oci.interfaces import ReadBlob, Source, Target
from peat_sidecar.oci.layout_listing import ListedPackage, list_layout
from peat_sidecar.oci.layouts import LayoutSource, LayoutTarget
from peat_sidecar.oci.named_packages import NamedPackage
from peat_sidecar.oci.options import Credentials, RegistryOptions, is_loopback
from peat_sidecar.oci.registry_source import RegistrySource
from peat_sidecar.oci.registry_storage import (
    RegistryStorageSource,
    list_registry_storage,
)
from peat_sidecar.oci.registry_target import RegistryTarget
from peat_sidecar.oci.tags import is_referrers_tag, subject_of_tag

__all__ = [
    "ArchiveSource",
    "ArchiveTarget",
    "Catalogue",
    "ConnectionLost",
    "ContainerdSource",
    "Credentials",
    "LayoutSource",
    "LayoutTarget",
    "ListedPackage",
    "NamedPackage",
    "NoRegistry",
    "ReadBlob",
    "RegistryOptions",
    "RegistrySource",
    "RegistryStorageSource",
    "RegistryTarget",
    "Source",
    "Target",
    "is_loopback",
    "is_referrers_tag",
    "list_containerd",
    "list_layout",
    "list_registry_storage",
    "subject_of_tag",
]
