"""The numbers and names of the iroh-blobs protocol."""

from enum import IntEnum

ALPN = b"/iroh-bytes/4"
"""What connections for blobs are opened with; there is no other negotiation of a version."""

BODY_LIMIT = 1 << 20
"""Bytes that may follow the type byte of a request."""
REQUEST_LIMIT = 1 + BODY_LIMIT
"""Bytes of the longest request, which is what a provider has to read of a stream at most."""


class RequestType(IntEnum):
    """The first byte of a request; 2 to 7 are reserved."""

    GET = 0
    OBSERVE = 1
    PUSH = 8
    GET_MANY = 9


class ErrorCode(IntEnum):
    """What streams are reset and connections are closed with."""

    PERMISSION = 1
    """Not for you, or not of this kind."""
    LIMIT = 2
    """Too much, or too often."""
    INTERNAL = 3
    """Anything else: not here, not whole, not readable. There is no code for "not found"."""
