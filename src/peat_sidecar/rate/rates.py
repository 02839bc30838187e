"""Rates as people write them: `512 kbit/s`, `2.5 MB/s`, `unlimited`."""

import re

from peat_sidecar.errors import ConfigError

_RATE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?) *([kmgKMG]?)(bit|bits|b|B)(?:/s|ps)")
_FACTORS = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
SLOWEST_BITS = 1000.0
"""Below this nothing would arrive before it was given up."""


def parse_rate(text: str) -> float | None:
    """Bytes per second; None for `unlimited`. `B/s` are bytes, `bit/s` bits; k is 1,000."""
    plain = text.strip()
    if plain.lower() in ("unlimited", "none"):
        return None
    found = _RATE.fullmatch(plain)
    if found is None:
        raise ConfigError(f"{text[:60]!r} is no rate; one looks like 512 kbit/s, 2.5 MB/s or unlimited")
    bits = float(found[1]) * _FACTORS[found[2].lower()] * (8 if found[3] == "B" else 1)
    if bits < SLOWEST_BITS:
        raise ConfigError(f"{text[:60]!r} is too slow; the least is 1 kbit/s")
    return bits / 8


def format_rate(rate: float | None) -> str:
    """As `parse_rate` reads it, in bits."""
    if rate is None:
        return "unlimited"
    bits = rate * 8
    for unit, factor in (("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if bits >= factor:
            return f"{bits / factor:.6g} {unit}"
    return f"{bits:.6g} bit/s"
