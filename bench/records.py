"""Rows about records: a node that knows 250,000 of them, and a document that is updated 100,000 times.

    python -m bench.records                     all of it; some minutes, most of them for making signatures
    python -m bench.records --records 25000 --updates 2000

Records are those of packages as a fleet of 50 agents would have them. The newcomer takes them in batches as
sync sends them. Memory is that of a process of its own, which opens the database and answers from it.
"""

import argparse
import asyncio
import gc
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from rich.console import Console

from bench.measurement import Report, Row, limit_row
from bench.setting import Setting
from peat_sidecar.records import (
    BATCH_LIMIT_BYTES,
    Batch,
    Records,
    SignedRecord,
    Signer,
    clock_at,
    sign_record,
)

RECORDS = 250_000
UPDATES = 100_000
_SIGNERS = 50
_CHANGES = 200
_PILE = 4
"""Batches that are stored at once, as sync does with those that have piled up."""
_BEGIN = 1_790_000_000.0
"""Of the records' clocks, Unix seconds."""
_MEBIBYTE = 1 << 20
_MEMORY = Path("/dev/shm")
"""Where 100,000 updates do not wait for the disk."""
_RECORD_LIMIT_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured."""

    records: int
    merged_per_second: float
    """Verified and stored by a newcomer, with the disk's waits."""
    merged_per_cpu_second: float
    verified_per_second: float
    """Signatures alone, by the same core in the same run: what cannot be beaten."""
    start_seconds: float
    """Until the database answers, in a new process."""
    extra_bytes: int
    """Of memory, after it has opened the database, given out all records once and found packages."""
    database_bytes: int
    record_bytes: int
    """Body and signature of a package's record."""
    change_seconds_empty: float
    """Processor time to take in one new record, in an empty database."""
    change_seconds_full: float
    """The same beside all the records."""
    updates: int
    update_seconds: float
    """One durable update of a document, with the disk's waits: mean of some."""
    updated_bytes_first: int
    """Of the database and its log after a hundredth of the updates."""
    updated_bytes_last: int
    """After all of them."""
    updated_batch_bytes: int
    """What a newcomer then gets of the document."""


def measure(scratch: Path, *, records: int = RECORDS, updates: int = UPDATES) -> Figures:
    """In an empty folder; leaves databases in it."""
    gc.set_threshold(20_000, 20, 20)  # as the daemon has it
    path = scratch / "records.db"
    newcomer = Records.open(path, _signer(0), now=lambda: _BEGIN + 86_400)
    empty = _one_change(newcomer, 1)
    wall, cpu, verified = _fill(newcomer, records)
    full = _one_change(newcomer, 2)
    newcomer.close()
    opened = _in_its_own_process(path)
    each = _update(scratch / "waited.db", _CHANGES)[3] / _CHANGES
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else scratch) as memory:
        first, last, batch, _ = _update(Path(memory, "updates.db"), updates)
    return Figures(
        records,
        records / wall,
        records / cpu,
        verified,
        opened["seconds"],
        opened["extra_bytes"],
        path.stat().st_size,
        len(_record(1, 0).body) + 64,
        empty,
        full,
        updates,
        each,
        first,
        last,
        batch,
    )


async def record_rows(setting: Setting) -> None:
    """For `make bench`."""
    scratch = setting.scratch / "records"
    scratch.mkdir()
    figures = await asyncio.to_thread(measure, scratch)
    for row in rows(figures):
        setting.report.add(row)
    await asyncio.to_thread(shutil.rmtree, scratch)


def rows(figures: Figures) -> Iterator[Row]:
    """Lines of the table."""
    subject = f"{figures.records} records"
    rate = f"{figures.merged_per_second:.0f} records/s"
    yield Row(
        f"{subject}, first sync to a newcomer",
        rate,
        f"{figures.merged_per_cpu_second:.0f} records/s of processor time;"
        f" {figures.verified_per_second:.0f} signatures/s alone",
        rate,
        ">= 5000 records/s",
        figures.merged_per_second >= 5000,
    )
    yield limit_row(f"{subject}, start", figures.start_seconds, "s", under=1)
    yield limit_row(
        f"{subject}, more memory",
        figures.extra_bytes / _MEBIBYTE,
        "MiB",
        under=100,
        beside=f"{figures.database_bytes / _MEBIBYTE:.0f} MiB on disk",
    )
    yield limit_row("record of a package", figures.record_bytes, "bytes", under=_RECORD_LIMIT_BYTES)
    yield Row(
        "one new record taken in",
        f"{figures.change_seconds_full * 1000:.2f} ms beside {figures.records}",
        f"{figures.change_seconds_empty * 1000:.2f} ms in an empty database",
        f"{figures.change_seconds_full / figures.change_seconds_empty:.2f}",
        "< 2",
        figures.change_seconds_full < 2 * figures.change_seconds_empty,
    )
    yield Row(
        f"{figures.updates} updates of one document",
        f"{figures.updated_bytes_last / _MEBIBYTE:.1f} MiB on disk",
        f"{figures.updated_bytes_first / _MEBIBYTE:.1f} MiB after a hundredth;"
        f" {figures.update_seconds * 1000:.2f} ms each",
        f"{figures.updated_batch_bytes} bytes to a newcomer",
        "does not grow",
        figures.updated_bytes_last <= figures.updated_bytes_first + 64 * 1024,
    )


def package(agent: int, number: int) -> dict[str, Any]:
    """A package's document, as the announcer writes it."""
    root, collection = (
        hashlib.sha256(f"{what} {number}".encode()).hexdigest() for what in ("root", "collection")
    )
    name = f"team-{number % 7}/service-{number // 20}"
    return {
        "agent_id": f"vessel-{agent:03d}",
        "registry": "registry.fleet.example:5000",
        "package": name,
        "reference": f"registry.fleet.example:5000/{name}:v1.{number % 20}.0",
        "arch": "amd64",
        "version": f"v1.{number % 20}.0",
        "total_bytes": 126_000_000 + number,
        "pull_status": "complete",
        "content": {
            "root": f"sha256:{root}",
            "manifest": f"sha256:{root}",
            "collection": collection,
            "blobs": 14,
            "bytes": 126_000_000 + number,
            "state": "complete",
        },
    }


def _fill(newcomer: Records, count: int) -> tuple[float, float, float]:
    """Seconds and processor seconds of merging (not of making the records), and signatures a second."""
    wall = cpu = verifying = 0.0
    verified = 0
    for agent in range(1, _SIGNERS + 1):
        batches = list(_batches(agent, count // _SIGNERS))
        began, began_cpu = time.perf_counter(), time.process_time()
        for start in range(0, len(batches), _PILE):
            newcomer.merge(batches[start : start + _PILE])
        wall += time.perf_counter() - began
        cpu += time.process_time() - began_cpu
        began_cpu = time.process_time()
        verified += _verify(batches[0])
        verifying += time.process_time() - began_cpu
    return wall, cpu, verified / verifying


def _verify(batch: Batch) -> int:
    key = Ed25519PublicKey.from_public_bytes(batch.signer.value)
    for signed in batch.records:
        key.verify(signed.signature, b"peat-sidecar record 1\0" + signed.body)
    return len(batch.records)


def _batches(agent: int, count: int) -> Iterator[Batch]:
    records: list[SignedRecord] = []
    after = size = 0
    for number in range(count):
        signed = _record(agent, number)
        records.append(signed)
        size += len(signed.body) + len(signed.signature)
        if size >= BATCH_LIMIT_BYTES or number == count - 1:
            upto = _clock(number)
            yield Batch(_signer(agent).id, after, upto, tuple(records))
            records, after, size = [], upto, 0


def _record(agent: int, number: int) -> SignedRecord:
    document = package(agent, number)
    doc_id = f"{document['agent_id']}:{document['reference']}-{document['arch']}"
    clock = _clock(number)
    return sign_record(_signer(agent), "packages", doc_id, document, sequence=clock, clock=clock)


def _clock(number: int) -> int:
    return clock_at(_BEGIN + number * 0.01)


def _signer(agent: int) -> Signer:
    return Signer(hashlib.sha256(f"agent {agent}".encode()).digest())


def _one_change(records: Records, round: int) -> float:
    """Processor time for one record that is new, from a signer of its own."""
    signer = _signer(1000 + round)
    after, taken = 0, 0.0
    for number in range(_CHANGES):
        upto = _clock(number)
        signed = sign_record(
            signer, "notes", f"{round}-{number}", package(0, number), sequence=upto, clock=upto
        )
        batch = Batch(signer.id, after, upto, (signed,))
        began = time.process_time()
        records.merge([batch])
        taken += time.process_time() - began
        after = upto
    return taken / _CHANGES


def _update(path: Path, updates: int) -> tuple[int, int, int, float]:
    """Bytes after a hundredth and after all, of the batch for a newcomer, and seconds."""
    document = package(1, 1)
    sizes, seconds, size = [], 0.0, 0
    for part in range(100):
        records = Records.open(path, _signer(1))
        began = time.perf_counter()
        for number in range(part * updates // 100, (part + 1) * updates // 100):
            document["content"]["bytes"] = number
            records.put("packages", "vessel-001:app-amd64", document)
        seconds += time.perf_counter() - began
        batch = records.since(records.id, 0)
        size = sum(len(each.body) + len(each.signature) for each in batch.records) if batch else 0
        records.close()  # folds the log into the database
        sizes.append(path.stat().st_size)
    return sizes[0], sizes[-1], size, seconds


def _in_its_own_process(path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.records", "--open", str(path)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def _open(path: Path) -> None:
    """In the process of its own."""
    Records.open(path.with_name("warm.db"), _signer(0)).close()  # what all of them cost: libraries
    before = _resident_bytes()
    began = time.perf_counter()
    records = Records.open(path, _signer(0))
    records.heads()
    records.digest()
    records.get("packages", "vessel-001:none")
    seconds = time.perf_counter() - began
    for signer in records.heads():
        after = 0
        while (batch := records.since(signer, after)) is not None:
            after = batch.upto
    for number in range(0, 5000, 50):
        records.find("content.root", package(1, number)["content"]["root"])
    print(json.dumps({"seconds": seconds, "extra_bytes": _resident_bytes() - before}))
    records.close()


def _resident_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def main() -> None:
    """By itself, without the other rows."""
    parser = argparse.ArgumentParser(prog="bench.records", description="What many records cost.")
    parser.add_argument("--records", type=int, default=RECORDS)
    parser.add_argument("--updates", type=int, default=UPDATES)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open is not None:
        _open(options.open)
        return
    report = Report(Console(width=None if sys.stdout.isatty() else 120))
    scratch = Path(tempfile.mkdtemp(prefix="peat-records-"))
    try:
        for row in rows(measure(scratch, records=options.records, updates=options.updates)):
            report.add(row)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        report.print()


if __name__ == "__main__":
    main()
