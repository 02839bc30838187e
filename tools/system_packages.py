"""The programs that tests, benches and demo run beside Python: `system_packages.py test|bench|demo`.

What is missing is installed by apt where this is Debian's family and we are root; else it is named, with
the command to install it, and the exit code is 1. The demo can do without: then nothing is said here.
"""

import os
import subprocess
import sys
from shutil import which

_SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
"""Administrators' programs are not on every user's PATH."""

PROGRAMS = {
    "test": {
        "docker-registry": "docker-registry",
        "skopeo": "skopeo",
        "podman": "podman",
        "buildah": "buildah",
        "containerd": "containerd",
        "curl": "curl",
        "htpasswd": "apache2-utils",
        "mount": "mount",
        "mkfs.ext4": "e2fsprogs",
        "ip": "iproute2",
    },
    "bench": {
        "docker-registry": "docker-registry",
        "skopeo": "skopeo",
        "curl": "curl",
        "ip": "iproute2",
    },
    "demo": {
        "docker-registry": "docker-registry",
        "skopeo": "skopeo",
    },
}
"""For what: program, and the Debian package that has it."""


def main(purpose: str) -> None:
    """Installs what is missing, or says so and fails."""
    wanted = missing(purpose)
    if not wanted:
        return
    packages = sorted({PROGRAMS[purpose][program] for program in wanted})
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if which("apt-get") is None or os.geteuid() != 0:
        if purpose == "demo":
            return
        raise SystemExit(
            f"make {purpose} needs programs that are not installed: {', '.join(sorted(wanted))}.\n"
            f"Install them as root and try again, on Debian: {' '.join(command)}"
        )
    try:
        install(command)
    except SystemExit as failure:
        if purpose != "demo":
            raise
        print(f"{failure}; the demo goes on without {', '.join(sorted(wanted))}")
    if "docker-registry" in wanted:
        stop_packaged_registry()
    still = missing(purpose)
    if still and purpose != "demo":
        raise SystemExit(f"apt installed {', '.join(packages)}, but not on PATH: {', '.join(sorted(still))}")


def missing(purpose: str) -> set[str]:
    """The programs that are not there."""
    return {program for program in PROGRAMS[purpose] if which(program, path=_SEARCH) is None}


def install(command: list[str]) -> None:
    """Runs apt, with fresh lists, and without questions."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for step in (["apt-get", "update"], command):
        print("+ " + " ".join(step), flush=True)
        done = subprocess.run(
            [*step, "--quiet"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode:
            sys.stdout.write(done.stdout.decode(errors="replace"))
            raise SystemExit(f"{' '.join(step)} failed; its message stands above")


def stop_packaged_registry() -> None:
    """Stops the service that Debian starts with the package: it listens on all interfaces.

    Only called right after we installed it, so a registry that the owner of the machine runs is left alone.
    """
    service = which("service", path=_SEARCH)
    if service:
        subprocess.run(
            [service, "docker-registry", "stop"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in PROGRAMS:
        raise SystemExit(f"usage: system_packages.py {'|'.join(PROGRAMS)}")
    main(sys.argv[1])
