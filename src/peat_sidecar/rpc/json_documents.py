"""Documents as JSON texts: what a caller sends is one JSON object, or an error that says why it is none.

What a record cannot hold is for the records to refuse. Refused here is what the parser would not pass on as
it is: the first of two fields with one name, a text that is too deep, an integer that is too long.
"""

import json
from typing import Any

from peat_sidecar.errors import ConfigError
from peat_sidecar.rpc.json_codec import nests_too_deep

DEPTH_LIMIT = 62
"""A record nests to 64 levels, of which two are its own."""
LENGTH_LIMIT_BYTES = 1 << 20
"""As a record has at most; what else stands in one makes the true limit a little lower."""
_INTEGER_DIGITS = 17
"""Digits and sign of 2**53."""


def parse_document(text: str) -> dict[str, Any]:
    """`ConfigError` for what is no JSON object, too large or too deep."""
    data = text.encode()
    if len(data) > LENGTH_LIMIT_BYTES:
        raise ConfigError(
            f"json_data has {len(data):,} bytes, and a document at most {LENGTH_LIMIT_BYTES:,};"
            " keep what is larger as a blob"
        )
    if nests_too_deep(data, DEPTH_LIMIT):
        raise ConfigError(f"json_data nests deeper than {DEPTH_LIMIT} levels; make it flatter")
    try:
        document = json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"json_data is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError('json_data is JSON, but no object; a document looks like {"name": "value"}')
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ConfigError(f"json_data has two fields {name[:80]!r} in one object; leave one out")
        found[name] = value
    return found


def _integer(text: str) -> int:
    if len(text) > _INTEGER_DIGITS:
        raise ConfigError(
            f"json_data has the integer {text[:40]}, which is beyond 2^53 and which other programs would"
            " round; write it as a text"
        )
    return int(text)
