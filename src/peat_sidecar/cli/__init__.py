"""The command line: commands that parse, call the API and print. Only `run` is more than a client.

Errors are a line or two on standard error that say how to mend them; exit codes are in `exit_codes`.
"""

from peat_sidecar.cli.entry import main
from peat_sidecar.cli.exit_codes import ExitCode

__all__ = ["ExitCode", "main"]
