"""Exit codes: one table for every command, for scripts to rely on.

`OF_CODE` has each code of the API. `unavailable` is a peer or the daemon in a fetch, and a registry, layout
or archive in an import or export.
"""

from enum import IntEnum

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
    StoreFull,
)


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNAVAILABLE = 5
    INTEGRITY = 6
    NO_ROOM = 7
    SOURCE = 8
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.UNEXPECTED: "something else went wrong; standard error says what",
    ExitCode.USAGE: "the command line or a setting is wrong",
    ExitCode.NOT_FOUND: "what was named is not there",
    ExitCode.REFUSED: "not allowed, or the token is missing or wrong",
    ExitCode.UNAVAILABLE: "the daemon or the peer cannot be reached, or fails",
    ExitCode.INTEGRITY: "content is not what its hash or digest says",
    ExitCode.NO_ROOM: "the disk is full, or too much is asked for at once",
    ExitCode.SOURCE: "the registry, layout or archive fails",
    ExitCode.INTERRUPTED: "interrupted (the transfer goes on), or cancelled",
}

OF_CODE = {
    "canceled": ExitCode.INTERRUPTED,
    "unknown": ExitCode.UNEXPECTED,
    "invalid_argument": ExitCode.USAGE,
    "deadline_exceeded": ExitCode.UNAVAILABLE,
    "not_found": ExitCode.NOT_FOUND,
    "already_exists": ExitCode.REFUSED,
    "permission_denied": ExitCode.REFUSED,
    "resource_exhausted": ExitCode.NO_ROOM,
    "failed_precondition": ExitCode.UNEXPECTED,
    "aborted": ExitCode.UNAVAILABLE,
    "out_of_range": ExitCode.USAGE,
    "unimplemented": ExitCode.UNEXPECTED,
    "internal": ExitCode.UNEXPECTED,
    "unavailable": ExitCode.UNAVAILABLE,
    "data_loss": ExitCode.INTEGRITY,
    "unauthenticated": ExitCode.REFUSED,
}
_OF_ERROR: dict[type[PeatError], ExitCode] = {
    ConfigError: ExitCode.USAGE,
    NotFound: ExitCode.NOT_FOUND,
    Refused: ExitCode.REFUSED,
    PeerUnavailable: ExitCode.UNAVAILABLE,
    BudgetSpent: ExitCode.UNAVAILABLE,
    RemoteProtocolError: ExitCode.UNAVAILABLE,
    IntegrityError: ExitCode.INTEGRITY,
    StoreFull: ExitCode.NO_ROOM,
    SourceError: ExitCode.SOURCE,
}


def exit_code_of(code: str, *, of_source: bool = False) -> ExitCode:
    """Of a code of the API, in words; `of_source` when it is about an import or export."""
    if of_source and code in ("unavailable", "aborted"):
        return ExitCode.SOURCE
    return OF_CODE.get(code, ExitCode.UNEXPECTED)


def exit_code_of_error(error: PeatError) -> ExitCode:
    """Of an error that was raised in this process."""
    return next((_OF_ERROR[kind] for kind in type(error).__mro__ if kind in _OF_ERROR), ExitCode.UNEXPECTED)


def exit_code_table() -> str:
    """For the help: a line for each."""
    return "\n".join(f"  {code.value:3}  {meaning}" for code, meaning in MEANINGS.items())
