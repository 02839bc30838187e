"""Iroh's stream halves and errors, as the rest of the program knows them.

Every `IrohError` is translated here. The bindings give no fields, only a kind and the text of the Rust error,
so codes are read from texts like `Reset(3)`; a text that is not known is still a `PeerUnavailable`.
"""

import re
from typing import NoReturn

from iroh import iroh_ffi

from peat_sidecar.errors import PeatError, PeerUnavailable
from peat_sidecar.ids import EndpointId
from peat_sidecar.net import guard
from peat_sidecar.net.failures import (
    ConnectionClosed,
    StreamEnded,
    StreamReset,
    StreamStopped,
    closed_by_peer,
)

WRITES_ARE_FAST = guard.install(iroh_ffi)

_RESET = re.compile(r"\bReset\((\d+)\)")
_STOPPED = re.compile(r"\bStopped\((\d+)\)")
_CLOSED = re.compile(r'ApplicationClose(?:d)? \{ error_code: (\d+), reason: b"((?:[^"\\]|\\.)*)" \}')
# The release build's own source paths say nothing to a reader.
_SOURCE_PLACE = re.compile(r" \(/[^()]*\)")


def translate(error: iroh_ffi.IrohError, peer: EndpointId) -> PeatError:
    """The program's own error for one of Iroh's."""
    text = error.message()
    if found := _RESET.search(text):
        return StreamReset(f"peer {peer.short} gave up its stream with code {found[1]}", int(found[1]))
    if found := _STOPPED.search(text):
        return StreamStopped(f"peer {peer.short} wants no more, code {found[1]}", int(found[1]))
    if found := _CLOSED.search(text):
        return closed_by_peer(peer, int(found[1]), found[2])
    if "FinishedEarly" in text:
        return StreamEnded(f"peer {peer.short} ended its stream early")
    if "LocallyClosed" in text:
        return ConnectionClosed(f"the connection to peer {peer.short} was closed here")
    if "ConnectionLost" in text or error.kind() in (
        iroh_ffi.IrohErrorKind.CONNECTION,
        iroh_ffi.IrohErrorKind.CLOSED,
    ):
        return ConnectionClosed(f"the connection to peer {peer.short} broke: {plain(text)}")
    return PeerUnavailable(f"peer {peer.short}: {plain(text)}")


def plain(text: str) -> str:
    """A Rust error's text on one line, without places in its source."""
    return "; ".join(line.strip() for line in _SOURCE_PLACE.sub("", text).splitlines() if line.strip())


class IrohSend:
    """`SendHalf` on Iroh."""

    def __init__(self, inner: iroh_ffi.SendStream, peer: EndpointId) -> None:
        self._inner = inner
        self._peer = peer

    async def write(self, data: bytes) -> int:
        try:
            return await self._inner.write(data)
        except iroh_ffi.IrohError as error:
            _raise(error, self._peer)

    async def write_all(self, data: bytes) -> None:
        try:
            await self._inner.write_all(data)
        except iroh_ffi.IrohError as error:
            _raise(error, self._peer)

    async def finish(self) -> None:
        try:
            await self._inner.finish()
        except iroh_ffi.IrohError as error:
            _raise(error, self._peer)

    async def reset(self, code: int) -> None:
        try:
            await self._inner.reset(code)
        except iroh_ffi.IrohError as error:
            _raise(error, self._peer)

    async def stopped(self) -> int | None:
        try:
            return await self._inner.stopped()
        except iroh_ffi.IrohError as error:
            _raise(error, self._peer)


class IrohReceive:
    """`ReceiveHalf` on Iroh."""

    def __init__(self, inner: iroh_ffi.RecvStream, peer: EndpointId) -> None:
        self._inner = inner
        self._peer = peer

    async def read(self, limit: int) -> bytes:
        try:
            return await self._inner.read(limit)
        except iroh_ffi.IrohError as error:
            _raise(error, self._peer)

    async def read_exact(self, length: int) -> bytes:
        try:
            return await self._inner.read_exact(length)
        except iroh_ffi.IrohError as error:
            _raise(error, self._peer)

    async def stop(self, code: int) -> None:
        try:
            await self._inner.stop(code)
        except iroh_ffi.IrohError as error:
            _raise(error, self._peer)


def _raise(error: iroh_ffi.IrohError, peer: EndpointId) -> NoReturn:
    raise translate(error, peer) from None
