"""Every error of the program, cut by what the caller has to do about it.

A message says what is wrong and how to mend it, in words for the person who runs the daemon. Foreign
exceptions are translated to these once, on floor 3; HTTP, gRPC and wire codes are tables in the faces.
"""

from datetime import datetime


class PeatError(Exception):
    """The root: nothing else is raised on purpose."""


class ConfigError(PeatError):
    """A setting, flag or argument is wrong: mend it and try again."""


class NotFound(PeatError):
    """What was asked for is not here (and may be elsewhere)."""


class IntegrityError(PeatError):
    """Bytes are wrong: drop them and blame their source."""


class Misnamed(IntegrityError):
    """Bytes are what their hash says, and not what they were named as: blame whoever named them, and no
    peer that sent them."""


class RemoteProtocolError(PeatError):
    """The other side broke the protocol: give up the stream."""


class PeerUnavailable(PeatError):
    """A peer is silent, gone or failing: try another one, or later."""


class Refused(PeatError):
    """The request is understood and not allowed."""


class StoreFull(PeatError):
    """The disk has no room: make some and try again; the daemon goes on, and what came is kept."""


class StoreFailed(PeatError):
    """The disk failed for another reason than room: look at it."""


class SourceError(PeatError):
    """A registry, layout or archive is unreachable, or answers what it must not."""


class BudgetSpent(PeatError):
    """What may go over a path is used up, or it is too dear: take another path, or wait."""

    def __init__(self, text: str, until: datetime | None = None) -> None:
        super().__init__(text)
        self.until = until
        """When it goes on by itself; None: when something is changed."""
