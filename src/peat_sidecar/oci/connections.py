"""Opens the way to a registry: TLS or not, whose certificates count, through which proxy."""

import asyncio
import logging
import ssl
import urllib.request

import httpx

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import Reference
from peat_sidecar.oci.failures import ConnectionLost
from peat_sidecar.oci.options import RegistryOptions, asked_for_plain_http, is_loopback

# At lower levels these print addresses, which may be signed, and headers.
for _chatty in ("httpx", "httpcore"):
    logging.getLogger(_chatty).setLevel(logging.WARNING)

_CONNECTIONS = 16
_HANDSHAKE_SECONDS = 3.0
# A name that people write, and where the API of that hub is.
_API_HOSTS = {"docker.io": "registry-1.docker.io"}


async def find_root(reference: Reference, options: RegistryOptions) -> httpx.URL:
    """Scheme and host of a registry's API. One on loopback may or may not speak TLS, so it is asked."""
    registry = _API_HOSTS.get(reference.registry, reference.registry)
    secure, plain = httpx.URL(f"https://{registry}/v2/"), httpx.URL(f"http://{registry}/v2/")
    if asked_for_plain_http(options, secure.host, plain.port or 80):
        return plain
    if is_loopback(secure.host):
        return secure if await _speaks_tls(secure.host, secure.port or 443, options) else plain
    return secure


async def open_client(root: httpx.URL, options: RegistryOptions) -> httpx.AsyncClient:
    """A client for one registry, and for what it redirects to."""
    # Loading the system's certificates takes some 30 ms.
    context = await asyncio.to_thread(_tls_context, options)
    return httpx.AsyncClient(
        verify=context,
        limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS),
        headers={"User-Agent": "peat-sidecar", "Accept-Encoding": "identity"},
        follow_redirects=False,
        # With it, httpx would read .netrc and send its passwords to whatever host we are redirected to.
        trust_env=False,
        proxy=_proxy(root),
    )


async def _speaks_tls(host: str, port: int, options: RegistryOptions) -> bool:
    # Nothing is sent here, so the certificate does not matter yet: the client proper checks it.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        async with asyncio.timeout(options.connect_seconds):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError) as error:
        reason = getattr(error, "strerror", None) or "no answer"
        raise ConnectionLost(f"{shown} cannot be reached ({reason}); is it up?", tries=2) from error
    try:
        # A server without TLS closes the connection, answers in plain HTTP, or waits for the rest of a line.
        await writer.start_tls(context, ssl_handshake_timeout=_HANDSHAKE_SECONDS)
    except OSError:
        return False
    else:
        return True
    finally:
        writer.transport.abort()


def _tls_context(options: RegistryOptions) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if options.ca_file:
        try:
            context.load_verify_locations(cafile=options.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"{options.ca_file} of --ca-file cannot be used ({error.strerror or error});"
                " it has to hold certificates in PEM form"
            ) from error
    return context


def _proxy(root: httpx.URL) -> str | None:
    if is_loopback(root.host) or urllib.request.proxy_bypass(root.host):
        return None
    return urllib.request.getproxies().get(root.scheme)
