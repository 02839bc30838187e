"""JSON of a Connect server, read field by field as leniently as the format is written. Pure.

A server in Go leaves zeros out, sends 64-bit numbers as strings and enums by name; others send null, or
numbers. All of these are read; what is of another kind altogether is a `Wrong` that says where.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

TEXT_LIMIT_CHARACTERS = 2048
CONTAINERS_LIMIT = 500_000
"""Objects and lists in one answer; 16 MiB of brackets would be a gigabyte of lists."""
NUMBER_LIMIT = 1 << 53
"""What is exact in every JSON; a petabyte is a tenth of it."""
_NUMBER = re.compile(r"[+-]?[0-9]{1,19}")
_ENUM_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,127}")


class Wrong(Exception):
    """What is wrong with an answer, and where in it."""


class Fields:
    """One object of an answer."""

    def __init__(self, value: object, place: str = "") -> None:
        if not isinstance(value, dict):
            raise Wrong(f"{place or 'the answer'} is {_kind(value)} where an object is due")
        self._values: Mapping[str, Any] = value
        self._place = place

    def text(self, name: str) -> str:
        """A text; empty where there is none."""
        value = self._values.get(name)
        return "" if value is None else _text(value, self._at(name))

    def number(self, name: str) -> int:
        """A whole number from 0 on, or the text of one; 0 where there is none."""
        value = self._values.get(name)
        if value is None or value == "":
            return 0
        found = _whole(value)
        if found is None:
            raise Wrong(f"{self._at(name)} is {_kind(value)} where a whole number is due")
        if not -NUMBER_LIMIT < found < NUMBER_LIMIT:
            raise Wrong(f"{self._at(name)} is out of the range of sizes")
        return max(0, found)

    def enum(self, name: str, numbers: Mapping[str, int]) -> int | str:
        """The number of an enum, however it is written; a name that has none here stays a name."""
        value = self._values.get(name)
        if isinstance(value, str) and _ENUM_NAME.fullmatch(value):
            return numbers.get(value.upper(), value)
        return self.number(name)

    def object(self, name: str) -> "Fields":
        """An object; one without fields where there is none."""
        value = self._values.get(name)
        return Fields({} if value is None else value, self._at(name))

    def objects(self, name: str) -> Iterator["Fields"]:
        """A list of objects; none where there is none, or where one of them is null."""
        value = self._values.get(name)
        if value is None:
            return
        if not isinstance(value, list):
            raise Wrong(f"{self._at(name)} is {_kind(value)} where a list is due")
        for number, each in enumerate(value):
            if each is not None:
                yield Fields(each, f"{self._at(name)}[{number}]")

    def texts(self, name: str) -> dict[str, str]:
        """Texts by name."""
        value = self._values.get(name)
        if value is None:
            return {}
        place = self._at(name)
        if not isinstance(value, dict):
            raise Wrong(f"{place} is {_kind(value)} where an object is due")
        return {
            _text(key, place): "" if each is None else _text(each, f"{place}.{key[:80]}")
            for key, each in value.items()
        }

    def _at(self, name: str) -> str:
        return f"{self._place}.{name}" if self._place else name


def parse_answer(raw: bytes) -> Fields:
    """The object that the bytes are the JSON of; no bytes at all are one without fields."""
    if not raw.strip():
        raise Wrong("it is empty")
    if raw.count(b"{") + raw.count(b"[") > CONTAINERS_LIMIT:
        raise Wrong(f"it has more than {CONTAINERS_LIMIT} objects and lists")
    try:
        value = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError:
        raise Wrong("it is nested too deeply") from None
    except ValueError as error:
        raise Wrong(f"it is no JSON ({str(error)[:120]})") from None
    return Fields(value)


def _whole(value: object) -> int | None:
    if isinstance(value, str):
        return int(value) if _NUMBER.fullmatch(value.strip()) else None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if type(value) is int else None


def _text(value: object, place: str) -> str:
    if not isinstance(value, str):
        raise Wrong(f"{place} is {_kind(value)} where text is due")
    if len(value) > TEXT_LIMIT_CHARACTERS:
        raise Wrong(f"{place} has {len(value)} characters; {TEXT_LIMIT_CHARACTERS} are the most")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Wrong(f"{place} is no text: it holds half of a surrogate pair") from None
    return value


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _kind(value: object) -> str:
    """What JSON calls it; never the value, which may be huge."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", float: "a fraction"}
    return "null" if value is None else names.get(type(value), "a number")
