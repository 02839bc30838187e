"""The patch of the bindings' write buffer: in place, right, quick, and refused where the shape differs."""

import importlib.metadata
import logging
import sys
from types import ModuleType
from typing import Any

import pytest
from iroh import iroh_ffi

from peat_sidecar.net import bindings, guard


def test_bindings_are_the_version_that_was_checked() -> None:
    installed = importlib.metadata.version("iroh")
    assert installed == guard.CHECKED_VERSION, (
        f"iroh {installed} is installed. Look at the write method of the buffer builder in its bindings: if"
        " it copies byte by byte, keep the guard and set CHECKED_VERSION; if it does not, remove the guard."
    )


def test_patch_is_in_place() -> None:
    assert bindings.WRITES_ARE_FAST
    assert guard.install(iroh_ffi), "installing again changes nothing"


@pytest.mark.parametrize("length", [0, 1, 15, 16, 17, 1 << 20])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_go_through_unchanged(length: int, kind: type) -> None:
    data = (bytes(range(256)) * (length // 256 + 1))[:length]
    any_bindings: Any = iroh_ffi
    lowered = any_bindings._UniffiFfiConverterBytes.lower(kind(data))
    assert any_bindings._UniffiFfiConverterBytes.lift(lowered) == data


def test_a_mebibyte_is_not_copied_byte_by_byte() -> None:
    """137 ms unpatched, 0.04 ms patched; what is counted is lines of Python, which no other load changes."""
    any_bindings: Any = iroh_ffi
    lines = 0

    def count(*_: object) -> object:
        nonlocal lines
        lines += 1
        return count

    before = sys.gettrace()
    sys.settrace(count)  # type: ignore[arg-type]
    try:
        any_bindings._UniffiFfiConverterBytes.lower(bytes(1 << 20)).free()
    finally:
        sys.settrace(before)
    assert 0 < lines < 1000


def other_bindings(**changes: object) -> ModuleType:
    module = ModuleType("other")
    source: Any = iroh_ffi
    builder: Any = type("Builder", (), dict(vars(source._UniffiRustBufferBuilder)))
    builder.write = stock_write
    vars(module).update(_UniffiRustBufferBuilder=builder, _UniffiRustBuffer=source._UniffiRustBuffer)
    vars(module).update(changes)
    return module


def stock_write(self: Any, value: bytes) -> None:
    with self._reserve(len(value)):
        for i, byte in enumerate(value):
            self.rbuf.data[self.rbuf.len + i] = byte


class OtherBuffer:
    _fields_ = (("pointer", int),)


class OtherBuilder:
    def write(self, value: bytes) -> None:
        del value


@pytest.mark.parametrize(
    "changes",
    [
        {"_UniffiRustBufferBuilder": None},
        {"_UniffiRustBufferBuilder": OtherBuilder},
        {"_UniffiRustBuffer": OtherBuffer},
    ],
)
def test_unknown_shape_keeps_the_stock_way(
    changes: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    module = other_bindings(**changes)
    before = getattr(module._UniffiRustBufferBuilder, "write", None)
    with caplog.at_level(logging.WARNING):
        assert not guard.install(module)
    assert getattr(module._UniffiRustBufferBuilder, "write", None) is before
    assert "8 MB/s" in caplog.text


def test_failed_trial_keeps_the_stock_way(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = other_bindings()
    monkeypatch.setattr(guard, "_trial", lambda _: False)
    assert not guard.install(module)
    assert module._UniffiRustBufferBuilder.write is stock_write
    assert "other bytes" in caplog.text
