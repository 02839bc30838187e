"""A daemon that gives answers that were written down before, and remembers what it was asked."""

import json
import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Json = dict[str, Any]


class Answers:
    """By method: an answer, a list of answers for a stream or for one call after another, or an error."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.asked: list[tuple[str, Json]] = []
        self._answers: dict[str, Any] = {}

    def give(self, method: str, *answers: Json) -> None:
        """One after another; the last again and again."""
        self._answers[method] = list(answers)

    def fail(self, method: str, code: str, message: str = "it failed") -> None:
        self._answers[method] = (code, message)

    def answer(self, method: str, body: bytes) -> tuple[int, bytes]:
        streamed = len(body) >= 5 and body[0] == 0 and struct.unpack(">I", body[1:5])[0] == len(body) - 5
        self.asked.append((method, json.loads(body[5:] if streamed else body)))
        given = self._answers.get(method, [{}])
        if isinstance(given, tuple):
            return 400, json.dumps({"code": given[0], "message": given[1]}).encode()
        if streamed:
            return 200, b"".join(_envelope(each) for each in given) + _envelope({}, 2)
        return 200, json.dumps(given.pop(0) if len(given) > 1 else given[0]).encode()


@contextmanager
def daemon_of_answers(data_dir: Path) -> Iterator[Answers]:
    """Serves on the socket of that data directory."""
    answers = Answers(data_dir)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            path, size = self.rfile.readline().split()[1].decode(), 0
            while line := self.rfile.readline().strip():
                if line.lower().startswith(b"content-length:"):
                    size = int(line.split(b":")[1])
            status, body = answers.answer(path.rpartition("/")[2], self.rfile.read(size))
            head = f"HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
            self.wfile.write(head.encode() + body)

    path = data_dir / "api.sock"
    with socketserver.UnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield answers
        finally:
            server.shutdown()
            thread.join()
            path.unlink()


def _envelope(message: Json, flags: int = 0) -> bytes:
    data = json.dumps(message).encode()
    return struct.pack(">BI", flags, len(data)) + data
