"""How much of the disk packages may take: `200 GB`, or `80 %` of the disk that the store lies on."""

import re
from dataclasses import dataclass

from peat_sidecar.errors import ConfigError
from peat_sidecar.rate import parse_size

_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,3})?) *%")


@dataclass(frozen=True, slots=True)
class Quota:
    """Of what the packages of the store take; what else is on the disk does not count."""

    bytes: int = 0
    """0: it is a part of the disk, or there is none."""
    part: float = 0.0
    """Of the disk; 0: it is an amount of bytes, or there is none."""

    @classmethod
    def parse(cls, text: str) -> "Quota":
        """An empty text is none; `ConfigError` for what is no quota."""
        if not text.strip():
            return cls()
        found = _PERCENT.fullmatch(text.strip())
        if found is not None and 0 < float(found[1]) <= 100:
            return cls(part=float(found[1]) / 100)
        try:
            return cls(bytes=parse_size(text))
        except ConfigError:
            raise ConfigError(
                f"{text[:40]!r} is no quota; one looks like 200 GB, or 80 % of the disk"
            ) from None

    def of(self, disk_bytes: int) -> int:
        """In bytes, on a disk of that size; 0 for none."""
        return self.bytes or int(self.part * disk_bytes)

    def __str__(self) -> str:
        return f"{self.part:.3%}" if self.part else f"{self.bytes}"
