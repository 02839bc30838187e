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
FOLLOWED = 4
"""Frames whose copies are still to come: of many in a row a lost one is noticed by those that come after it,
and the copies of all would be traffic of their own."""


class Copies:
    """Of what one session gives. What is lost of them is not sent again."""

    def __init__(self, connection: Connection, is_crowded: Callable[[], bool]) -> None:
        """`is_crowded`: whether blobs are being sent."""
        self._connection = connection
        self._is_crowded = is_crowded
        self._followed = 0

    def follow(self, data: bytes) -> None:
        """A frame with records has been written to the stream."""
        if len(data) > DATAGRAM_BYTES or self._followed == FOLLOWED or not self._is_crowded():
            return
        self._followed += 1
        loop = asyncio.get_running_loop()
        for seconds in COPIES_AFTER_SECONDS:
            loop.call_later(seconds, self._connection.send_datagram, data)
        loop.call_later(COPIES_AFTER_SECONDS[-1], self._all_sent)

    def _all_sent(self) -> None:
        self._followed -= 1


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
