"""Messages as JSON, with a bound on how deep a text may nest.

The library's parser recurses on the machine's stack: 20,000 opening brackets end the process. No message of
the API nests deeper than a few levels.
"""

import re
from typing import TypeVar

from connectrpc.code import Code
from connectrpc.codec import Codec, proto_json_codec
from connectrpc.errors import ConnectError
from protobuf import Message

DEPTH_LIMIT = 32
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
_OPENING, _CLOSING = b"[{", b"]}"

Decoded = TypeVar("Decoded", bound=Message)


class JsonCodec:
    """A codec for connectrpc. A name that is misspelt is an error, not a wish that is passed over."""

    def __init__(self) -> None:
        self._inner: Codec[Message, Message] = proto_json_codec(ignore_unknown_fields=False)

    def name(self) -> str:
        return self._inner.name()

    def encode(self, message: Message) -> bytes:
        return self._inner.encode(message)

    def decode(self, data: bytes | bytearray, message_class: type[Decoded]) -> Decoded:
        """`ConnectError` with `invalid_argument` for what is no such message."""
        if nests_too_deep(bytes(data)):
            raise ConnectError(Code.INVALID_ARGUMENT, f"the JSON nests deeper than {DEPTH_LIMIT} levels")
        return self._inner.decode(data, message_class)  # type: ignore[return-value]


def nests_too_deep(data: bytes, limit: int = DEPTH_LIMIT) -> bool:
    """Whether brackets outside of texts nest beyond the limit."""
    if data.count(b"[") + data.count(b"{") <= limit:
        return False
    depth = 0
    for token in _TOKEN.finditer(data):
        first = data[token.start() : token.start() + 1]
        if first in _OPENING:
            depth += 1
            if depth > limit:
                return True
        elif first in _CLOSING:
            depth -= 1
    return False
