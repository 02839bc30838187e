"""From the arguments of the process to its exit code."""

import io
import os
import sys
from collections.abc import Sequence
from typing import TextIO

import typer

from peat_sidecar.cli.client import ApiError, DaemonUnavailable
from peat_sidecar.cli.commands import app
from peat_sidecar.cli.exit_codes import ExitCode, exit_code_of, exit_code_of_error
from peat_sidecar.cli.printing import print_error
from peat_sidecar.cli.watching import TransferFailed
from peat_sidecar.errors import PeatError

PROGRAM = "peat-sidecar"


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and ends the process."""
    sys.stdout, sys.stderr = _usable(sys.stdout), _usable(sys.stderr)
    code = _run(list(sys.argv[1:] if arguments is None else arguments))
    try:
        sys.stdout.flush()
    except OSError as error:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - up to the end of the process
        code = _fail(f"the output cannot be written: {error.strerror}", ExitCode.UNEXPECTED)
    sys.exit(code)


def _usable(stream: TextIO | None) -> TextIO:
    """There even when the caller closed it; a letter that it cannot show is no reason to fail."""
    if stream is None:
        return open(os.devnull, "w")
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    return stream


def _run(arguments: list[str]) -> int:
    try:
        if not arguments:
            app(["--help"], prog_name=PROGRAM, standalone_mode=False)
            return ExitCode.USAGE
        # What is returned is the code of an exit on the way; commands themselves return nothing.
        return app(arguments, prog_name=PROGRAM, standalone_mode=False) or ExitCode.OK
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else PROGRAM
        message = error.format_message().replace("Value error, ", "").rstrip(".")
        return _fail(f"{message}; see `{path} --help`", ExitCode.USAGE)
    except TransferFailed as error:
        return _fail(str(error), error.exit_code)
    except ApiError as error:
        return _fail(str(error), exit_code_of(error.code))
    except DaemonUnavailable as error:
        return _fail(str(error), ExitCode.UNAVAILABLE)
    except PeatError as error:
        return _fail(str(error), exit_code_of_error(error))
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", ExitCode.INTERRUPTED)
    except OSError as error:
        return _fail(f"{error.strerror or error}: {error.filename or 'the output'}", ExitCode.UNEXPECTED)
    except Exception as error:
        if os.environ.get("PYTHONDEVMODE"):
            raise
        kind = type(error).__name__
        return _fail(
            f"a fault of peat-sidecar itself: {kind}: {error}; please report it", ExitCode.UNEXPECTED
        )


def _fail(message: str, code: ExitCode) -> int:
    print_error(f"{PROGRAM}: {message}")
    return code
