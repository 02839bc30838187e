"""The specification's error codes, the status that each has, and what our own errors are among them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

from peat_sidecar.errors import (
    BudgetSpent,
    ConfigError,
    IntegrityError,
    NotFound,
    PeatError,
    PeerUnavailable,
    Refused,
    RemoteProtocolError,
    SourceError,
    StoreFailed,
    StoreFull,
)


class Code(StrEnum):
    """Distribution specification 1.1, section "Error Codes"; `UNKNOWN` is docker's, for all else."""

    BLOB_UNKNOWN = "BLOB_UNKNOWN"
    BLOB_UPLOAD_INVALID = "BLOB_UPLOAD_INVALID"
    BLOB_UPLOAD_UNKNOWN = "BLOB_UPLOAD_UNKNOWN"
    DIGEST_INVALID = "DIGEST_INVALID"
    MANIFEST_BLOB_UNKNOWN = "MANIFEST_BLOB_UNKNOWN"
    MANIFEST_INVALID = "MANIFEST_INVALID"
    MANIFEST_UNKNOWN = "MANIFEST_UNKNOWN"
    NAME_INVALID = "NAME_INVALID"
    NAME_UNKNOWN = "NAME_UNKNOWN"
    SIZE_INVALID = "SIZE_INVALID"
    UNAUTHORIZED = "UNAUTHORIZED"
    DENIED = "DENIED"
    UNSUPPORTED = "UNSUPPORTED"
    TOOMANYREQUESTS = "TOOMANYREQUESTS"
    UNKNOWN = "UNKNOWN"


STATUS: Mapping[Code, int] = {
    Code.BLOB_UNKNOWN: 404,
    Code.BLOB_UPLOAD_INVALID: 400,
    Code.BLOB_UPLOAD_UNKNOWN: 404,
    Code.DIGEST_INVALID: 400,
    Code.MANIFEST_BLOB_UNKNOWN: 404,
    Code.MANIFEST_INVALID: 400,
    Code.MANIFEST_UNKNOWN: 404,
    Code.NAME_INVALID: 400,
    Code.NAME_UNKNOWN: 404,
    Code.SIZE_INVALID: 400,
    Code.UNAUTHORIZED: 401,
    Code.DENIED: 403,
    Code.UNSUPPORTED: 405,
    Code.TOOMANYREQUESTS: 429,
    Code.UNKNOWN: 500,
}

OF_ERRORS: Mapping[type[PeatError], tuple[Code, int]] = {
    ConfigError: (Code.NAME_INVALID, 400),
    NotFound: (Code.BLOB_UNKNOWN, 404),
    IntegrityError: (Code.DIGEST_INVALID, 400),
    RemoteProtocolError: (Code.UNKNOWN, 400),
    PeerUnavailable: (Code.UNKNOWN, 408),
    Refused: (Code.DENIED, 403),
    StoreFull: (Code.UNKNOWN, 507),
    StoreFailed: (Code.UNKNOWN, 500),
    SourceError: (Code.MANIFEST_INVALID, 400),
    BudgetSpent: (Code.TOOMANYREQUESTS, 429),
}
"""What an error is where nothing closer to its cause has said it."""


RETRY_SECONDS = 10
"""After which a client is told to ask again."""


class Fault(PeatError):
    """An answer that is an error."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        status: int | None = None,
        detail: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status or STATUS[code]
        self.headers = dict(headers or {})
        self._detail = detail

    @property
    def body(self) -> bytes:
        """The specification's JSON."""
        error: dict[str, Any] = {"code": self.code, "message": str(self)}
        if self._detail is not None:
            error["detail"] = self._detail
        return json.dumps({"errors": [error]}).encode()


@contextmanager
def sought() -> Iterator[None]:
    """What others have and cannot be had from them now is to be asked for again later."""
    try:
        yield
    except PeerUnavailable as error:
        headers = {"Retry-After": str(RETRY_SECONDS)}
        raise Fault(Code.UNKNOWN, f"{error}; try again later", status=503, headers=headers) from None


def fault_of(error: PeatError) -> Fault:
    """The answer to an error of ours."""
    if isinstance(error, Fault):
        return error
    code, status = OF_ERRORS.get(type(error), (Code.UNKNOWN, 500))
    return Fault(code, str(error), status=status)
