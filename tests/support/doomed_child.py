"""Processes that work on a store and are killed at any moment, for tests of what they leave behind.

Run as a program it reads one job per line and forks a child for each (so that no job waits for an interpreter
to start): `import DATA_DIR SOURCE` or `fetch DATA_DIR SOURCE TREE HASH SEED`. The child's lines tell how far
it is.
"""

import mmap
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from peat_sidecar.ids import BlobHash
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.store import Store
from tests.support.verified_pieces import verified_pieces

_WAIT_SECONDS = 60
_PART_CHUNKS = 1024


class DoomedChildren:
    """Starts jobs and kills them; every wait has an end."""

    def __enter__(self) -> Self:
        root = Path(__file__).parents[2]
        path = os.pathsep.join([str(root), *filter(None, sys.path)])
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.support.doomed_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": path},
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reading = threading.Thread(target=self._read)
        self._reading.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(_WAIT_SECONDS)
        self._reading.join(_WAIT_SECONDS)
        self._server.stdout.close()

    def start(self, *job: object) -> int:
        """Process id of the child."""
        assert self._server.stdin is not None
        self._server.stdin.write(" ".join(map(str, job)) + "\n")
        self._server.stdin.flush()
        return int(self.next_line().removeprefix("pid "))

    def next_line(self) -> str:
        return self._lines.get(timeout=_WAIT_SECONDS)

    def wait_for(self, word: str) -> list[str]:
        """The lines up to the first that begins with the word or `ended`."""
        lines = [self.next_line()]
        while not lines[-1].startswith((word, "ended")):
            lines.append(self.next_line())
        return lines

    def kill(self, pid: int) -> list[str]:
        """SIGKILL; the lines that the child had written before."""
        os.kill(pid, signal.SIGKILL)
        return self.wait_for("ended")

    def _read(self) -> None:
        assert self._server.stdout is not None
        for line in self._server.stdout:
            self._lines.put(line.rstrip("\n"))


def _serve() -> None:
    dead = 0
    for line in sys.stdin:
        if dead:
            os.waitpid(dead, 0)
        if not (pid := os.fork()):
            try:
                _work(*line.split())
            except BaseException:  # noqa: BLE001  the child must not go on as its parent
                _say("failed " + traceback.format_exc().replace("\n", " | "))
            os._exit(0)
        _say(f"pid {pid}")
        # Its id is kept until the next job, so that a kill that comes late hits nobody else.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        _say("ended")
        dead = pid


def _work(job: str, data_dir: str, source: str, *rest: str) -> None:
    with Store.open(Path(data_dir)) as store:
        if job == "import":
            _import(store, Path(source))
        else:
            _fetch(store, Path(source), *rest)


def _import(store: Store, source: Path) -> None:
    size = source.stat().st_size
    with source.open("rb") as file:
        info = store.import_file(
            file.fileno(), progress=lambda done: _say("publishing") if done == size else None
        )
    _say(f"finished {info.hash}")


def _fetch(store: Store, source: Path, tree: str, blob_hash: str, seed: str) -> None:
    """Most of it in order, some pieces in any order."""
    choose = random.Random(seed)
    size = source.stat().st_size
    with source.open("rb") as file, store.partial(BlobHash.parse(blob_hash), size) as partial:
        data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        pairs = Path(tree).read_bytes()
        pieces = [
            piece
            for part in _parts(ChunkRanges.all().clamp(size) - partial.have)
            for piece in verified_pieces(data, pairs, part, _PART_CHUNKS)  # type: ignore[arg-type]
        ]
        for _ in range(len(pieces) // 10):
            at, to = choose.randrange(len(pieces)), choose.randrange(len(pieces))
            pieces[at], pieces[to] = pieces[to], pieces[at]
        for piece in pieces:
            partial.write(piece)
            _say(f"wrote {partial.present}")
        _say("publishing")
        info = partial.finish()
    _say(f"finished {info.hash}")


def _parts(missing: ChunkRanges) -> Iterator[ChunkRanges]:
    """As asked of several peers: each part comes with all pairs that lead to it."""
    for start, end in missing.intervals():
        assert end is not None
        for at in range(start, end, _PART_CHUNKS):
            yield ChunkRanges.of(at, min(end, at + _PART_CHUNKS))


def _say(line: str) -> None:
    os.write(1, line.encode() + b"\n")


if __name__ == "__main__":
    _serve()
