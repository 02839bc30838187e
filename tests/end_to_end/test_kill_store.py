"""kill -9 of a process that imports or fetches a real file, at 50 instants, half of them around publishing.

After each: every byte that the store gives out is right, what was promised is there, what was written is
found again, and the work goes on.
"""

import hashlib
import mmap
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.doomed_child import DoomedChildren
from tests.support.real_files import real_file

from peat_sidecar.ids import BlobHash
from peat_sidecar.store import Store

SIZE = 200 << 20
ROUNDS = 50


@dataclass
class Pace:
    """How long an undisturbed run takes here, so that the kills fall into it."""

    whole_seconds: float
    publishing_seconds: float

    @classmethod
    def measure(cls, children: DoomedChildren, *job: object) -> "Pace":
        began = time.perf_counter()
        children.start(*job)
        lines = children.wait_for("publishing")
        assert lines[-1] == "publishing", lines
        publishing = time.perf_counter()
        lines = children.wait_for("finished")
        assert lines[-1].startswith("finished"), lines
        ended = time.perf_counter()
        children.wait_for("ended")
        return cls(ended - began, ended - publishing)


@dataclass
class Source:
    path: Path
    data: mmap.mmap
    hash: BlobHash
    tree: Path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    folder = tmp_path_factory.mktemp("kill")
    path = folder / "source"
    real_file(path, SIZE)
    with Store.open(folder / "right") as store, path.open("rb") as file:
        info = store.import_file(file.fileno(), link=True)
        data = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        assert hashlib.sha256(data).hexdigest() == info.proven_digest.hex
        yield Source(path, data, info.hash, folder / f"right/trees/{info.hash}")
        data.close()
    path.unlink()


def test_import(source: Source, tmp_path: Path) -> None:
    choose = random.Random(20)
    finished = 0
    with DoomedChildren() as children:
        pace = Pace.measure(children, "import", tmp_path / "measured", source.path)
        for round_number in range(ROUNDS):
            pid = children.start("import", tmp_path / "data", source.path)
            lines = _run_and_kill(children, pid, choose, round_number, pace)
            with Store.open(tmp_path / "data") as store:
                _check_whole(store, source, promised=_promised(lines))
                assert list((tmp_path / "data/partial").iterdir()) == []
                finished += _forget(store, source)
    assert 0 < finished < ROUNDS  # some were killed after publishing, or the instants are no good


def test_fetch(source: Source, tmp_path: Path) -> None:
    choose = random.Random(21)
    finished = 0
    job = (source.path, source.tree, source.hash)
    with DoomedChildren() as children:
        pace = Pace.measure(children, "fetch", tmp_path / "measured", *job, "x")
        for round_number in range(ROUNDS):
            pid = children.start("fetch", tmp_path / "data", *job, round_number)
            lines = _run_and_kill(children, pid, choose, round_number, pace)
            with Store.open(tmp_path / "data") as store:
                _check_whole(store, source, promised=_promised(lines))
                _check_part(store, source, lines)
                finished += _forget(store, source)
    assert 0 < finished < ROUNDS


def _run_and_kill(
    children: DoomedChildren, pid: int, choose: random.Random, number: int, pace: Pace
) -> list[str]:
    """Every second round the child is killed around publishing, else anywhere from the start on."""
    lines: list[str] = []
    if number % 2:
        lines = children.wait_for("publishing")
        time.sleep(choose.uniform(0, 1.3 * pace.publishing_seconds))
    else:
        time.sleep(choose.uniform(0, pace.whole_seconds))
    if not lines or not lines[-1].startswith("ended"):
        lines += children.kill(pid)
    assert not any(line.startswith("failed") for line in lines), lines
    return lines


def _promised(lines: list[str]) -> bool:
    return any(line.startswith("finished") for line in lines)


def _check_whole(store: Store, source: Source, *, promised: bool) -> None:
    info = store.find(source.hash)
    complete = info is not None and info.complete
    assert complete or not promised
    if complete:
        assert info is not None
        assert store.find(info.proven_digest) == info
        with store.reader(source.hash) as reader:
            _compare(reader.read, source, 0, SIZE)
            pairs = source.tree.read_bytes()
            assert reader.outboard(0, len(pairs)) == pairs


def _check_part(store: Store, source: Source, lines: list[str]) -> None:
    """What the map says and what hashing finds is right, and nothing that was written is lost."""
    info = store.find(source.hash)
    written = [int(line.removeprefix("wrote ")) for line in lines if line.startswith("wrote")]
    if info is None or info.complete:
        assert info is not None or not written
        return
    with store.partial(source.hash) as partial, store.reader(source.hash) as reader:
        assert partial.present >= max(written, default=0)
        for start, end in partial.have.intervals():
            assert end is not None
            _compare(reader.read, source, start * 1024, min(SIZE, end * 1024))


def _compare(read: object, source: Source, start: int, end: int) -> None:
    assert callable(read)
    for offset in range(start, end, 8 << 20):
        length = min(8 << 20, end - offset)
        assert read(offset, length) == source.data[offset : offset + length], f"wrong bytes after {offset}"


def _forget(store: Store, source: Source) -> bool:
    """So that the next round begins anew, once it was complete."""
    info = store.find(source.hash)
    if info is None or not info.complete:
        return False
    store.delete(source.hash)
    return True
