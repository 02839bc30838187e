"""What peers do for a transfer, and what happened on its way, as messages of the API."""

from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.transfer import Progress, SourceState, TransferEvent

_SHOWN_LIMIT = 32
_STATES = {
    SourceState.WORKING: pb.SourceState.WORKING,
    SourceState.IDLE: pb.SourceState.IDLE,
    SourceState.SILENT: pb.SourceState.SILENT,
    SourceState.GONE: pb.SourceState.GONE,
    SourceState.LACKING: pb.SourceState.LACKING,
    SourceState.BANNED: pb.SourceState.BANNED,
}


def source_messages(progress: Progress) -> list[pb.TransferSource]:
    """Who brought most comes first."""
    sources = sorted(progress.sources.copy().items(), key=lambda each: each[1].done_bytes, reverse=True)
    total = sum(source.done_bytes for _, source in sources)
    return [
        pb.TransferSource(
            endpoint_id=str(peer),
            done_bytes=source.done_bytes,
            share=source.done_bytes / total if total else 0.0,
            bytes_per_second=source.bytes_per_second,
            state=_STATES[source.state],
            why=source.why,
            connections=source.connections,
        )
        for peer, source in sources[:_SHOWN_LIMIT]
    ]


def event_message(event: TransferEvent) -> pb.TransferEvent:
    return pb.TransferEvent(
        at=event.at, kind=event.kind.value, endpoint_id=str(event.peer or ""), detail=event.detail
    )
