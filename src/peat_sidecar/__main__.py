"""Starts the command line: `peat-sidecar`, or `python -m peat_sidecar`."""

from peat_sidecar.cli import main

if __name__ == "__main__":
    main()
