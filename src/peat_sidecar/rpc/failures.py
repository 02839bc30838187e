"""Errors of calls, translated once for all of them; and the count of calls by their end."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import structlog
from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext

from peat_sidecar.errors import PeatError
from peat_sidecar.metrics import Metrics
from peat_sidecar.rpc.codes import code_of

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
_OK = "ok"
_GONE = "canceled"

_log = structlog.get_logger(__name__)


class Failures:
    """An interceptor around every call of the service."""

    def __init__(self, metrics: Metrics) -> None:
        self._calls = metrics.calls

    async def intercept_unary(
        self,
        call_next: Callable[[Asked, RequestContext[Any, Any]], Awaitable[Answer]],
        request: Asked,
        ctx: RequestContext[Any, Any],
        /,
    ) -> Answer:
        method, end = ctx.method.name, _GONE
        try:
            answer = await call_next(request, ctx)
            end = _OK
            return answer
        except Exception as error:  # noqa: BLE001 - the edge of the call's task
            translated = translate(error, method)
            end = translated.code.value
            raise translated from None
        finally:
            self._calls.labels(method, end).inc()

    async def intercept_server_stream(
        self,
        call_next: Callable[[Asked, RequestContext[Any, Any]], AsyncIterator[Answer]],
        request: Asked,
        ctx: RequestContext[Any, Any],
        /,
    ) -> AsyncIterator[Answer]:
        method, end = ctx.method.name, _GONE
        try:
            async for answer in call_next(request, ctx):
                yield answer
            end = _OK
        except Exception as error:  # noqa: BLE001 - the edge of the call's task
            translated = translate(error, method)
            end = translated.code.value
            raise translated from None
        finally:
            self._calls.labels(method, end).inc()


def translate(error: Exception, method: str) -> ConnectError:
    """What the caller gets to see; of an error that was not foreseen a number to look for in the log."""
    if isinstance(error, ConnectError):
        return error
    if isinstance(error, PeatError):
        return ConnectError(code_of(error), str(error))
    incident = secrets.token_hex(4)
    _log.error(
        "a call failed for a reason that was not foreseen", method=method, incident=incident, exc_info=error
    )
    return ConnectError(
        Code.INTERNAL, f"a fault of the daemon itself; its log says more about incident {incident}"
    )
