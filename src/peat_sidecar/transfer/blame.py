"""Whose fault it is when content is wrong: that of the peer that sent it, or of whoever named it.

Every group is verified against the hash before it is kept, so a peer can only give what the hash says, or be
found out. What is right by its hash and wrong all the same was named wrongly, and every peer would give it.
"""

import contextlib
from collections.abc import Iterator

from peat_sidecar.errors import (
    BudgetSpent,
    IntegrityError,
    Misnamed,
    NotFound,
    PeatError,
    PeerUnavailable,
    RemoteProtocolError,
    SourceError,
)
from peat_sidecar.ids import PeerAddress

_WRONG = (IntegrityError, RemoteProtocolError, SourceError)


def is_lie(error: BaseException) -> bool:
    """Whether a peer sent something else than it was asked for; it is not asked again."""
    return isinstance(error, _WRONG) and not isinstance(error, Misnamed)


def is_of_peer(error: BaseException) -> bool:
    """Whether it is about one peer or the way to it, so that another peer may do better."""
    return is_lie(error) or isinstance(error, BudgetSpent | PeerUnavailable | NotFound)


@contextlib.contextmanager
def blaming(peer: PeerAddress, *, named: bool = False) -> Iterator[None]:
    """What is wrong with content says from whom it is; `named`: who has named it as well."""
    name = f"peer {peer.endpoint_id.short}"
    try:
        yield
    except _WRONG as error:
        if name in str(error) or not (named or is_lie(error)):
            raise
        blamed: PeatError = type(error)(f"from {name}: {error}")
        raise blamed from None


@contextlib.contextmanager
def misnaming(what: str) -> Iterator[None]:
    """What is wrong with bytes that their hash has proven already is a `Misnamed`."""
    try:
        yield
    except _WRONG as error:
        raise Misnamed(f"{what}: {error}") from None
