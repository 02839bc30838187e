"""What a record may hold at most, and the check of a document before it becomes one.

The same bounds hold for what is received and for what is put here; put says them to a person, as ConfigError.
"""

import math
from collections.abc import Mapping
from typing import Any

from peat_sidecar.errors import ConfigError

BODY_LIMIT_BYTES = (1 << 20) - (16 << 10)
"""Of one record, so that with its signature it fits into a frame of 1 MiB even where it does not compress."""
DEPTH_LIMIT = 64
"""Levels of a record's body; its fields lie three levels down."""
INTEGER_LIMIT = 2**53 - 1
"""RFC 8785: beyond it not every reader of JSON has the same number."""
NUMBER_LIMIT = 2**63 - 1
"""Of clocks and sequences: what SQLite can compare."""
COLLECTION_LIMIT = 128
DOC_ID_LIMIT = 1024
SIGNERS_LIMIT = 10_000
RECORDS_LIMIT = 300_000
"""Current records of one signer."""
SIGNER_LIMIT_BYTES = 512 << 20
"""Bodies of one signer's current records."""
MERGED_LIMIT_BYTES = 2 << 20
"""Bodies that are merged into one document; beyond it the oldest ones do not count."""
CLEARED_LIMIT = 256
"""Names of cleared fields that a record keeps although nobody else is known to have them."""


def is_name(text: object, limit: int) -> bool:
    """Whether it can be a collection or a document id."""
    return isinstance(text, str) and 0 < len(text) <= limit and text.isprintable()


def check_collection(name: str) -> None:
    """ConfigError for what cannot name a collection."""
    _check_name("collection", name, COLLECTION_LIMIT)


def check_names(collection: str, doc_id: str) -> None:
    """ConfigError for what cannot name a document."""
    check_collection(collection)
    _check_name("document id", doc_id, DOC_ID_LIMIT)


def plain(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as records have it: dicts, lists, texts and numbers; 5.0 is 5, as RFC 8785 writes it.

    ConfigError names the place of what JSON or a record cannot hold.
    """
    if not isinstance(document, Mapping):
        raise ConfigError(f"a document is a JSON object, not {type(document).__name__}")
    return {_name(name, ""): _plain(value, f"{name}", 4) for name, value in document.items()}


def _plain(value: Any, place: str, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, place)
    if isinstance(value, int):
        if abs(value) > INTEGER_LIMIT:
            raise ConfigError(f"{place[:80]!r} is an integer beyond 2^53, which JSON loses; put it as a text")
        return int(value)
    if isinstance(value, float):
        return _number(value, place)
    if depth > DEPTH_LIMIT:
        raise ConfigError(f"{place[:80]!r} lies deeper than {DEPTH_LIMIT - 3} levels; make it flatter")
    if isinstance(value, Mapping):
        return {
            _name(name, place): _plain(each, f"{place}.{name}", depth + 1) for name, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(each, place, depth + 1) for each in value]
    raise ConfigError(f"{place[:80]!r} is of type {type(value).__name__}, which JSON has not")


def _number(value: float, place: str) -> float | int:
    if not math.isfinite(value):
        raise ConfigError(f"{place[:80]!r} is {value}, which JSON has not; put it as a text or leave it out")
    if INTEGER_LIMIT < abs(value) < 1e21:  # written without a point: an integer that readers lose
        raise ConfigError(f"{place[:80]!r} is a number beyond 2^53, which JSON loses; put it as a text")
    value = float(value)
    return int(value) if abs(value) <= INTEGER_LIMIT and value.is_integer() else value


def _check_name(what: str, text: str, limit: int) -> None:
    if not is_name(text, limit):
        raise ConfigError(
            f"{str(text)[:80]!r} is no {what}; one has 1 to {limit} characters, all of them printable"
        )


def _name(name: Any, place: str) -> str:
    if not isinstance(name, str):
        raise ConfigError(f"a name in {place[:80] or 'the document'!r} is {name!r:.40}; names are texts")
    return _text(name, place)


def _text(text: str, place: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"{place[:80]!r} holds half a character (a lone surrogate); take it out") from None
    return str.__str__(text)
