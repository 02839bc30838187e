"""`python -m bench.mesh`: how fast records spread, and what that costs.

    python -m bench.mesh                              50 real nodes, and 1,000 simulated ones
    python -m bench.mesh --nodes 10 --simulated 100   a quick look
    python -m bench.mesh --only real                  or simulation

Real nodes have Iroh endpoints on loopback, a formation key and databases on the disk; simulated ones are
linked in memory, and their databases are best put in memory too (--scratch /dev/shm).
"""

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

import structlog
from rich.console import Console

from bench.measurement import Report
from bench.mesh_real import real_rows
from bench.mesh_simulated import simulation_rows
from bench.setting import Setting

REAL_NODES = 50
SIMULATED_NODES = 1000
_ERROR = 40


async def mesh_rows(setting: Setting) -> None:
    """All of it, in the sizes that the project has targets for."""
    await real_rows(setting, REAL_NODES)
    await simulation_rows(setting, SIMULATED_NODES)


def main() -> None:
    """Parses, measures, prints."""
    options = _options()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(_ERROR))
    console = Console(width=None if sys.stdout.isatty() else 120)
    scratch = Path(tempfile.mkdtemp(prefix="peat-bench-", dir=options.scratch))
    report = Report(console)
    try:
        asyncio.run(_measure(options, Setting(console, report, scratch, None)))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        report.print()


async def _measure(options: argparse.Namespace, setting: Setting) -> None:
    if options.only in (None, "real"):
        await real_rows(setting, options.nodes)
    if options.only in (None, "simulation"):
        setting.console.print(
            "simulation: each signature is verified once for all nodes, not by each of them"
        )
        await simulation_rows(setting, options.simulated)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.mesh", description="How fast records spread.")
    parser.add_argument("--nodes", type=int, default=REAL_NODES, help="real nodes; 50 is the default")
    parser.add_argument("--simulated", type=int, default=SIMULATED_NODES, help="1,000 is the default")
    parser.add_argument("--only", choices=["real", "simulation"])
    parser.add_argument("--scratch", type=Path, help="where the databases go; the default is TMPDIR")
    return parser.parse_args()


if __name__ == "__main__":
    main()
