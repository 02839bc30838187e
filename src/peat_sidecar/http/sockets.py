"""The sockets that a daemon serves on, bound and listening, safe from their first moment."""

import errno
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path

from peat_sidecar.config import ApiAddress
from peat_sidecar.errors import ConfigError

_BACKLOG = 100
_PROBE_SECONDS = 1.0


def listen(address: ApiAddress, what: str, option: str) -> list[socket.socket]:
    """Sockets for one address; a name may stand for several. `ConfigError` says why there is none, of what is
    served there and which option names another place.
    """
    try:
        return _listen_tcp(address) if address.path is None else [_listen_unix(address.path, option)]
    except ConfigError as error:
        raise ConfigError(f"{what} cannot be served on {address.path or address}: {error}") from None


def socket_file(bound: socket.socket) -> tuple[str, int] | None:
    """Path and inode of a unix socket that was just bound; None for another one."""
    if bound.family != socket.AF_UNIX:
        return None
    path = str(bound.getsockname())
    return path, os.stat(path).st_ino


def remove_socket_file(file: tuple[str, int]) -> None:
    """Takes the file of a unix socket away, unless it is another one's by now."""
    path, inode = file
    with suppress(OSError):
        if os.stat(path).st_ino == inode:
            os.unlink(path)


def _listen_unix(path: Path, option: str) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path, option)
        # On Linux the file gets the mode of the socket, so nobody else can connect even for a moment.
        os.fchmod(bound.fileno(), 0o600)
        bound.bind(str(path))
        os.chmod(path, 0o600)
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise ConfigError("it is in use") from None
        raise ConfigError(f"{error.strerror or error}; check that its folder is there and yours") from None
    except BaseException:
        bound.close()
        raise
    return bound


def _remove_stale(path: Path, option: str) -> None:
    """Takes away the socket of a daemon that is dead; what is no socket, or answers, is left alone."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError("a file is in its place; move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        if _answers(probe, str(path)):
            raise ConfigError(
                f"a daemon that runs answers there; stop it, or choose another socket with {option}"
            )
    path.unlink(missing_ok=True)


def _answers(probe: socket.socket, path: str) -> bool:
    try:
        probe.connect(path)
    except (ConnectionRefusedError, FileNotFoundError):
        return False
    except OSError:  # its queue is full, or it is another user's
        return True
    return True


def _listen_tcp(address: ApiAddress) -> list[socket.socket]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"{error.strerror or error}") from None
    targets = dict.fromkeys((family, sockaddr) for family, _, _, _, sockaddr in found)
    bound: list[socket.socket] = []
    failures: list[str] = []
    for family, sockaddr in targets:
        if address.is_loopback and not ApiAddress(host=str(sockaddr[0])).is_loopback:
            continue  # a hosts file that gives localhost another address
        try:
            bound.append(_bind_tcp(family, sockaddr))
        except OSError as error:
            failures.append(error.strerror or str(error))
    if not bound:
        reason = ", ".join(dict.fromkeys(failures)) or "it has no address"
        raise ConfigError(f"{reason}; choose another address or port")
    return bound


def _bind_tcp(family: int, sockaddr: object) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit these: a client whose machine died is noticed.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(sockaddr)  # type: ignore[arg-type]
        made.listen(_BACKLOG)
    except BaseException:
        made.close()
        raise
    return made
