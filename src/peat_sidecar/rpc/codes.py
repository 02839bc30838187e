"""Which code an error has in Connect and gRPC: one table for the whole API."""

from connectrpc.code import Code

from peat_sidecar.errors import (
    BudgetSpent,
    ConfigError,
    IntegrityError,
    Misnamed,
    NotFound,
    PeatError,
    PeerUnavailable,
    Refused,
    RemoteProtocolError,
    SourceError,
    StoreFailed,
    StoreFull,
)

CODES: dict[type[PeatError], Code] = {
    ConfigError: Code.INVALID_ARGUMENT,
    NotFound: Code.NOT_FOUND,
    IntegrityError: Code.DATA_LOSS,
    Misnamed: Code.DATA_LOSS,
    RemoteProtocolError: Code.ABORTED,
    PeerUnavailable: Code.UNAVAILABLE,
    Refused: Code.PERMISSION_DENIED,
    BudgetSpent: Code.UNAVAILABLE,
    StoreFull: Code.RESOURCE_EXHAUSTED,
    StoreFailed: Code.FAILED_PRECONDITION,
    SourceError: Code.UNAVAILABLE,
    PeatError: Code.INTERNAL,
}

# https://connectrpc.com/docs/protocol#error-codes and https://grpc.github.io/grpc/core/md_doc_statuscodes.html
HTTP_STATUS = {
    Code.INVALID_ARGUMENT: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.DEADLINE_EXCEEDED: 504,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNAVAILABLE: 503,
    Code.INTERNAL: 500,
}
"""Of the codes that are answered before a request reaches the service."""
GRPC_STATUS = {
    Code.INVALID_ARGUMENT: 3,
    Code.DEADLINE_EXCEEDED: 4,
    Code.NOT_FOUND: 5,
    Code.PERMISSION_DENIED: 7,
    Code.RESOURCE_EXHAUSTED: 8,
    Code.INTERNAL: 13,
    Code.UNAVAILABLE: 14,
    Code.UNAUTHENTICATED: 16,
}


def code_of(error: PeatError) -> Code:
    """The code of an error's class, or of the nearest one that it is derived from."""
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)
