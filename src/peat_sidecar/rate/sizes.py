"""Amounts of bytes as people write them: `500 MB`, `1.5 GiB`."""

import re

from peat_sidecar.errors import ConfigError

_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?) *([kKMGTP]?)(i?)B")
_LIMIT_BYTES = 1 << 63
_UNITS = ("", "k", "M", "G", "T", "P")


def parse_size(text: str) -> int:
    """Bytes; k is 1,000 and Ki 1,024. `ConfigError` for what is none, and for nothing at all."""
    found = _SIZE.fullmatch(text.strip())
    size = 0
    if found is not None:
        factor = 1024 if found[3] else 1000
        size = int(float(found[1]) * factor ** _UNITS.index(found[2].replace("K", "k")))
    if not 1 <= size < _LIMIT_BYTES:
        raise ConfigError(f"{text[:40]!r} is no amount of bytes; one looks like 500 MB or 1.5 GiB")
    return size


def format_size(size: float) -> str:
    """In powers of ten, as `parse_size` reads it, to three digits."""
    value, units = float(size), list(_UNITS)
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.3g} {units[0]}B"
