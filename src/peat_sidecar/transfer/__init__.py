"""What moves packages: importer, exporter, provider, getter, and the table of what they are doing.

The first two stand between the store and OCI sources and targets, the other two between the store and peers.
"""

from peat_sidecar.transfer.arriving import ArrivingBlob
from peat_sidecar.transfer.clearance import Clearance
from peat_sidecar.transfer.collections import list_package
from peat_sidecar.transfer.events import EventKind, TransferEvent
from peat_sidecar.transfer.exporter import Exporter
from peat_sidecar.transfer.getter import Getter
from peat_sidecar.transfer.import_all import import_all
from peat_sidecar.transfer.importer import Imported, Importer
from peat_sidecar.transfer.limiter import Limiter
from peat_sidecar.transfer.package_documents import PackageDocuments, stored_documents
from peat_sidecar.transfer.patience import Patience
from peat_sidecar.transfer.progress import Progress
from peat_sidecar.transfer.provider import Provider
from peat_sidecar.transfer.pull_through import PullThrough
from peat_sidecar.transfer.readings import Readings
from peat_sidecar.transfer.remover import Removed, remove_package
from peat_sidecar.transfer.shaping import Shaper
from peat_sidecar.transfer.source_progress import SourceProgress, SourceState
from peat_sidecar.transfer.sources import Sources
from peat_sidecar.transfer.threads import in_thread, opened
from peat_sidecar.transfer.transfers import Outcome, Transfer, TransferKind, Transfers, TransferState, Work
from peat_sidecar.transfer.upstream import Upstream
from peat_sidecar.transfer.verifier import Verifier

__all__ = [
    "ArrivingBlob",
    "Clearance",
    "EventKind",
    "Exporter",
    "Getter",
    "Imported",
    "Importer",
    "Limiter",
    "Outcome",
    "PackageDocuments",
    "Patience",
    "Progress",
    "Provider",
    "PullThrough",
    "Readings",
    "Removed",
    "Shaper",
    "SourceProgress",
    "SourceState",
    "Sources",
    "Transfer",
    "TransferEvent",
    "TransferKind",
    "TransferState",
    "Transfers",
    "Upstream",
    "Verifier",
    "Work",
    "import_all",
    "in_thread",
    "list_package",
    "opened",
    "remove_package",
    "stored_documents",
]
