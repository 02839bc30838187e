"""The listeners against clients that stall, flood, break the protocol or stay for ever."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import StreamEnded, StreamReset

from peat_sidecar.config import ApiAddress
from peat_sidecar.http import App, Message, Receive, Scope, Send, server
from peat_sidecar.http.server import Listener, Server
from peat_sidecar.http.sockets import listen
from peat_sidecar.rpc.bounds import Bounds
from tests.unit.rpc.requests import ok

WAIT_SECONDS = 10.0
GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
CLOSING_GET = GET[:-2] + b"connection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes.fromhex("000000040000000000")


@contextlib.asynccontextmanager
async def served(app: App, *, idle_seconds: float = 30.0) -> AsyncIterator[int]:
    """Serves on a TCP port; nothing of it is left behind."""
    (bound,) = listen(ApiAddress(host="127.0.0.1", port=0), "the API", "--api")
    running = Server([Listener(bound, app)], idle_seconds=idle_seconds)
    await running.start()
    try:
        yield bound.getsockname()[1]
    finally:
        await running.close()
    assert not [task for task in asyncio.all_tasks() if "serve" in repr(task.get_coro())]


async def exchange(port: int, data: bytes) -> bytes:
    """Sends, and reads until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        with contextlib.suppress(ConnectionResetError):
            return await asyncio.wait_for(reader.read(), WAIT_SECONDS)
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "data",
    [b"", b"GET", GET[:-2], PREFACE[:20], PREFACE, PREFACE + SETTINGS, PREFACE + SETTINGS + b"\0\0\x10\x01"],
    ids=["nothing", "a word", "half a head", "half a preface", "a preface", "no streams", "half a frame"],
)
async def test_a_client_that_stalls_is_closed(data: bytes) -> None:
    async with served(Bounds(ok), idle_seconds=0.1) as port:
        assert b"HTTP/1.1 200" not in await exchange(port, data)
        assert b"200" in await exchange(port, GET)


async def test_a_body_that_stalls() -> None:
    async with served(Bounds(ok, body_seconds=0.1)) as port:
        answer = await exchange(port, POST + b"half")
        assert answer.startswith(b"HTTP/1.1 504")
        assert b"deadline_exceeded" in answer


async def test_heads_that_are_too_large_or_no_http() -> None:
    async with served(Bounds(ok), idle_seconds=0.5) as port:
        assert b"HTTP/1.1 4" in await exchange(port, b"GET / HTTP/1.1\r\nx: " + b"y" * 40_000)
        assert b"HTTP/1.1 4" in await exchange(port, b"\x16\x03\x01 no http\r\n\r\n")
        assert b"HTTP/1.1 4" in await exchange(port, b"GET / HTTP/1.1\r\n\r\n")
        await exchange(port, PREFACE + b"\xff" * 100)
        await exchange(port, PREFACE + SETTINGS + bytes.fromhex("000001000100000001") + b"x")


async def test_the_number_of_connections_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS_LIMIT", 2)
    async with served(Bounds(ok)) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for reader, writer in held:
            writer.write(GET)
            await asyncio.wait_for(reader.readuntil(b"200"), WAIT_SECONDS)
        assert await exchange(port, GET) == b""
        held[0][1].write_eof()
        await asyncio.wait_for(held[0][0].read(), WAIT_SECONDS)
        held[0][1].close()
        assert b"200" in await exchange(port, CLOSING_GET)
        held[1][1].close()


async def test_a_client_that_does_not_read() -> None:
    ended = asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
        finally:
            ended.set()

    async with served(Bounds(endless, send_seconds=0.2)) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 10)
        writer.write(GET)
        await asyncio.wait_for(ended.wait(), WAIT_SECONDS)
        writer.close()


async def test_a_request_that_does_not_end_is_cut_at_the_close(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_GRACE_SECONDS", 0.1)
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def stuck(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with served(Bounds(stuck)) as port:
        waiting = asyncio.create_task(exchange(port, GET))
        await asyncio.wait_for(begun.wait(), WAIT_SECONDS)
    assert cancelled.is_set()
    await waiting


async def test_an_answer_that_is_being_given_is_given_whole() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await go_on.wait()
        await ok(scope, receive, send)

    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(served(Bounds(slow)))
        waiting = asyncio.create_task(exchange(port, GET))
        await asyncio.wait_for(begun.wait(), WAIT_SECONDS)
        asyncio.get_running_loop().call_later(0.05, go_on.set)
    assert b"200" in await waiting


async def test_bytes_after_an_early_answer_do_not_harm() -> None:
    async def early(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with served(early) as port:
        for _ in range(3):
            assert b"200" in await exchange(port, POST + b"x")


async def test_http2_and_an_upgrade_to_something_else() -> None:
    async def receive_all(scope: Scope, receive: Receive, send: Send) -> None:
        message: Message = await receive()
        assert message["type"] == "http.request"
        await ok(scope, receive, send)

    key = b"sec-websocket-key: x\r\nsec-websocket-version: 13\r\n\r\n"
    async with served(Bounds(receive_all)) as port:
        upgrade = GET[:-2] + b"connection: upgrade\r\nupgrade: websocket\r\n" + key
        assert b"101" not in (await exchange(port, upgrade))[:20]


@pytest.mark.parametrize("http2", [False, True])
async def test_a_body_without_end_ends_with_its_connection(
    http2: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is given early; what comes after it fills a queue that nobody reads."""
    monkeypatch.setattr(server, "CONNECTIONS_LIMIT", 1)
    head = POST.replace(b"content-length: 10", b"content-length: 1000000000")
    frame = bytes.fromhex("004000000000000001") + bytes(16384)
    if http2:
        block = bytes.fromhex("838684") + b"\x01\x09localhost"  # POST, http, /, :authority
        head = PREFACE + SETTINGS + bytes([0, 0, len(block), 1, 4, 0, 0, 0, 1]) + block

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            await asyncio.sleep(0.2)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async with served(late, idle_seconds=0.3) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)

        async def flood() -> None:
            with contextlib.suppress(OSError):
                while True:
                    writer.write(frame if http2 else bytes(1 << 16))
                    await writer.drain()

        flooding = asyncio.create_task(flood())
        with contextlib.suppress(OSError):
            while await asyncio.wait_for(reader.read(1 << 16), WAIT_SECONDS):
                pass
        flooding.cancel()
        writer.close()
        await asyncio.gather(flooding, return_exceptions=True)
        async with asyncio.timeout(WAIT_SECONDS):
            while b"200" not in await exchange(port, GET):
                pass


async def test_a_fault_of_one_stream_leaves_nothing_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes for a stream that was answered early break the connection while another answer is due."""
    monkeypatch.setattr(server, "CONNECTIONS_LIMIT", 1)
    asked, cancelled = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST" or scope["http_version"] != "2":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    def head(method: int, stream: int, flags: int) -> bytes:
        block = bytes([method]) + bytes.fromhex("8684") + b"\x01\x09localhost"
        return bytes([0, 0, len(block), 1, flags, 0, 0, 0, stream]) + block

    get, post = head(0x82, 1, 5), head(0x83, 3, 4)
    async with served(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(PREFACE + SETTINGS + get + post)
        await asyncio.wait_for(asked.wait(), WAIT_SECONDS)
        writer.write(bytes.fromhex("000001000000000003") + b"x")
        with contextlib.suppress(OSError):
            await asyncio.wait_for(reader.read(), WAIT_SECONDS)
        writer.close()
        await asyncio.wait_for(cancelled.wait(), WAIT_SECONDS)
        async with asyncio.timeout(WAIT_SECONDS):
            while b"200" not in await exchange(port, CLOSING_GET):
                pass


async def test_a_stream_that_nobody_reads_is_reset_and_the_others_go_on() -> None:
    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != "/endless":
            await ok(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": bytes(1 << 14), "more_body": True})

    client = H2Connection()
    client.initiate_connection()
    headers = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost")]
    client.send_headers(1, [*headers, (":path", "/endless")], end_stream=True)
    async with served(Bounds(endless, send_seconds=0.1)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        reset, answered = None, False
        while not answered:
            writer.write(client.data_to_send())
            for event in client.receive_data(await asyncio.wait_for(reader.read(1 << 16), WAIT_SECONDS)):
                match event:
                    case StreamReset(stream_id=1, error_code=code):
                        reset = code
                        # Of the connection's window, which the other stream needs as well.
                        client.increment_flow_control_window(1 << 16)
                        client.send_headers(3, [*headers, (":path", "/")], end_stream=True)
                    case StreamEnded(stream_id=3):
                        answered = True
        writer.close()
    assert reset == ErrorCodes.ENHANCE_YOUR_CALM
