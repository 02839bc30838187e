"""Documents as JSON texts: what a caller sends is one JSON object that comes back as it went in, or an error.

A parser that takes what it can would change the rest without a word: the first of two fields with one name,
an integer that other programs round. Depth and length are looked at before the text is parsed.
"""

import json
import math
from typing import Any, NoReturn

from peat_sidecar.errors import ConfigError
from peat_sidecar.rpc.json_codec import nests_too_deep

DEPTH_LIMIT = 64
LENGTH_LIMIT_BYTES = 1 << 20
"""As a record has at most; what else stands in one makes the true limit a little lower."""
_INTEGER_DIGITS = 17
"""Digits and sign of 2**53."""


def parse_document(text: str) -> dict[str, Any]:
    """`ConfigError` for what is no JSON object, or could not come back as it is."""
    data = text.encode()
    if len(data) > LENGTH_LIMIT_BYTES:
        raise ConfigError(
            f"json_data has {len(data):,} bytes, and a document at most {LENGTH_LIMIT_BYTES:,};"
            " keep what is larger as a blob"
        )
    if nests_too_deep(data, DEPTH_LIMIT):
        raise ConfigError(f"json_data nests deeper than {DEPTH_LIMIT} levels; make it flatter")
    try:
        document = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_fraction,
            parse_constant=_constant,
        )
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"json_data is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise ConfigError('json_data is JSON, but no object; a document looks like {"name": "value"}')
    return document


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"json_data has two fields {twice[:80]!r} in one object; leave one out")
    return found


def _integer(text: str) -> int:
    if len(text) > _INTEGER_DIGITS or abs(int(text)) > 1 << 53:
        raise ConfigError(
            f"json_data has the integer {text[:40]}, which is beyond 2^53 and would be rounded by other"
            " programs; write it as a text"
        )
    return int(text)


def _fraction(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ConfigError(f"json_data has the number {text[:40]}, which is too large; write it as a text")
    return value


def _constant(name: str) -> NoReturn:
    raise ConfigError(f"json_data has {name}, which is no JSON; write null, or a text")
