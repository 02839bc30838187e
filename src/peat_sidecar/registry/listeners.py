"""From settings to listeners: the registry on TCP, in the clear on loopback, by TLS beyond it."""

from peat_sidecar.config import Settings
from peat_sidecar.errors import ConfigError
from peat_sidecar.http import KnownHosts, Listener, listen, tls_context
from peat_sidecar.registry.access import Access
from peat_sidecar.registry.application import Application
from peat_sidecar.registry.calls import Calls
from peat_sidecar.registry.elsewhere import Elsewhere
from peat_sidecar.registry.known_tags import KnownTags
from peat_sidecar.registry.passwords import Passwords
from peat_sidecar.secret_files import read_secret
from peat_sidecar.store import Store

CONNECTIONS_LIMIT = 256
"""Of one listener: a client that pulls has up to six."""
_TOKEN_BYTES = 16
_TOKEN_LIMIT_BYTES = 4096


def open_registry(
    store: Store, settings: Settings, elsewhere: Elsewhere | None = None, known: KnownTags | None = None
) -> list[Listener]:
    """All that the settings name, bound and not yet accepting; none where the registry is off. `ConfigError`
    when one cannot be.
    """
    if not settings.registry_addresses:
        return []
    cert, key = settings.registry_tls_cert, settings.registry_tls_key
    tls = tls_context(cert, key, "registry") if cert is not None and key is not None else None
    htpasswd = settings.registry_htpasswd
    passwords = Passwords.read(htpasswd) if htpasswd is not None else None
    token, calls = _token(settings), Calls(store, elsewhere, settings.registry_default, known)
    opened: list[Listener] = []
    try:
        for address in settings.registry_addresses:
            for bound in listen(address, "the registry", "--registry"):
                access = Access(
                    passwords=passwords,
                    token=token,
                    read_only=settings.registry_read_only,
                    private=settings.registry_private,
                    # By TLS a name that is not the certificate's is refused by the client.
                    hosts=KnownHosts(bound.getsockname()[0], settings.api_hosts) if tls is None else None,
                )
                opened.append(Listener(bound, Application(calls, access), tls, CONNECTIONS_LIMIT))
    except BaseException:
        for listener in opened:
            listener.close()
        raise
    return opened


def _token(settings: Settings) -> str:
    path = settings.registry_token_file
    if path is None:
        return ""
    try:
        content = read_secret(path, "the registry's token", "write another one", _TOKEN_LIMIT_BYTES)
    except OSError as error:
        raise ConfigError(f"registry_token_file {path} cannot be read: {error.strerror}") from None
    token = content.decode("ascii", "replace").strip()
    if len(token) < _TOKEN_BYTES or not token.isascii() or not token.isprintable():
        raise ConfigError(
            f"registry_token_file {path} holds no token: at least {_TOKEN_BYTES} printable characters;"
            " write one with: openssl rand -hex 32"
        )
    return token
