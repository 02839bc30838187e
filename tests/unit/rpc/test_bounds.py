"""How large, how slow and how many requests may be."""

import asyncio

import pytest

from peat_sidecar.http import Message, Receive, Scope, Send
from peat_sidecar.rpc import bounds
from peat_sidecar.rpc.bounds import BODY_LIMIT_BYTES, Bounds
from tests.unit.rpc.requests import ask, ok, scope


def pieces(*bodies: bytes, end: bool = True) -> Receive:
    """Receives these, then the end, or nothing more for ever."""
    left = list(bodies)

    async def receive() -> Message:
        if not left and not end:
            await asyncio.Event().wait()
        body = left.pop(0) if left else b""
        return {"type": "http.request", "body": body, "more_body": bool(left) or not end}

    return receive


async def test_a_request_up_to_the_limit_passes() -> None:
    half = bytes(BODY_LIMIT_BYTES // 2)
    answer = await ask(Bounds(ok), scope(), pieces(half, half))
    assert (answer.status, answer.body) == (200, str(BODY_LIMIT_BYTES).encode())


async def test_one_byte_more_does_not() -> None:
    answer = await ask(Bounds(ok), scope(), pieces(bytes(BODY_LIMIT_BYTES), b"x"))
    assert (answer.status, answer.code) == (429, "resource_exhausted")
    answer = await ask(
        Bounds(ok), scope(content_type="application/grpc"), pieces(bytes(BODY_LIMIT_BYTES), b"x")
    )
    assert answer.trailers["grpc-status"] == "8"


async def test_an_endless_request_is_not_read_for_ever() -> None:
    async def endless() -> Message:
        return {"type": "http.request", "body": bytes(1 << 16), "more_body": True}

    answer = await asyncio.wait_for(ask(Bounds(ok), scope(), endless), 10)
    assert answer.code == "resource_exhausted"


async def test_a_request_that_stalls() -> None:
    stalling = ask(Bounds(ok, body_seconds=0.05), scope(), pieces(b"half", end=False))
    answer = await asyncio.wait_for(stalling, 10)
    assert (answer.status, answer.code) == (504, "deadline_exceeded")


async def test_a_client_that_leaves_early() -> None:
    async def gone() -> Message:
        return {"type": "http.disconnect"}

    assert (await ask(Bounds(ok), scope(), gone)).status == 0


async def test_an_answer_that_nobody_takes() -> None:
    async def stuck(message: Message) -> None:
        await asyncio.Event().wait()

    waiting = Bounds(ok, send_seconds=0.05)(scope(), pieces(b""), stuck)
    await asyncio.wait_for(waiting, 10)


async def test_what_is_held_in_all_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "HELD_LIMIT_BYTES", 1000)
    app = Bounds(ok)
    first = asyncio.create_task(ask(app, scope(), pieces(bytes(900), end=False)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (await ask(app, scope(), pieces(bytes(200)))).code == "resource_exhausted"
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (await ask(app, scope(), pieces(bytes(200)))).status == 200


async def test_the_number_of_requests_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "REQUESTS_LIMIT", 1)
    app = Bounds(ok)
    first = asyncio.create_task(ask(app, scope(), pieces(end=False)))
    await asyncio.sleep(0)
    assert (await ask(app, scope(), pieces(b""))).code == "resource_exhausted"
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (await ask(app, scope(), pieces(b""))).status == 200


async def test_a_fault_is_told_by_a_number_alone() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("the inside")

    answer = await ask(Bounds(broken), scope())
    assert (answer.status, answer.code) == (500, "internal")
    assert b"the inside" not in answer.body
