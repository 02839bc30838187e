"""Which bytes of a blob a `Range` asks for (RFC 9110, section 14). Pure."""

import re

_BYTES = re.compile(r"bytes\s*=\s*(?:([0-9]{1,18})\s*-\s*([0-9]{1,18})?|-\s*([0-9]{1,18}))\s*")


class Unsatisfiable(Exception):
    """There are no such bytes."""


def parse_range(text: str, size: int) -> range | None:
    """The bytes of one range; None where all are to be sent: no range was asked for, or several, or none of
    bytes, which a server may ignore.
    """
    found = _BYTES.fullmatch(text)
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        start, stop = max(0, size - int(suffix)), size
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
    if start >= stop:
        raise Unsatisfiable
    return range(start, stop)
