"""The ASGI application of one listener: bounds, access, the call, and every error as JSON."""

import secrets

import structlog

from peat_sidecar.errors import PeatError, PeerUnavailable
from peat_sidecar.http import Receive, Scope, Send
from peat_sidecar.registry.access import Access
from peat_sidecar.registry.calls import Calls
from peat_sidecar.registry.exchange import Answer, Request, send_answer
from peat_sidecar.registry.faults import Code, Fault, fault_of

REQUESTS_LIMIT = 256
"""At once; each holds up to 4 MiB of a manifest, or two pieces of a blob."""
_VERSION = {"Docker-Distribution-API-Version": "registry/2.0"}

_log = structlog.get_logger(__name__)


class Application:
    """Never raises, but for a cancel."""

    def __init__(self, calls: Calls, access: Access) -> None:
        self._calls = calls
        self._access = access
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self._requests += 1
        request = Request(scope, receive)
        try:
            answer = await self._answer(request)
            if answer is not None:
                answer.headers = {**_VERSION, **answer.headers}
                sending = send_answer(send, answer, with_body=request.method != "HEAD")
                await (sending if answer.pieces is None else request.while_there(sending))
        except TimeoutError:
            _log.debug("an answer was given up: its client does not read", path=request.path)
        except PeatError as error:  # after its beginning: the connection ends short of the length
            _log.warning("an answer was broken off", path=request.path, error=str(error))
        finally:
            self._requests -= 1

    async def _answer(self, request: Request) -> Answer | None:
        """None when nobody is there any more."""
        try:
            if self._requests > REQUESTS_LIMIT:
                raise Fault(Code.TOOMANYREQUESTS, "too many requests at once; try again later")
            await self._access.require(request)
            answering = self._calls.answer(request)
            is_reading = request.method in ("GET", "HEAD")
            return await (request.while_there(answering) if is_reading else answering)
        except PeerUnavailable as error:
            _log.debug("a client left before its request was whole", path=request.path, why=str(error))
            return None
        except PeatError as error:
            fault = fault_of(error)
            if fault.status >= 500:
                _log.warning("a request could not be answered", path=request.path, error=str(error))
        except Exception:  # noqa: BLE001 - the edge of the request's task
            incident = secrets.token_hex(4)
            _log.exception("a request could not be answered", path=request.path, incident=incident)
            text = f"a fault of the daemon itself; its log says more about incident {incident}"
            fault = Fault(Code.UNKNOWN, text)
        await request.discard()
        return Answer(fault.status, {"Content-Type": "application/json", **fault.headers}, fault.body)
