"""Makes the virtual environment and installs the project into it, editable: `prepare.py VENV [--extra NAME]`.

Driven by the Makefile, by any Python 3; so what is missing on the machine is said in plain words, with the
remedy, before anything is made. With `--extra` it only adds the packages of that extra.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from shutil import which

PROJECT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> None:
    """Makes and fills the environment named by the first argument."""
    venv = Path(arguments[0])
    python = venv / "bin" / "python"
    if "--extra" in arguments:
        install(python, *requirements_of(python, arguments[arguments.index("--extra") + 1]))
        return
    for complaint in complaints():
        raise SystemExit(complaint)
    if not python.exists():
        run(sys.executable, "-m", "venv", str(venv))
    install(python, "--editable", str(PROJECT))


def complaints() -> list[str]:
    """What this machine lacks, each with its remedy."""
    found = []
    if sys.version_info < (3, 11):  # noqa: UP036, this is where it is enforced
        version = ".".join(map(str, sys.version_info[:3]))
        found.append(
            f"peat-sidecar needs Python 3.11 or later, and {sys.executable} is {version}.\n"
            "Name another one: make setup PYTHON=python3.11"
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        found.append(
            f"{sys.executable} cannot make virtual environments: its venv module is not complete.\n"
            "Install it and try again: apt-get install python3-venv (Debian, Ubuntu)"
        )
    compiler = os.environ.get("CC", "").split() or ["cc", "gcc", "clang"]
    if not any(which(name) for name in compiler):
        found.append(
            f"peat-sidecar needs a C compiler once, for its tree kernel: no {', '.join(compiler)} here.\n"
            "Install one and try again: apt-get install gcc libc6-dev (Debian, Ubuntu),\n"
            "dnf install gcc (Fedora); or name yours: make setup CC=/path/to/compiler"
        )
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    if not headers.exists():
        found.append(
            f"The header files of {sys.executable} are not installed ({headers} is missing).\n"
            "Install them and try again: apt-get install python3-dev (Debian, Ubuntu),\n"
            "dnf install python3-devel (Fedora)"
        )
    return found


def requirements_of(python: Path, extra: str) -> list[str]:
    """The packages that an extra of pyproject.toml names."""
    program = (
        "import tomllib, sys\n"
        "project = tomllib.load(open(sys.argv[1], 'rb'))['project']\n"
        "print('\\n'.join(project['optional-dependencies'][sys.argv[2]]))"
    )
    answer = subprocess.run(
        [str(python), "-c", program, str(PROJECT / "pyproject.toml"), extra],
        check=True,
        stdout=subprocess.PIPE,
    )
    return answer.stdout.decode().split("\n")[:-1]


def install(python: Path, *what: str) -> None:
    """Installs by pip, as it is configured on this machine."""
    run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what)


def run(*command: str) -> None:
    """Runs a command; when it fails its own words stand above."""
    print("+ " + " ".join(command), flush=True)
    status = subprocess.call(command)
    if status:
        raise SystemExit(f"{command[0]} failed with status {status}; its message stands above")


if __name__ == "__main__":
    main(sys.argv[1:])
