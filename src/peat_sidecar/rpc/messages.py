"""Values of the program as messages of the API, and names from requests as values."""

from contextlib import suppress

from connectrpc.code import Code
from connectrpc.errors import ConnectError

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import BlobHash, Digest, PeerAddress, Reference
from peat_sidecar.mesh import PeerInfo
from peat_sidecar.rpc.codes import code_of
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.mesh_messages import class_message
from peat_sidecar.rpc.source_messages import event_message, source_messages
from peat_sidecar.store import BlobInfo, StoredPackage, Usage
from peat_sidecar.transfer import Transfer, TransferKind, TransferState
from peat_sidecar.wire import Ticket

_KINDS = {
    TransferKind.IMPORT: pb.TransferKind.IMPORT,
    TransferKind.FETCH: pb.TransferKind.FETCH,
    TransferKind.EXPORT: pb.TransferKind.EXPORT,
    TransferKind.VERIFY: pb.TransferKind.VERIFY,
}
_STATES = {
    TransferState.RUNNING: pb.TransferState.RUNNING,
    TransferState.DONE: pb.TransferState.DONE,
    TransferState.FAILED: pb.TransferState.FAILED,
    TransferState.CANCELLED: pb.TransferState.CANCELLED,
}


def parse_blob_name(text: str) -> BlobHash | Digest:
    """A hash or a digest; `ConfigError` for anything else."""
    return Digest.parse(text) if ":" in text else BlobHash.parse(text)


def parse_package_name(text: str) -> BlobHash | Digest | str:
    """A reference as it is listed, the digest of a root, or a collection hash."""
    if not text:
        raise ConfigError("no package is named; give its reference, its root's digest, or its collection")
    if text.startswith(("sha256:", "sha512:")):
        return Digest.parse(text)
    for kind in (BlobHash, Reference):
        with suppress(ConfigError):
            found = kind.parse(text)
            return found if isinstance(found, BlobHash) else str(found)
    return text


def parse_list_as(text: str) -> str | None:
    """The reference that a package is to be listed under, in full; None for none."""
    return str(Reference.parse(text)) if text else None


def parse_digest(text: str) -> Digest | None:
    """None for an empty text."""
    return Digest.parse(text) if text else None


def store_status(directory: str, usage: Usage) -> pb.StoreStatus:
    return pb.StoreStatus(
        directory=directory,
        blobs=usage.blobs,
        bytes=usage.bytes,
        partial_blobs=usage.partial_blobs,
        partial_bytes=usage.partial_bytes,
        packages=usage.packages,
        free_bytes=usage.free_bytes,
    )


def peer_info(peer: PeerInfo) -> pb.PeerInfo:
    return pb.PeerInfo(
        endpoint_id=str(peer.endpoint_id),
        addresses=list(peer.addresses),
        connected=peer.connected,
        rtt_seconds=peer.rtt_seconds or 0.0,
        sent_bytes=peer.sent_bytes,
        received_bytes=peer.received_bytes,
        last_error=peer.last_error,
        source=peer.source,
        member=peer.member,
        banned=peer.banned,
        next_dial_seconds=peer.next_dial_seconds or 0.0,
    )


def package_info(package: StoredPackage, node: PeerAddress) -> pb.PackageInfo:
    """With a ticket that names this node."""
    ticket = Ticket(node.endpoint_id, node.addresses, package.collection, is_sequence=True)
    return pb.PackageInfo(
        reference=package.reference or "",
        root=str(package.root.digest),
        media_type=package.root.media_type,
        artifact_type=package.root.artifact_type or "",
        collection=str(package.collection),
        blobs=len(package.blobs),
        bytes=package.bytes,
        ticket=str(ticket),
    )


def blob_status(blob: BlobInfo) -> pb.BlobStatus:
    """A blob that is here, at least in part."""
    state = pb.BlobState.COMPLETE if blob.complete else pb.BlobState.PARTIAL
    return pb.BlobStatus(
        hash=str(blob.hash),
        digest=str(blob.digest or ""),
        state=state,
        size=blob.size,
        present_bytes=blob.present,
        media_type=blob.media_type or "",
        linked=blob.linked,
    )


def transfer_message(transfer: Transfer, node: PeerAddress) -> pb.Transfer:
    progress, outcome, error = transfer.progress, transfer.outcome, transfer.error
    foreign = outcome.foreign if outcome is not None else tuple(progress.foreign)
    message = pb.Transfer(
        id=transfer.id,
        kind=_KINDS[transfer.kind],
        state=_STATES[transfer.state],
        subject=transfer.subject,
        other_side=transfer.other_side,
        total_bytes=progress.total_bytes,
        done_bytes=progress.done_bytes,
        total_blobs=progress.total_blobs,
        done_blobs=progress.done_blobs,
        wire_bytes=progress.wire_bytes,
        bytes_per_second=transfer.bytes_per_second,
        eta_seconds=transfer.eta_seconds,
        elapsed_seconds=transfer.elapsed_seconds,
        waiting_for=progress.waiting_for,
        error=str(error or ""),
        error_code=code_of(error).value if error is not None else "",
        foreign=[str(layer.digest) for layer in foreign],
        sources=source_messages(progress),
        events=[event_message(each) for each in progress.events.all],
    )
    if transfer.kind is TransferKind.FETCH:
        message.transfer_class = class_message(progress.transfer_class)
    if outcome is not None:
        message.package = package_info(outcome.package, node) if outcome.package is not None else None
        message.packages = outcome.packages
        message.blob = blob_status(outcome.blob) if outcome.blob is not None else None
        message.referrers = [package_info(each, node) for each in outcome.referrers]
    return message


async def ended_transfer_message(transfer: Transfer, node: PeerAddress, *, wait: bool) -> pb.Transfer:
    """As it is now, or at its end; then its error is the call's own."""
    if wait:
        await transfer.wait()
        if transfer.state is TransferState.CANCELLED:
            raise ConnectError(Code.CANCELED, f"transfer {transfer.id} was cancelled")
        if transfer.error is not None:
            raise ConnectError(code_of(transfer.error), str(transfer.error))
    return transfer_message(transfer, node)
