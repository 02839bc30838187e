"""Every instruction set against the slow twin and PyPI's blake3; arguments that do not fit are errors."""

import os
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from peat_sidecar import bao
from peat_sidecar.bao import KERNEL, _kernel, kernel_names, use_kernel
from peat_sidecar.errors import ConfigError
from tests.support import slow_bao
from tests.support.blobs import CONTENT

SIZES = slow_bao.interesting_sizes()
LARGE_SIZES = {
    64 * 1024: "a whole vector of parents",
    255 * 1024 + 3: "groups in odd numbers",
    (1 << 20) - 1: "a batch but one byte",
    1 << 20: "one whole batch",
    (1 << 20) + 1: "a second batch of one byte",
    (1 << 20) + 17 * 1024: "a second batch of two groups",
    3 << 20: "three batches: one without partner",
}


@pytest.mark.parametrize("size", SIZES | LARGE_SIZES)
def test_roots(kernel_name: str, size: int) -> None:
    data = CONTENT[:size]
    for leaf_chunks in (1, 16):
        value, pairs = _kernel.tree(data, 0, True, leaf_chunks)
        assert value == blake3(data).digest()
        assert len(pairs) == 64 * (max(1, -(-size // (1024 * leaf_chunks))) - 1)


@pytest.mark.parametrize("size", SIZES)
def test_trees(kernel_name: str, size: int) -> None:
    data = CONTENT[:size]
    chunks = slow_bao.chunks_of(data)
    for leaf_chunks in (1, 16):
        value, pairs = _kernel.tree(data, 0, False, leaf_chunks)
        assert value == slow_bao.subtree_value(chunks, 0, False)
        assert pairs == slow_bao.pairs_of(chunks, leaf_chunks)


@pytest.mark.parametrize(
    "first_chunk",
    [16, (1 << 32) - 8, 1 << 32, (1 << 54) - 21],
    ids=["next group", "counter passes 32 bits", "high word alone", "end of the largest blob"],
)
def test_counters(kernel_name: str, first_chunk: int) -> None:
    data = CONTENT[: 20 * 1024 + 5]
    chunks = slow_bao.chunks_of(data)
    value, pairs = _kernel.tree(data, first_chunk, False, 16)
    assert value == slow_bao.subtree_value(chunks, first_chunk, False)
    assert pairs == slow_bao.pairs_of(chunks, 16, first_chunk)


@pytest.mark.parametrize("offset", range(1, 8))
def test_alignment(kernel_name: str, offset: int) -> None:
    data = memoryview(CONTENT)[offset : offset + 33_000]
    assert _kernel.tree(data, 0, True, 16)[0] == blake3(data).digest()


@pytest.mark.parametrize("size", SIZES | LARGE_SIZES)
def test_runs_of_the_wire(kernel_name: str, size: int) -> None:
    data = CONTENT[:size]
    value, pairs = _kernel.tree(data, 0, True, 16)
    wire = _kernel.interleave(b"lead", data, pairs)
    if size in SIZES:
        assert wire == b"lead" + slow_bao.encode(data, (0,))
    assert _kernel.verify(value, wire[4:], 0, size, True) == (data, pairs)
    assert _kernel.verify(value, memoryview(wire)[4:], 16, size, True) is None or size == 0
    assert _kernel.verify(value, bytearray(wire[4:]), 0, size, False) is None


def test_every_flipped_byte_is_found(kernel_name: str) -> None:
    data = CONTENT[: 33 * 1024 + 100]
    value, pairs = _kernel.tree(data, 0, True, 16)
    wire = bytearray(_kernel.interleave(b"", data, pairs))
    for place in [*range(200), *range(200, len(wire), 509), *range(len(wire) - 70, len(wire))]:
        wire[place] ^= 1 << place % 8
        assert _kernel.verify(value, wire, 0, len(data), True) is None, place
        wire[place] ^= 1 << place % 8
    assert _kernel.verify(value, wire, 0, len(data), True) is not None


def test_parents() -> None:
    for pair in (CONTENT[:64], bytes(64)):
        for is_root in (False, True):
            assert _kernel.parent(pair, is_root) == slow_bao.parent_value(pair, is_root)


WRONG: dict[str, tuple[Callable[[], object], type[Exception]]] = {
    "negative chunk": (lambda: _kernel.tree(b"", -1, True, 16), OverflowError),
    "chunk of 65 bits": (lambda: _kernel.tree(b"", 1 << 64, True, 16), OverflowError),
    "chunk beyond every blob": (lambda: _kernel.tree(b"", 1 << 54, True, 16), ValueError),
    "chunks that end beyond": (lambda: _kernel.tree(bytes(1024), (1 << 54) - 1, True, 16), ValueError),
    "leaf of no chunk": (lambda: _kernel.tree(b"", 0, True, 0), ValueError),
    "leaf of two chunks": (lambda: _kernel.tree(b"", 0, True, 2), ValueError),
    "leaf of many chunks": (lambda: _kernel.tree(b"", 0, True, 1 << 40), OverflowError),
    "no buffer": (lambda: _kernel.tree("text", 0, True, 16), TypeError),  # type: ignore[arg-type]
    "scattered buffer": (lambda: _kernel.tree(memoryview(bytes(9))[::2], 0, True, 16), BufferError),
    "chunk that is no number": (lambda: _kernel.tree(b"", 0.5, True, 16), TypeError),  # type: ignore[arg-type]
    "short value": (lambda: _kernel.verify(bytes(31), b"", 0, 0, True), ValueError),
    "long value": (lambda: _kernel.verify(bytes(33), b"", 0, 0, True), ValueError),
    "no data": (lambda: _kernel.verify(bytes(32), b"", 0, 1, True), ValueError),
    "too much data": (lambda: _kernel.verify(bytes(32), bytes(2), 0, 1, True), ValueError),
    "missing pair": (lambda: _kernel.verify(bytes(32), bytes(16385), 0, 16385, True), ValueError),
    "half a pair": (lambda: _kernel.verify(bytes(32), bytes(16385 + 32), 0, 16385, True), ValueError),
    "pair too many": (lambda: _kernel.verify(bytes(32), bytes(16384 + 64), 0, 16384, True), ValueError),
    "negative length": (lambda: _kernel.verify(bytes(32), b"", 0, -1, True), OverflowError),
    "largest length": (lambda: _kernel.verify(bytes(32), bytes(64), 0, (1 << 64) - 1, True), ValueError),
    "length of 65 bits": (lambda: _kernel.verify(bytes(32), b"", 0, 1 << 64, True), OverflowError),
    "run beyond every blob": (lambda: _kernel.verify(bytes(32), b"", 1 << 60, 0, True), ValueError),
    "pairs without groups": (lambda: _kernel.interleave(b"", b"", bytes(64)), ValueError),
    "groups without pairs": (lambda: _kernel.interleave(b"", bytes(16385), b""), ValueError),
    "short pair": (lambda: _kernel.parent(bytes(63), False), ValueError),
    "long pair": (lambda: _kernel.parent(bytes(65), False), ValueError),
    "too few arguments": (lambda: _kernel.parent(bytes(64)), TypeError),  # type: ignore[call-arg]
    "unknown set": (lambda: _kernel.choose("mmx"), ValueError),
    "set that is no text": (lambda: _kernel.choose("a\0b"), ValueError),
}


@pytest.mark.parametrize("name", WRONG)
def test_arguments_that_do_not_fit(name: str) -> None:
    call, error = WRONG[name]
    with pytest.raises(error):
        call()


def test_others_run_while_it_works() -> None:
    """No thread is made to give up the GIL here, so the other one gets it only where the kernel lets go."""
    data = memoryview(CONTENT[: 1 << 20] * 64)
    order: list[str] = []
    started = threading.Event()

    def work() -> None:
        started.set()
        _kernel.tree(data, 0, True, 16)
        order.append("hashed")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        thread = threading.Thread(target=work)
        thread.start()
        started.wait(30)
        order.append("ran")
        thread.join(30)
    finally:
        sys.setswitchinterval(interval)
    assert order == ["ran", "hashed"]


def test_names() -> None:
    assert kernel_names()[-1] == "portable"
    assert KERNEL in kernel_names()
    assert _kernel.chosen() == KERNEL
    with pytest.raises(
        ConfigError, match=r"'mmx' does not run on this machine; PEAT_SIDECAR_KERNEL .*portable"
    ):
        use_kernel("mmx")
    assert _kernel.chosen() == KERNEL


def run_python(code: str, kernel: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PEAT_SIDECAR_KERNEL": kernel}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["", *kernel_names()])
def test_the_environment_chooses(name: str) -> None:
    ended = run_python("import peat_sidecar.bao as bao; print(bao.KERNEL)", name)
    assert ended.stdout.strip() == (name or kernel_names()[0]), ended.stderr


def test_an_unknown_name_in_the_environment_is_an_error() -> None:
    ended = run_python("import peat_sidecar.bao", "avx1024")
    assert ended.returncode == 1
    assert "ConfigError: kernel 'avx1024' does not run on this machine" in ended.stderr


def test_a_kernel_that_is_not_built_says_what_to_do() -> None:
    code = "import sys; sys.modules['peat_sidecar.bao._kernel'] = None; import peat_sidecar.bao"
    ended = run_python(code, "")
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: the BLAKE3 tree kernel of peat-sidecar is not built")
    assert "pip install" in last
    assert "apt-get install gcc" in last


EXERCISE = """
import ctypes, mmap, os, sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
loader = ExtensionFileLoader("_kernel", sys.argv[1])
kernel = module_from_spec(spec_from_loader("_kernel", loader))
loader.exec_module(kernel)
libc = ctypes.CDLL(None, use_errno=True)
room = mmap.mmap(-1, (1 << 20) + 3 * mmap.PAGESIZE)
begin = ctypes.addressof(ctypes.c_char.from_buffer(room))
last = len(room) - mmap.PAGESIZE
assert libc.mprotect(ctypes.c_void_p(begin + last), ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
view = memoryview(room)
for name in kernel.instruction_sets():
    kernel.choose(name)
    for size in map(int, sys.argv[2].split()):
        data = view[last - size : last]
        value, pairs = kernel.tree(data, 0, False, 16)
        assert len(kernel.tree(data, (1 << 54) - 1 - size // 1024, True, 1)[0]) == 32
        wire = kernel.interleave(b"", data, pairs)
        view[last - len(wire) : last] = wire
        assert kernel.verify(value, view[last - len(wire) : last], 0, size, False) is not None
        assert kernel.verify(value, view[last - len(wire) : last], 1, size, True) is None
print("all is well", flush=True)
os._exit(0)  # the memory is not to be let go in order
"""


def exercise(module: str) -> None:
    """Runs a kernel over buffers that end where the next page may not be touched."""
    sizes = " ".join(str(size) for size in (*SIZES, (1 << 20) - 1, 1 << 20))
    command = [sys.executable, "-c", EXERCISE, module, sizes]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout.strip()) == (0, "all is well"), ended.stderr


def test_nothing_beyond_the_end_is_read() -> None:
    exercise(str(_kernel.__file__))


def test_no_undefined_behaviour(tmp_path: Path) -> None:
    """Built so that overflows, wrong alignments and wrong shifts are traps."""
    source = Path(bao.__file__).parent / "kernel.c"
    compiler = os.environ.get("CC") or str(sysconfig.get_config_var("CC"))
    module = tmp_path / "_kernel.abi3.so"
    flags = ["-std=gnu11", "-shared", "-fPIC", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
    headers = ["-DPy_LIMITED_API=0x030B0000", f"-I{sysconfig.get_path('include')}"]
    command = [*compiler.split(), *flags, *headers, str(source), "-o", str(module)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert built.returncode == 0, built.stderr
    exercise(str(module))
