"""The tree kernel in C (kernel.c). Buffers in, new bytes out; ValueError for sizes that do not fit together.

The GIL is released while more than a group is worked on.
"""

_Buffer = bytes | bytearray | memoryview

def tree(data: _Buffer, first_chunk: int, is_root: bool, leaf_chunks: int, /) -> tuple[bytes, bytes]:
    """Chaining value of a complete subtree, and its pairs in pre-order down to leaves of 1 or 16 chunks."""

def verify(
    expected: _Buffer, wire: _Buffer, first_chunk: int, length: int, is_root: bool, /
) -> tuple[bytes, bytes] | None:
    """Takes a complete subtree as it is on the wire apart: its `length` bytes of data, and its pairs.

    None when data or pairs are not what the expected chaining value stands for.
    """

def interleave(lead: _Buffer, data: _Buffer, pairs: _Buffer, /) -> bytes:
    """A complete subtree as it is on the wire, after `lead`. Nothing is verified."""

def parent(pair: _Buffer, is_root: bool, /) -> bytes:
    """Chaining value of a pair of them."""

def instruction_sets() -> tuple[str, ...]:
    """Those that run on this machine, the fastest first."""

def choose(name: str, /) -> None:
    """Uses another instruction set from now on. ValueError when it does not run here."""

def chosen() -> str:
    """The instruction set in use."""
