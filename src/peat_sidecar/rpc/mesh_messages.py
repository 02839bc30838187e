"""Values of the mesh as messages of the API."""

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import ConfigError
from peat_sidecar.mesh import Quote, Roster, Want
from peat_sidecar.records import Fault, RecordsStatus
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.state import Ban, ExportRow

_CLASSES = {
    TransferClass.CRITICAL: pb.TransferClass.CRITICAL,
    TransferClass.HIGH: pb.TransferClass.HIGH,
    TransferClass.NORMAL: pb.TransferClass.NORMAL,
    TransferClass.LOW: pb.TransferClass.LOW,
    TransferClass.BULK: pb.TransferClass.BULK,
}
_WANT_STATES = {
    "waiting": pb.WantState.WAITING,
    "fetching": pb.WantState.FETCHING,
    "done": pb.WantState.DONE,
    "failed": pb.WantState.FAILED,
}


def parse_class(value: pb.TransferClass) -> TransferClass | None:
    """None for none; `ConfigError` for a number of another version."""
    if value == pb.TransferClass.UNSPECIFIED:
        return None
    for each, message in _CLASSES.items():
        if message == value:
            return each
    raise ConfigError(f"there is no transfer class {int(value)}; there are {', '.join(TransferClass)}")


def class_message(transfer_class: TransferClass) -> pb.TransferClass:
    return _CLASSES[transfer_class]


def ban_message(ban: Ban) -> pb.Ban:
    return pb.Ban(endpoint_id=str(ban.endpoint_id), reason=ban.reason, banned_at=ban.at)


def roster_message(roster: Roster) -> pb.Roster:
    return pb.Roster(
        sequence=roster.sequence,
        app_id=roster.app_id,
        signed_at=roster.signed_at,
        entries=[
            pb.RosterEntry(endpoint_id=str(id), agent_id=entry.agent_id, role=entry.role.value)
            for id, entry in roster.entries.items()
        ],
    )


def records_message(status: RecordsStatus) -> pb.RecordsStatus:
    return pb.RecordsStatus(
        documents=status.documents,
        records=status.records,
        signers=status.signers,
        set_aside=status.ahead,
        bytes=status.bytes,
    )


def fault_message(fault: Fault) -> pb.RecordFault:
    return pb.RecordFault(
        kind=fault.kind.value,
        signer=str(fault.signer or ""),
        source=str(fault.source or ""),
        collection=fault.collection,
        doc_id=fault.doc_id,
        detail=fault.detail,
        count=fault.count,
        seen_at=fault.seen_at,
    )


def export_message(row: ExportRow) -> pb.ExportStatus:
    return pb.ExportStatus(target=row.target, attempts=row.attempts, last_error=row.last_error)


def want_message(want: Want) -> pb.Want:
    return pb.Want(
        id=want.id,
        name=want.name,
        transfer_class=_CLASSES[want.transfer_class],
        origin=want.origin,
        state=_WANT_STATES[want.state],
        why=want.why,
        transfer_id=want.transfer_id,
        created_at=want.created_at,
        providers=want.providers,
        total_bytes=want.total_bytes,
        done_bytes=want.done_bytes,
        arch=want.arch,
        export_to=want.export_to,
        reference=want.reference,
        deadline=want.deadline,
    )


def quote_message(quote: Quote) -> pb.QuoteResponse:
    return pb.QuoteResponse(
        name=quote.name,
        root=str(quote.root or ""),
        collection=str(quote.collection or ""),
        total_bytes=quote.total_bytes,
        missing_bytes=quote.missing_bytes,
        providers=[
            pb.Provider(
                endpoint_id=str(each.endpoint_id),
                agent_id=each.agent_id,
                state=each.state,
                connected=each.connected,
            )
            for each in quote.providers
        ],
        bytes_per_second=quote.rate,
        eta_seconds=quote.eta_seconds,
        limit_bytes_per_second=quote.limit or 0.0,
        free_bytes=quote.free_bytes,
        fits=quote.fits,
    )
