"""`make bench`: what the sidecar does beside what it could do at best, on this machine, in one run.

    make bench                                        all rows, 500 MB and 4 GiB, 5 and 3 rounds
    make bench BENCH="--size 100M --rounds 1"         a quick look
    make bench BENCH="--only fetch,wire"              some rows; their names are below

Content is made of the files of this machine, one after another; 4 GiB may need them more than once, each
round shifted. Every side is a process of its own. Timings never decide the exit code, but a peer that is
missing does: a comparison that was left out looks like one that was won.
"""

import argparse
import asyncio
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from rich.console import Console
from tests.support.real_files import real_file

from bench.collecting import collecting_rows
from bench.fetching import fetch_rows, serve_rows
from bench.importing import export_rows, import_rows
from bench.in_place import in_place_rows
from bench.measurement import Report, parse_size, size_text, some_of
from bench.mesh import mesh_rows
from bench.misses import miss_rows
from bench.records import record_rows
from bench.registry import registry_rows
from bench.setting import Content, Setting
from bench.small import idle_rows, small_blob_rows
from bench.wire_cost import wire_rows

_SIZED: dict[str, Callable[[Setting, Content], Awaitable[None]]] = {
    "fetch": fetch_rows,
    "serve": serve_rows,
    "import": import_rows,
    "export": export_rows,
    "registry": registry_rows,
    "misses": miss_rows,
    "in-place": in_place_rows,
}
"""Rows that are measured for every size."""
_UNSIZED: dict[str, Callable[[Setting], Awaitable[None]]] = {
    "small": small_blob_rows,
    "idle": idle_rows,
    "wire": wire_rows,
    "records": record_rows,
    "mesh": mesh_rows,
    "collecting": collecting_rows,
}


def main() -> None:
    """Parses, checks what is there, measures, prints."""
    options = _options()
    if importlib.util.find_spec("aster") is None:
        raise SystemExit(
            "aster-rpc, the Rust peer that speeds are compared with, is not installed: make setup"
        )
    console = Console(width=None if sys.stdout.isatty() else 120)
    scratch = Path(tempfile.mkdtemp(prefix="peat-bench-", dir=options.scratch))
    report = Report(console)
    try:
        asyncio.run(_measure(options, Setting(console, report, scratch, options.rounds)))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        report.print()


async def _measure(options: argparse.Namespace, setting: Setting) -> None:
    for size in options.size:
        rows = [run for name, run in _SIZED.items() if name in options.only]
        if not rows:
            break
        content = Content(setting.scratch / f"content-{size_text(size)}", size)
        setting.console.print(f"[bold]{size_text(size)}[/], of the files of this machine")
        await asyncio.to_thread(real_file, content.path, size)
        for run in rows:
            await run(setting, content)
        await asyncio.to_thread(content.path.unlink)
    for name, measure in _UNSIZED.items():
        if name in options.only:
            await measure(setting)


def _options() -> argparse.Namespace:
    names = [*_SIZED, *_UNSIZED]
    parser = argparse.ArgumentParser(prog="bench", description="Speeds beside their peers, in one run.")
    parser.add_argument(
        "--size", type=_sizes, default=[500_000_000, 4 << 30], help="sizes, as 500M,4Gi (the default)"
    )
    parser.add_argument(
        "--rounds", type=int, help="rounds of each comparison; the default is 5, and 3 above 1 GB"
    )
    parser.add_argument(
        "--only", type=lambda text: some_of(text, names), default=names, help=f"some of {','.join(names)}"
    )
    parser.add_argument("--scratch", type=Path, help="a folder on the disk to measure; the default is TMPDIR")
    return parser.parse_args()


def _sizes(text: str) -> list[int]:
    try:
        return [parse_size(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    main()
