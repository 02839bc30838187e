"""Runs a Python module with a wall clock that is wrong, as `-m` would run it:

    python shifted_clock.py SECONDS python -m MODULE ARGUMENTS...

The monotonic clock, and the kernel's, stay right.
"""

import runpy
import sys
import time


def main() -> None:
    shift, _, flag, module, *arguments = sys.argv[1:]
    if flag != "-m":
        raise SystemExit("usage: shifted_clock.py SECONDS python -m MODULE ARGUMENTS...")
    right, right_ns, seconds = time.time, time.time_ns, float(shift)
    time.time = lambda: right() + seconds
    time.time_ns = lambda: right_ns() + int(seconds * 1e9)
    sys.path.pop(0)  # this file's folder
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
