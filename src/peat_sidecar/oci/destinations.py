"""Where requests may go: rules for addresses that a registry names (redirects, uploads, realms). Pure.

Plain HTTP goes to loopback and to hosts that the operator listed, never elsewhere. A registry out there does
not send us to services of this machine.
"""

import ipaddress

import httpx

from peat_sidecar.errors import SourceError
from peat_sidecar.oci.options import RegistryOptions, asked_for_plain_http, is_loopback


def same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """Whether two addresses belong to the same server, so that what is secret to one may go to the other."""
    return (one.scheme, one.host, _port(one)) == (other.scheme, other.host, _port(other))


def follow(current: httpx.URL, location: str, options: RegistryOptions) -> httpx.URL:
    """The address that a `Location`, relative or absolute, leads to; `SourceError` where we do not go."""
    server = current.netloc.decode("ascii", "replace")
    try:
        target = current.join(location)
    except (httpx.InvalidURL, ValueError):
        raise SourceError(f"{server} sends us to an address that cannot be read") from None
    if target.scheme == "http" and current.scheme == "https" and target.host == current.host:
        # A registry behind a proxy that ends TLS, and that does not know it.
        target = target.copy_with(scheme="https", port=current.port)
    check_destination(current, target, options)
    return target


def check_destination(origin: httpx.URL, target: httpx.URL, options: RegistryOptions) -> None:
    """Raises `SourceError` unless a server may send us to that address."""
    server, other = origin.netloc.decode("ascii", "replace"), target.host[:100]
    if target.scheme not in ("http", "https") or not target.host or target.userinfo:
        raise SourceError(f"{server} sends us to an address that is none of HTTP; ask who runs it")
    local = is_loopback(target.host)
    if (local or _is_link_local(target.host)) and not is_loopback(origin.host) and target.host != origin.host:
        raise SourceError(f"{server} sends us to {other}, which is this machine; ask who runs it")
    if (
        target.scheme == "http"
        and not local
        and not asked_for_plain_http(options, target.host, _port(target))
    ):
        raise SourceError(
            f"{server} sends us to {other} over plain HTTP;"
            f" if you trust that, allow it with --plain-http {other}"
        )


def _port(url: httpx.URL) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _is_link_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_link_local
    except ValueError:
        return False
