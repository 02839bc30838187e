"""What moves packages: importer, exporter, provider, getter, and the table of what they are doing.

The first two stand between the store and OCI sources and targets, the other two between the store and peers.
"""

from peat_sidecar.transfer.collections import list_package
from peat_sidecar.transfer.events import EventKind, TransferEvent
from peat_sidecar.transfer.exporter import Exporter
from peat_sidecar.transfer.getter import Getter
from peat_sidecar.transfer.importer import Imported, Importer
from peat_sidecar.transfer.limiter import Limiter
from peat_sidecar.transfer.patience import Patience
from peat_sidecar.transfer.progress import Progress
from peat_sidecar.transfer.provider import Provider
from peat_sidecar.transfer.remover import Removed, remove_package
from peat_sidecar.transfer.shaping import Shaper
from peat_sidecar.transfer.source_progress import SourceProgress, SourceState
from peat_sidecar.transfer.sources import Sources
from peat_sidecar.transfer.threads import in_thread, opened
from peat_sidecar.transfer.transfers import Outcome, Transfer, TransferKind, Transfers, TransferState, Work
from peat_sidecar.transfer.verifier import Verifier

__all__ = [
    "EventKind",
    "Exporter",
    "Getter",
    "Imported",
    "Importer",
    "Limiter",
    "Outcome",
    "Patience",
    "Progress",
    "Provider",
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
    "Verifier",
    "Work",
    "in_thread",
    "list_package",
    "opened",
    "remove_package",
]
