"""Runs a command as orchestrators run one that is told so: not as root, without capabilities, on a root file
system that cannot be written to, with one directory of its own.

    unshare --mount python -m tests.support.confined_process DIRECTORY UID COMMAND...

Needs root, which it gives up. What of Python and of the project lies in folders that only root may enter is
shown to the command at its place.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[2]
_KEPT = ("/proc", "/sys", "/dev")
"""Not of the root file system: orchestrators leave them as they are."""


def confined(directory: Path, uid: int) -> list[str]:
    """What goes before a command; the directory is given to that user."""
    os.chown(directory, uid, uid)
    return [
        *("unshare", "--mount", "--propagation", "private", sys.executable),
        *(__file__, str(directory), str(uid)),
    ]


def main(directory: str, uid: int, command: Sequence[str]) -> None:
    mount("--bind", directory, directory)
    reveal([Path(sys.prefix), Path(sys.base_prefix), _PROJECT])
    for line in Path("/proc/self/mounts").read_text().splitlines():
        place = line.split()[1]
        if place != directory and not place.startswith(_KEPT):
            mount("-o", "remount,bind,ro", place)
    os.chdir("/")
    os.execvp(
        "setpriv",
        [
            *("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs"),
            *("--bounding-set=-all", "--inh-caps=-all", "env", "-i", "PATH=/usr/bin:/bin", *command),
        ],
    )


def reveal(paths: Sequence[Path]) -> None:
    """Puts an empty folder with nothing but these paths over each folder that only root may enter."""
    beneath: dict[Path, list[tuple[Path, int]]] = {}
    for path in dict.fromkeys(path.resolve() for path in paths):
        closed = [folder for folder in path.parents if not folder.stat().st_mode & 0o001]
        if closed:
            beneath.setdefault(closed[-1], []).append((path, os.open(path, os.O_PATH)))
    for folder, found in beneath.items():
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(folder))
        for path, descriptor in found:
            path.mkdir(parents=True, exist_ok=True)
            # Not canonicalised: the name that it would get is that of the empty folder by now.
            mount("--no-canonicalize", "--bind", f"/proc/{os.getpid()}/fd/{descriptor}", str(path))
            os.close(descriptor)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
