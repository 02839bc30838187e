"""`WWW-Authenticate` headers, parsed: what a registry wants to see before it answers. Pure.

Grammar of RFC 9110 section 11.6.1, forgiving where registries are sloppy: several challenges in one header or
in several, quoted and bare values, commas inside quotes (scopes have them), spaces anywhere.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_LIMIT_CHARACTERS = 8192
_SCHEME = re.compile(r"\s*,*\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:\s+|$|(?=,))")
_PARAMETER = re.compile(
    r"\s*,?\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]*))\s*(?=,|$)"
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate."""

    scheme: str
    """In lower case: `bearer`, `basic`, or another that we do not speak."""
    parameters: dict[str, str] = field(default_factory=dict)
    """By lower-case name: `realm`, `service`, `scope`, `error`."""


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """All challenges of all headers, in order; what cannot be read is left out."""
    found: list[Challenge] = []
    for header in headers:
        found += _parse_header(header[:_LIMIT_CHARACTERS])
    return found


def _parse_header(text: str) -> list[Challenge]:
    found: list[Challenge] = []
    position = 0
    while position < len(text):
        parameter = _PARAMETER.match(text, position) if found else None
        if parameter:
            name, quoted, bare = parameter.groups()
            value = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            found[-1].parameters.setdefault(name.lower(), value)
            position = parameter.end()
            continue
        scheme = _SCHEME.match(text, position)
        if not scheme:
            break
        found.append(Challenge(scheme[1].lower()))
        position = scheme.end()
    return found
