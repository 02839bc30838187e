"""From settings to listeners: which socket is served with what guard around the application."""

import ssl
from collections.abc import Callable

from peat_sidecar.config import ApiAddress, Settings
from peat_sidecar.http import App, Listener, listen, tls_context
from peat_sidecar.rpc.access import Access, load_token
from peat_sidecar.rpc.application import reading_paths
from peat_sidecar.rpc.bounds import Bounds


def open_listeners(app: App, settings: Settings) -> list[Listener]:
    """All that the settings name, bound and not yet accepting. `ConfigError` when one cannot be.

    A unix socket is open to its file's owner, who may everything; TCP has `Access` in front, and TLS where a
    certificate is set. Each has bounds of its own, so that a flood on TCP leaves the unix socket usable.
    """
    token = load_token(settings.token_path)
    cert, key = settings.api_tls_cert, settings.api_tls_key
    tls = tls_context(cert, key, "api") if cert is not None and key is not None else None

    def guarded(bound: str) -> App:
        return Access(app, token=token, bound=bound, hosts=settings.api_hosts, reading=reading_paths())

    opened: list[Listener] = []
    try:
        for address in settings.api_addresses:
            opened += _open(address, app, guarded, tls)
    except BaseException:
        for listener in opened:
            listener.close()
        raise
    return opened


def _open(
    address: ApiAddress, app: App, guarded: Callable[[str], App], tls: ssl.SSLContext | None
) -> list[Listener]:
    if address.path is not None:
        return [Listener(bound, Bounds(app)) for bound in listen(address, "the API", "--api")]
    return [
        Listener(bound, Bounds(guarded(bound.getsockname()[0])), tls)
        for bound in listen(address, "the API", "--api")
    ]
