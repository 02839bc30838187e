"""Commands in a pseudo-terminal, as a person runs them: what they show, how wide it is, Ctrl-C."""

import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>]")
CTRL_C = b"\x03"


@dataclass(frozen=True)
class Shown:
    """What a command left behind."""

    exit_code: int
    raw: str
    """With colours and all."""

    @property
    def lines(self) -> list[str]:
        """Everything that was ever drawn, each line by itself, without escapes."""
        return [line.rstrip() for line in re.split(r"\r\n|\n|\r", _ESCAPES.sub("", self.raw))]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def width(self) -> int:
        return max(len(line) for line in self.lines)


def run_in_terminal(
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    columns: int = 80,
    type_when: tuple[str, bytes] | None = None,
    limit_seconds: float = 60,
) -> Shown:
    """Runs it to its end. `type_when` is a pattern, and what is typed when it has been shown."""
    main, side = os.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    clean = {
        name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")
    }
    process = subprocess.Popen(
        command,
        stdin=side,
        stdout=side,
        stderr=side,
        env=clean | {"TERM": "xterm-256color"} | dict(environment or {}),
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(side)
    try:
        raw = _read(main, type_when, time.monotonic() + limit_seconds)
        return Shown(process.wait(limit_seconds), raw)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        os.close(main)


def _read(main: int, type_when: tuple[str, bytes] | None, deadline: float) -> str:
    data = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([main], [], [], left)[0]:
            break
        try:
            piece = os.read(main, 65536)
        except OSError:  # EIO: the other side is closed
            return data.decode()
        if not piece:
            return data.decode()
        data += piece
        if type_when is not None and re.search(type_when[0], _ESCAPES.sub("", data.decode(errors="replace"))):
            os.write(main, type_when[1])
            type_when = None
    raise AssertionError(f"it did not end in time; it has shown: {data.decode(errors='replace')}")
