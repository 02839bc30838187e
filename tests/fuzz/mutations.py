"""Bytes that are nearly right: seeds from text files, and what becomes of them by small accidents."""

import random
from collections.abc import Iterator
from pathlib import Path

_SEEDS = Path(__file__).parent / "seeds"
# What decoders stumble over: ends of varints, counts, signs, brackets, halves of UTF-8.
_TELLING = [
    b"\x00",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xff" * 9 + b"\x01",
    b"\x80" * 10,
    b'"',
    b"[",
    b"}",
    b"-",
    b"9",
]


def seeds(name: str) -> list[bytes]:
    """The seeds of a decoder: one in hexadecimal in each line, remarks after #."""
    lines = (line.strip() for line in (_SEEDS / f"{name}.hex").read_text().splitlines())
    return [bytes.fromhex(line) for line in lines if line and not line.startswith("#")]


def mutated(known: list[bytes], count: int, *, seed: int = 1) -> Iterator[bytes]:
    """The seeds themselves, then so many changed ones, always the same for one seed."""
    yield from known
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(chance.choice(known))
        for _ in range(chance.randint(1, 4)):
            _change(data, known, chance)
        yield bytes(data)


def _change(data: bytearray, known: list[bytes], chance: random.Random) -> None:
    start = chance.randint(0, len(data))
    end = min(len(data), start + chance.choice((0, 1, 1, 2, 8, 40)))
    match chance.randint(0, 4):
        case 0:
            del data[start:end]
        case 1:
            data[start:end] = chance.choice(_TELLING)
        case 2:
            data[start:start] = data[start:end] * chance.randint(1, 5)
        case 3:
            other = chance.choice(known)
            cut = chance.randint(0, len(other))
            data[start:] = other[cut:]
        case _:
            data[start:end] = chance.randbytes(end - start)
