"""The two things that pyproject.toml cannot say: the C kernel and the code generated from the .proto file.

`pip install` runs both; nothing that they produce is committed.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PROTO = ROOT / "proto"
GENERATED = ROOT / "src" / "peat_sidecar" / "rpc" / "generated"

NO_COMPILER = """
peat-sidecar needs a C compiler once, for its BLAKE3 tree kernel, and could not use one:

    {error}

Install one and try again: `apt-get install gcc libc6-dev` (Debian, Ubuntu), `dnf install gcc` (Fedora),
`apk add gcc musl-dev` (Alpine), `xcode-select --install` (macOS). If it is installed under another
name, say so with CC=/path/to/compiler.
"""


class BuildKernel(build_ext):
    """Builds the kernel; says in plain words what is missing when no compiler works."""

    def run(self) -> None:
        try:
            super().run()
        except (Exception, SystemExit) as error:  # noqa: BLE001  distutils raises many kinds of one meaning
            sys.stderr.write(NO_COMPILER.format(error=error))
            raise SystemExit(1) from None


class BuildPython(build_py):
    """Generates the messages and the service from `proto/` before the Python files are collected."""

    def run(self) -> None:
        generate()
        super().run()


class LimitedApiWheel(bdist_wheel):
    """Tags the wheel for the stable ABI: one build serves every Python from 3.11 on."""

    def finalize_options(self) -> None:
        self.py_limited_api = "cp311"
        super().finalize_options()


def generate() -> None:
    """Runs protoc with the two plugins; their scripts lie beside this Python or on PATH."""
    from grpc_tools import protoc  # type: ignore[import-untyped]

    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    GENERATED.mkdir(exist_ok=True)
    (GENERATED / "__init__.py").touch()
    arguments = [f"-I{PROTO}", f"--py_out={GENERATED}", f"--connectrpc_out={GENERATED}"]
    if protoc.main(["protoc", *arguments, *map(str, sorted(PROTO.glob("*.proto")))]):
        raise SystemExit("protoc could not generate the code of proto/*.proto; its message stands above")


setup(
    ext_modules=[
        Extension(
            "peat_sidecar.bao._kernel",
            sources=["src/peat_sidecar/bao/kernel.c"],
            depends=["src/peat_sidecar/bao/kernel_hashing.h", "src/peat_sidecar/bao/kernel_lanes.h"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            extra_compile_args=["-O3", "-std=gnu11", "-fvisibility=hidden"],
            py_limited_api=True,
        )
    ],
    cmdclass={"build_ext": BuildKernel, "build_py": BuildPython, "bdist_wheel": LimitedApiWheel},
)
