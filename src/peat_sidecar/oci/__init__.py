"""Sources and targets of packages: registries, image layouts and archives, and the credentials for them.

Everything a caller needs is named here. All errors are translated: `NotFound`, `Refused` (credentials,
rights), `IntegrityError` (wrong bytes), `SourceError` (unreachable, or wrong answers), `StoreFull`.
"""

from peat_sidecar.oci.archives import ArchiveSource, ArchiveTarget
from peat_sidecar.oci.catalogue import Catalogue
from peat_sidecar.oci.interfaces import ReadBlob, Source, Target
from peat_sidecar.oci.layout_listing import ListedPackage, list_layout
from peat_sidecar.oci.layouts import LayoutSource, LayoutTarget
from peat_sidecar.oci.options import Credentials, RegistryOptions, is_loopback
from peat_sidecar.oci.registry_source import RegistrySource
from peat_sidecar.oci.registry_target import RegistryTarget
from peat_sidecar.oci.tags import is_referrers_tag, subject_of_tag

__all__ = [
    "ArchiveSource",
    "ArchiveTarget",
    "Catalogue",
    "Credentials",
    "LayoutSource",
    "LayoutTarget",
    "ListedPackage",
    "ReadBlob",
    "RegistryOptions",
    "RegistrySource",
    "RegistryTarget",
    "Source",
    "Target",
    "is_loopback",
    "is_referrers_tag",
    "list_layout",
    "subject_of_tag",
]
