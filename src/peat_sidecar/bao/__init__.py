"""BLAKE3 trees: blobs hashed with their tree, encoded for the wire in any range, and verified from it.

Pure: no I/O, no asyncio, no clock. The bytes go through a kernel in C without the GIL; the instruction set is
chosen at run time, or by PEAT_SIDECAR_KERNEL. Driven by the store (`TreeBuilder`, `check_groups`), the
provider (`encode`) and the getter (`Decoder`).
"""

from peat_sidecar.bao.building import TreeBuilder
from peat_sidecar.bao.checking import check_groups
from peat_sidecar.bao.decoding import Decoder, Verified
from peat_sidecar.bao.encoding import body_length, encode
from peat_sidecar.bao.kernel import KERNEL, kernel_names, use_kernel
from peat_sidecar.bao.tree import RUN_CHUNKS, Pair, Run, group_count, outboard_size, plan
from peat_sidecar.ranges import CHUNK_SIZE, GROUP_CHUNKS, GROUP_SIZE, chunk_count

__all__ = [
    "CHUNK_SIZE",
    "GROUP_CHUNKS",
    "GROUP_SIZE",
    "KERNEL",
    "RUN_CHUNKS",
    "Decoder",
    "Pair",
    "Run",
    "TreeBuilder",
    "Verified",
    "body_length",
    "check_groups",
    "chunk_count",
    "encode",
    "group_count",
    "kernel_names",
    "outboard_size",
    "plan",
    "use_kernel",
]
