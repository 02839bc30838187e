"""Signed records, their merge to documents, and their database.

A record is what one signer currently says of one document; a document is the merge of its records, the same
on every node that has the same records, whatever order they came in. Records are proven before they are
stored, stored before they are passed on, and replaced by newer ones of the same signer, so that there is no
history. Knows no network and no asyncio: sync takes batches out here and puts them in there. Synchronous and
thread-safe; a write is on the disk when its call returns.
"""

from peat_sidecar.records.bounds import BODY_LIMIT_BYTES, check_collection, check_names
from peat_sidecar.records.clock import clock_at
from peat_sidecar.records.record import CLEARED, Field, Record, SignedRecord, parse_record, sign_record
from peat_sidecar.records.records import BATCH_LIMIT_BYTES, Records
from peat_sidecar.records.signing import Signer
from peat_sidecar.records.values import (
    OWNED,
    Batch,
    Change,
    Document,
    Fault,
    FaultKind,
    Head,
    Merged,
    RecordsStatus,
)

__all__ = [
    "BATCH_LIMIT_BYTES",
    "BODY_LIMIT_BYTES",
    "CLEARED",
    "OWNED",
    "Batch",
    "Change",
    "Document",
    "Fault",
    "FaultKind",
    "Field",
    "Head",
    "Merged",
    "Record",
    "Records",
    "RecordsStatus",
    "SignedRecord",
    "Signer",
    "check_collection",
    "check_names",
    "clock_at",
    "parse_record",
    "sign_record",
]
