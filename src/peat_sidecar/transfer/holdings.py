"""What a peer holds of a blob right now: the first item of an Observe."""

from peat_sidecar.ids import BlobHash
from peat_sidecar.net import Connection, StreamEnded
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.wire import Observe, ObserveItem, ObserveReader, encode_request

_READ_BYTES = 1 << 16
_GIVEN_UP = 0


async def holdings(connection: Connection, blob_hash: BlobHash) -> ObserveItem:
    """Size and chunks as the peer says; single chunks may be claimed that it cannot serve."""
    stream = await connection.open_stream()
    try:
        await stream.write(encode_request(Observe(blob_hash, ChunkRanges.all())))
        await stream.finish()
        reader = ObserveReader()
        while data := await stream.read(_READ_BYTES):
            if items := reader.feed(data):
                return items[0]
        raise StreamEnded(f"peer {stream.remote_id.short} does not say what it holds of blob {blob_hash}")
    finally:
        await stream.stop(_GIVEN_UP)
