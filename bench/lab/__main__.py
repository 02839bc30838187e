"""`make bench-lab`: content over links that lose, delay, throttle and break, beside others on the same links.

    make bench-lab                                     all cases; about an hour
    make bench-lab BENCH="--quick"                     small sizes: whether all of it runs
    make bench-lab BENCH="--only lossy,swarm"          some; their names are below

Needs root, for the network namespaces. Figures never decide the exit code, but a peer that is missing does.
"""

import argparse
import asyncio
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from rich.console import Console

from bench.lab.hosts import LabSetting
from bench.lab.limits import limit_rows
from bench.lab.loopback import kill_rows, speed_rows
from bench.lab.one_source import long_rows, lossy_rows, thin_rows
from bench.lab.outages import outage_rows
from bench.lab.precedence import critical_rows, document_rows
from bench.lab.swarm import seeds_rows, swarm_rows
from bench.measurement import Report, some_of

_CASES: dict[str, Callable[[LabSetting], Awaitable[None]]] = {
    "lossy": lossy_rows,
    "thin": thin_rows,
    "long": long_rows,
    "outages": outage_rows,
    "swarm": swarm_rows,
    "seeds": seeds_rows,
    "limits": limit_rows,
    "critical": critical_rows,
    "documents": document_rows,
    "kill": kill_rows,
    "loopback": speed_rows,
}
_PROGRAMS = ("curl", "skopeo", "docker-registry", "ip")


def main() -> None:
    """Parses, checks what is there, measures, prints."""
    options = _options()
    _require()
    console = Console(width=None if sys.stdout.isatty() else 120)
    scratch = Path(tempfile.mkdtemp(prefix="peat-bench-", dir=options.scratch))
    report = Report(console)
    try:
        asyncio.run(_measure(options.only, LabSetting(report, scratch, options.quick)))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        report.print()


async def _measure(names: list[str], setting: LabSetting) -> None:
    for name in names:
        setting.report.console.print(f"[bold]{name}[/]")
        await _CASES[name](setting)


def _require() -> None:
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if importlib.util.find_spec("aster") is None:
        missing.append("aster-rpc (the Rust peer)")
    if missing:
        raise SystemExit(
            f"figures are compared with those of others, and {', '.join(missing)} is missing: make bench-lab"
        )
    if os.geteuid() != 0:
        raise SystemExit("a lab of network namespaces needs root: sudo make bench-lab")


def _options() -> argparse.Namespace:
    names = list(_CASES)
    parser = argparse.ArgumentParser(prog="bench.lab", description="Content over bad links, beside others.")
    parser.add_argument("--quick", action="store_true", help="small sizes and short windows")
    parser.add_argument(
        "--only", type=lambda text: some_of(text, names), default=names, help=f"some of {','.join(names)}"
    )
    parser.add_argument("--scratch", type=Path, help="a folder for stores and content; the default is TMPDIR")
    return parser.parse_args()


if __name__ == "__main__":
    main()
