"""Bytes to values and back for the iroh-blobs protocol, ALPN `/iroh-bytes/4`, and for the mesh. Sans-I/O.

What comes from a peer may be anything: it is read in time and memory bounded by its length, and what is no
such value is a `RemoteProtocolError`, never another exception. A ticket comes from people: `ConfigError`.
What is asked to be encoded comes from this program: what cannot be is a `ValueError`.
"""

from peat_sidecar.wire.collections import (
    Collection,
    encode_collection,
    encode_hash_sequence,
    parse_collection,
    parse_hash_sequence,
)
from peat_sidecar.wire.mesh_frames import (
    MESH_ALPN,
    Batches,
    Digest,
    Frame,
    FrameReader,
    Heads,
    Held,
    News,
    Want,
    Wanted,
    WireBatch,
    WireHead,
    WireRecord,
    encode_frame,
)
from peat_sidecar.wire.observe import ObserveItem, ObserveReader, encode_observe_item
from peat_sidecar.wire.peer_tickets import parse_peer, peer_ticket
from peat_sidecar.wire.protocol import ALPN, BODY_LIMIT, REQUEST_LIMIT, ErrorCode, RequestType
from peat_sidecar.wire.ranges_sequence import RANGES_LIMIT, RangesSeq, TooManyRanges
from peat_sidecar.wire.requests import (
    SIZE_BYTES,
    Get,
    GetMany,
    Observe,
    Push,
    Request,
    encode_request,
    encode_size,
    parse_request,
    parse_size,
)
from peat_sidecar.wire.ticket_parts import ticket_addresses
from peat_sidecar.wire.tickets import Ticket

__all__ = [
    "ALPN",
    "BODY_LIMIT",
    "MESH_ALPN",
    "RANGES_LIMIT",
    "REQUEST_LIMIT",
    "SIZE_BYTES",
    "Batches",
    "Collection",
    "Digest",
    "ErrorCode",
    "Frame",
    "FrameReader",
    "Get",
    "GetMany",
    "Heads",
    "Held",
    "News",
    "Observe",
    "ObserveItem",
    "ObserveReader",
    "Push",
    "RangesSeq",
    "Request",
    "RequestType",
    "Ticket",
    "TooManyRanges",
    "Want",
    "Wanted",
    "WireBatch",
    "WireHead",
    "WireRecord",
    "encode_collection",
    "encode_frame",
    "encode_hash_sequence",
    "encode_observe_item",
    "encode_request",
    "encode_size",
    "parse_collection",
    "parse_hash_sequence",
    "parse_peer",
    "parse_request",
    "parse_size",
    "peer_ticket",
    "ticket_addresses",
]
