"""Files of clients: ours carry a mark, those of others are set aside and put back."""

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from peat_sidecar.errors import ConfigError
from peat_sidecar.secret_files import write_whole

ASIDE = ".before-peat-sidecar"
_MARK = "# by peat-sidecar mirror-config; --undo takes it away. Check: "
_LIMIT_BYTES = 1 << 20


def marked(text: str) -> str:
    """With a first line that says whose it is, and by a hash that nobody has changed it."""
    return f"{_MARK}{_check(text)}\n{text}"


def read(path: Path) -> str | None:
    """None where there is no file; `ConfigError` when it cannot be read."""
    try:
        with path.open("rb") as file:
            raw = file.read(_LIMIT_BYTES + 1)
        if len(raw) > _LIMIT_BYTES:
            raise ConfigError(f"{path} is too large for a configuration; look at what it is")
        return raw.decode()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text; look at what it is") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; run this as root?") from None


def put(path: Path, text: str, *, like: Path | None = None) -> None:
    """Writes a file whole, where a link leads to; `ConfigError` when it cannot be. Owner and mode are those
    of the file that is there, or of `like`.
    """
    try:
        place = path.resolve()
        place.parent.mkdir(parents=True, exist_ok=True)
        write_whole(place, text.encode(), like=_stat(like or place))
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}; run this as root?") from None


def aside_of(path: Path) -> Path:
    """Where the file of somebody else is kept meanwhile."""
    return path.with_name(path.name + ASIDE)


def set_aside(path: Path, text: str) -> None:
    """Keeps what is in a file beside it, for the same eyes."""
    put(aside_of(path), text, like=path)


def put_back(path: Path) -> None:
    """What was set aside, or no file where nothing was. Raises `OSError`."""
    before = read(aside_of(path))
    if before is None:
        path.unlink()
    else:
        put(path, before)
        aside_of(path).unlink()


def replace(files: Mapping[Path, str]) -> list[Path]:
    """Writes marked files. One that is there and not ours is set aside before; one of ours that was changed
    by hand is left, with a `ConfigError`.
    """
    for path, text in files.items():
        _replace(path, text)
    return list(files)


def _replace(path: Path, text: str) -> None:
    before = read(path)
    if before is not None and not _is_ours(path, before):
        if aside_of(path).exists():
            raise ConfigError(
                f"{path} is not of peat-sidecar, and neither is {aside_of(path)}, which was set aside"
                " before; move one of them away"
            )
        set_aside(path, before)
    put(path, text)


def take_back(path: Path) -> bool:
    """Removes a marked file, and puts back what was there before it. Whether there was one of ours."""
    text = read(path)
    if text is None or not _is_ours(path, text):
        return False
    try:
        put_back(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be taken away: {error.strerror}; run this as root?") from None
    return True


def remove_empty(folder: Path) -> None:
    """Takes a folder away in which nothing is left."""
    with suppress(OSError):
        folder.rmdir()


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _is_ours(path: Path, text: str) -> bool:
    first, _, rest = text.partition("\n")
    if not first.startswith(_MARK):
        return False
    if first.removeprefix(_MARK) != _check(rest):
        raise ConfigError(
            f"{path} was written by peat-sidecar and changed since; take out its first line to keep it"
            " as yours, or remove it"
        )
    return True


def _check(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
