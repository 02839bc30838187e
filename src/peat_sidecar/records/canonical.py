"""Canonical JSON (RFC 8785): one value, one text. Pure.

Reading proves that the bytes are the canonical ones. The usual body (no fractions, no characters beyond the
basic plane) is proven by the standard library's encoder, which writes the same as RFC 8785 there and is ten
times as fast; others by `rfc8785`.
"""

import json
from typing import Any, NoReturn

import rfc8785

from peat_sidecar.errors import IntegrityError
from peat_sidecar.records.bounds import BODY_LIMIT_BYTES, DEPTH_LIMIT, INTEGER_LIMIT

_INTEGER_DIGITS = len(str(-INTEGER_LIMIT))


class _Fraction(Exception):
    """The fast way ends here."""


def _refuse_fraction(_: str) -> NoReturn:
    raise _Fraction


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"it has {text}, which JSON has not")


def _integer(text: str) -> int:
    if len(text) <= _INTEGER_DIGITS and -INTEGER_LIMIT <= (value := int(text)) <= INTEGER_LIMIT:
        return value
    raise ValueError("it has an integer beyond 2^53")


_FAST = json.JSONDecoder(parse_float=_refuse_fraction, parse_int=_integer, parse_constant=_refuse_constant)
_FULL = json.JSONDecoder(parse_int=_integer, parse_constant=_refuse_constant)
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, check_circular=False, allow_nan=False
)


def encode_canonical(value: Any) -> bytes:
    """RFC 8785 of what `bounds.plain` gave."""
    return rfc8785.dumps(value)


def parse_canonical(body: bytes) -> Any:
    """The value. IntegrityError unless the bytes are its canonical form, within the bounds."""
    if len(body) > BODY_LIMIT_BYTES:
        raise IntegrityError(f"the record has {len(body)} bytes; {BODY_LIMIT_BYTES} are the limit")
    try:
        text = body.decode()
        simple = text.isascii() or max(text) <= "\uffff"  # else names sort otherwise in UTF-16
        try:
            value, end = _FAST.raw_decode(text)
        except _Fraction:
            simple = False
            value, end = _FULL.raw_decode(text)
        if end != len(text):
            raise IntegrityError("there are bytes after the record")
        if body.count(b"{") + body.count(b"[") > DEPTH_LIMIT:
            _check_depth(value)
        same = _ENCODER.encode(value) == text if simple else rfc8785.dumps(value) == body
    except RecursionError:
        raise IntegrityError(f"the record is nested deeper than {DEPTH_LIMIT} levels") from None
    except ValueError as error:  # what json, unicode and rfc8785 raise
        raise IntegrityError(f"the record is no JSON that was asked for: {str(error)[:120]}") from None
    if not same:
        raise IntegrityError("the record is not in canonical form (RFC 8785)")
    return value


def render(value: Any) -> str:
    """The text of a document: the same on every node that has the same values."""
    return _ENCODER.encode(value)


def parse_rendered(text: str) -> Any:
    """What `render` wrote."""
    return json.loads(text)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(DEPTH_LIMIT):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise IntegrityError(f"the record is nested deeper than {DEPTH_LIMIT} levels")
