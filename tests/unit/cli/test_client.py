"""The client against servers that are no daemon, or break off."""

import json
import socketserver
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from peat_sidecar.cli.client import ApiError, Client, DaemonUnavailable, Json
from peat_sidecar.config import ApiAddress

Serve = Callable[[bytes], AbstractContextManager[Client]]


@pytest.fixture
def serve(tmp_path: Path) -> Serve:
    """A client of a server on a unix socket that gives each request the same bytes."""

    @contextmanager
    def serving(answer: bytes) -> Iterator[Client]:
        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                size = 0
                while line := self.rfile.readline().strip():
                    if line.lower().startswith(b"content-length:"):
                        size = int(line.split(b":")[1])
                self.rfile.read(size)
                self.wfile.write(answer)

        path = tmp_path / "api.sock"
        with socketserver.UnixStreamServer(str(path), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                with Client(ApiAddress(path=path)) as client:
                    yield client
            finally:
                server.shutdown()
                thread.join()
                path.unlink()

    return serving


def http(body: bytes, status: str = "200 OK", size: int | None = None) -> bytes:
    length = len(body) if size is None else size
    return f"HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n".encode() + body


def envelope(message: Json, flags: int = 0) -> bytes:
    data = json.dumps(message).encode()
    return struct.pack(">BI", flags, len(data)) + data


RUNNING = envelope({"transfer": {"id": "x", "state": "TRANSFER_STATE_RUNNING"}})


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-x\r\n",
        http(b"<html>"),
        http(b"[]"),
        http(b"\xff"),
        http(b"{", size=100),
    ],
    ids=["nothing", "ssh", "html", "list", "bytes", "short"],
)
def test_what_is_no_answer(answer: bytes, serve: Serve) -> None:
    with serve(answer) as client, pytest.raises(DaemonUnavailable):
        client.call("GetStatus")


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (http(b'{"code": "not_found", "message": "gone"}', "404 Not Found"), "not_found"),
        (http(b"<html>", "404 Not Found"), "unimplemented"),
        (http(b"", "502 Bad Gateway"), "unavailable"),
        (http(b'{"code": 5}', "403 Forbidden"), "permission_denied"),
        (http(b"", "301 Moved"), "unknown"),
    ],
)
def test_errors(answer: bytes, code: str, serve: Serve) -> None:
    with serve(answer) as client:
        for ask in (lambda: client.call("GetStatus"), lambda: list(client.watch("x"))):
            with pytest.raises(ApiError) as found:
                ask()
            assert found.value.code == code


def test_a_stream(serve: Serve) -> None:
    with serve(http(RUNNING * 3 + envelope({}, 2))) as client:
        assert [each["id"] for each in client.watch("x")] == ["x"] * 3


def test_a_stream_that_ends_with_an_error(serve: Serve) -> None:
    end = envelope({"error": {"code": "not_found", "message": "gone"}}, 2)
    with serve(http(RUNNING + end)) as client, pytest.raises(ApiError, match="gone"):
        list(client.watch("x"))


@pytest.mark.parametrize(
    "body",
    [
        RUNNING,
        RUNNING[:-1],
        b"\x00",
        b"\x01\x00\x00\x00\x00",
        b"\x00\xff\xff\xff\xff",
        b"\x00\x00\x00\x00\x01{",
    ],
    ids=["no end", "cut", "one byte", "compressed", "4 GiB", "no JSON"],
)
def test_a_stream_that_breaks_off(body: bytes, serve: Serve) -> None:
    for answer in (http(body), http(body, size=1 << 20)):
        with serve(answer) as client, pytest.raises(DaemonUnavailable):
            list(client.watch("x"))
