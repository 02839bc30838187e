"""JSON from outside, read field by field: what has the wrong type is a `SourceError` that says where.

Bounded: at most 4 MiB, at most 200,000 objects and lists (a real index of that length has 60,000), and
numbers and nesting that the parser refuses are refused here in the same words. `null` counts as absent, as
the programs in Go that write these documents mean it; of a name given twice the last one counts, as for them.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from peat_sidecar.errors import SourceError

DOCUMENT_LIMIT_BYTES = 4 << 20
"""The largest manifest that registries take (distribution specification, section "Pushing Manifests")."""
CONTAINER_LIMIT = 200_000
_SIZE_LIMIT = 1 << 63


class Fields:
    """One JSON object and where in the document it is, for messages."""

    def __init__(self, value: object, place: str) -> None:
        if not isinstance(value, dict):
            raise SourceError(f"{place} is {_kind(value)} where an object is due")
        self._values: Mapping[str, Any] = value
        self.place = place

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def at(self, name: str) -> str:
        """Where a field is, for messages."""
        return f"{self.place}.{name}" if self.place else name

    def text(self, name: str, limit: int = 4096) -> str | None:
        """A string; None when there is none."""
        value = self._values.get(name)
        return None if value is None else checked_text(value, self.at(name), limit)

    def integer(self, name: str) -> int:
        """A whole number from 0 to 2^63 - 1 that has to be there."""
        value = self._values.get(name)
        if type(value) is not int:
            raise SourceError(f"{self.at(name)} is {_kind(value)} where a whole number is due")
        if not 0 <= value < _SIZE_LIMIT:
            shown = value if abs(value) < 1 << 80 else "far"
            raise SourceError(f"{self.at(name)} is {shown}, out of the range of sizes")
        return value

    def object(self, name: str) -> "Fields | None":
        """An object; None when there is none."""
        value = self._values.get(name)
        return None if value is None else Fields(value, self.at(name))

    def objects(self, name: str) -> "Iterator[Fields]":
        """A list of objects, one after another."""
        for number, value in enumerate(self._list(name)):
            yield Fields(value, f"{self.at(name)}[{number}]")

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        place = self.at(name)
        return tuple(checked_text(value, place) for value in self._list(name))

    def texts_by_name(self, name: str) -> dict[str, str]:
        """An object whose values are strings."""
        found = self._values.get(name)
        if found is None:
            return {}
        place = self.at(name)
        if not isinstance(found, dict):
            raise SourceError(f"{place} is {_kind(found)} where an object is due")
        limit = DOCUMENT_LIMIT_BYTES
        return {
            checked_text(key, place, limit): "" if value is None else checked_text(value, place, limit)
            for key, value in found.items()
        }

    def _list(self, name: str) -> list[Any]:
        value = self._values.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise SourceError(f"{self.at(name)} is {_kind(value)} where a list is due")
        return value


def parse_document(raw: bytes) -> Fields:
    """The object that the bytes are the JSON text of."""
    if len(raw) > DOCUMENT_LIMIT_BYTES:
        raise SourceError(f"a manifest of {len(raw)} bytes is refused; registries take 4 MiB at most")
    if raw.count(b"{") + raw.count(b"[") > CONTAINER_LIMIT:
        raise SourceError(f"a manifest with more than {CONTAINER_LIMIT} objects and lists is refused")
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:200]
        raise SourceError(f"a manifest is no JSON that can be read: {reason}") from None
    if not isinstance(value, dict):
        raise SourceError(f"a manifest is {_kind(value)} where an object is due")
    return Fields(value, "")


def checked_text(value: object, place: str, limit: int = 4096) -> str:
    """A string that can be stored and printed: no half of a surrogate pair, no more than a limit."""
    if not isinstance(value, str):
        raise SourceError(f"{place} is {_kind(value)} where text is due")
    if len(value) > limit:
        raise SourceError(f"{place} has {len(value)} characters; {limit} are the most")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise SourceError(f"{place} is no text: it holds half of a surrogate pair") from None
    return value


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _kind(value: object) -> str:
    """What JSON calls it; never the value, which may be huge."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", float: "a fraction"}
    return "absent" if value is None else names.get(type(value), "a number")
