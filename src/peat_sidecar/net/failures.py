"""How streams and connections fail, as errors whose class says which of the ways it was.

All are `PeerUnavailable`: keep what was verified, resume by range, try another peer. What an end of stream
means is for the caller to judge by size and hash; here it is only told apart from a reset and a silence.
"""

from peat_sidecar.errors import PeerUnavailable
from peat_sidecar.ids import EndpointId

PERMISSION_CODE = 1
"""With the reason `permission`: the peer is not admitted."""
LIMIT_CODE = 2
"""With the reason `limit`: the peer has too many connections."""


class StreamEnded(PeerUnavailable):
    """The peer finished the stream before the bytes that were due."""


class StreamReset(PeerUnavailable):
    """The peer gave up the stream that we read; bytes not yet read are lost."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code
        """Application error code of the reset."""


class StreamStopped(PeerUnavailable):
    """The peer wants no more of the stream that we write."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code
        """Application error code of the stop."""


class StreamStalled(PeerUnavailable):
    """Not one byte moved for the stall time."""


class ConnectionClosed(PeerUnavailable):
    """The connection was closed, by the peer or by this side, or broke."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code
        """Application error code of the close; None when the connection broke or was closed here."""


class NotSpoken(PeerUnavailable):
    """The peer answers, and does not speak the protocol that it was dialled for."""


def closed_by_peer(peer: EndpointId, code: int, reason: str) -> ConnectionClosed:
    """The error for a connection that the peer closed."""
    if code == PERMISSION_CODE:
        text = (
            f"peer {peer.short} does not admit this node; its operator has to allow this node's endpoint id"
        )
    else:
        text = f"peer {peer.short} closed the connection: {reason or 'no reason given'} (code {code})"
    return ConnectionClosed(text, code)
