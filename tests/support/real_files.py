"""Realistic content for tests and benches, made of the files of this machine.

Never random bytes: layers of real images repeat themselves, hold zeros and text, and so do these. The same
machine gives the same bytes for the same size, as long as nothing is installed in between.
"""

import os
from collections.abc import Iterator
from pathlib import Path

_SOURCES = ("/usr/lib", "/usr/share", "/usr/bin", "/lib", "/opt")
_PIECE_BYTES = 1 << 20


def real_file(path: Path, size_bytes: int) -> None:
    """Writes a file of exactly `size_bytes`: the machine's files one after another, from the start again
    (shifted by a line, so that no two rounds are aligned alike) when there are too few of them.
    """
    with path.open("wb") as out:
        left = size_bytes
        for piece in _endless_pieces():
            if left <= 0:
                return
            out.write(piece[:left])
            left -= len(piece)


def real_bytes(size_bytes: int, skip_bytes: int = 0) -> bytes:
    """The same content in memory, from `skip_bytes` on; for small blobs."""
    parts: list[bytes] = []
    wanted = size_bytes + skip_bytes
    for piece in _endless_pieces():
        if wanted <= 0:
            break
        parts.append(piece[:wanted])
        wanted -= len(piece)
    return b"".join(parts)[skip_bytes:]


def _endless_pieces() -> Iterator[bytes]:
    turn = 0
    while True:
        found = False
        for piece in _machine_pieces():
            found = True
            yield piece
        if not found:
            raise RuntimeError(f"none of {', '.join(_SOURCES)} has a readable file to make content of")
        turn += 1
        yield f"round {turn}\n".encode()


def _machine_pieces() -> Iterator[bytes]:
    for source in _SOURCES:
        if Path(source).is_symlink():
            continue
        for folder, folders, names in os.walk(source):
            folders.sort()
            for name in sorted(names):
                yield from _file_pieces(Path(folder, name))


def _file_pieces(path: Path) -> Iterator[bytes]:
    if path.is_symlink() or not path.is_file():
        return
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece
    except OSError:  # unreadable or gone: another file takes its place
        return
