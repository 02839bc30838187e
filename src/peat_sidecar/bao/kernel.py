"""The kernel in C, loaded once, with the instruction set that this machine or PEAT_SIDECAR_KERNEL says.

An instruction set that was asked for and does not run here is an error: nobody shall measure another one.
"""

import os

from peat_sidecar.errors import ConfigError

VARIABLE = "PEAT_SIDECAR_KERNEL"
"""Environment variable that names the instruction set; empty is the same as none."""

try:
    from peat_sidecar.bao import _kernel
except ImportError as error:
    raise ImportError(
        "the BLAKE3 tree kernel of peat-sidecar is not built for this Python"
        f" ({error}); run `pip install .` in the source folder, which needs a C compiler"
        " (Debian, Ubuntu: apt-get install gcc libc6-dev)"
    ) from None

interleave = _kernel.interleave
parent = _kernel.parent
tree = _kernel.tree
verify = _kernel.verify


def kernel_names() -> tuple[str, ...]:
    """Instruction sets that run on this machine, the fastest first."""
    return _kernel.instruction_sets()


def use_kernel(name: str) -> None:
    """Uses this instruction set from now on, in every thread. ConfigError when it does not run here."""
    try:
        _kernel.choose(name)
    except ValueError:
        known = ", ".join(kernel_names())
        raise ConfigError(
            f"kernel {name[:32]!r} does not run on this machine; {VARIABLE} may be one of {known}, or unset"
        ) from None


if _wanted := os.environ.get(VARIABLE):
    use_kernel(_wanted)

KERNEL = _kernel.chosen()
"""The instruction set that was chosen when the program started."""
