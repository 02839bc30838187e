"""Copies of short changes, in datagrams, while blobs fill a link.

The link's queue then drops a packet in six, and the transport notices that several round trips later; what
comes after it on the stream waits for it. A record may come twice and in any order, so it goes again at once.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping

from peat_sidecar.ids import EndpointId
from peat_sidecar.net import DATAGRAM_BYTES, Connection
from peat_sidecar.wire import Batches, FrameReader, WireBatch

COPIES_AFTER_SECONDS = (0.25, 0.6, 1.0)
"""A queue that has dropped one packet drops its neighbours as well."""


class Copies:
    """Of what one session gives. What is lost of them is not sent again."""

    def __init__(self, connection: Connection, is_crowded: Callable[[], bool]) -> None:
        """`is_crowded`: whether blobs are being sent."""
        self._connection = connection
        self._is_crowded = is_crowded

    def follow(self, data: bytes) -> None:
        """A frame with records has been written to the stream."""
        if len(data) > DATAGRAM_BYTES or not self._is_crowded():
            return
        loop = asyncio.get_running_loop()
        for seconds in COPIES_AFTER_SECONDS:
            loop.call_later(seconds, self._connection.send_datagram, data)


def records_in(data: bytes, heads: Mapping[EndpointId, int]) -> Iterator[Batches]:
    """What a datagram brings that joins on to what is held: the rest comes on the stream, in its order.
    `RemoteProtocolError` for what is no frame.
    """
    for frame in FrameReader().frames(data):
        batches = frame.batches if isinstance(frame, Batches) else ()
        if joining := tuple(each for each in batches if _joins_on(each, heads)):
            yield Batches(joining)


def _joins_on(batch: WireBatch, heads: Mapping[EndpointId, int]) -> bool:
    return batch.after <= heads.get(batch.signer, 0) < batch.upto
