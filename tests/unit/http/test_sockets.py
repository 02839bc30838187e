"""Sockets of the API: modes, stale ones, live ones, what cannot be bound."""

import os
import socket
import stat
from pathlib import Path

import pytest

from peat_sidecar.config import ApiAddress
from peat_sidecar.errors import ConfigError
from peat_sidecar.http.sockets import listen, remove_socket_file, socket_file


@pytest.fixture
def address(tmp_path: Path) -> ApiAddress:
    return ApiAddress(path=tmp_path / "api.sock")


def test_a_unix_socket_is_its_owners_whatever_the_umask(address: ApiAddress) -> None:
    assert address.path is not None
    before = os.umask(0)
    try:
        (bound,) = listen(address, "the API", "--api")
    finally:
        os.umask(before)
    with bound:
        mode = address.path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600


def test_the_mode_holds_from_the_first_moment(address: ApiAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the mode set after the bind only, another user could connect in between."""
    monkeypatch.setattr(os, "chmod", lambda *_: None)
    before = os.umask(0)
    try:
        (bound,) = listen(address, "the API", "--api")
    finally:
        os.umask(before)
    with bound:
        assert address.path is not None
        assert stat.S_IMODE(address.path.stat().st_mode) == 0o600


def test_the_socket_of_a_dead_daemon_is_replaced(address: ApiAddress) -> None:
    (dead,) = listen(address, "the API", "--api")
    dead.close()
    (bound,) = listen(address, "the API", "--api")
    with bound, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(address.path))


def test_that_of_a_living_one_is_not(address: ApiAddress) -> None:
    (bound,) = listen(address, "the API", "--api")
    with bound:
        with pytest.raises(ConfigError, match="a daemon that runs answers there"):
            listen(address, "the API", "--api")
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(address.path))


def test_a_file_in_its_place_is_left_alone(address: ApiAddress) -> None:
    assert address.path is not None
    address.path.write_text("mine")
    with pytest.raises(ConfigError, match="a file is in its place"):
        listen(address, "the API", "--api")
    assert address.path.read_text() == "mine"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="check that its folder is there"):
        listen(ApiAddress(path=tmp_path / "none" / "api.sock"), "the API", "--api")


def test_only_ones_own_file_is_taken_away(address: ApiAddress) -> None:
    assert address.path is not None
    (first,) = listen(address, "the API", "--api")
    file = socket_file(first)
    assert file is not None
    first.close()
    kept = address.path.with_name("kept")  # so that its inode is not given to the next one
    os.link(address.path, kept)
    (second,) = listen(address, "the API", "--api")
    with second:
        remove_socket_file(file)
        assert address.path.exists()
        own = socket_file(second)
        assert own is not None
        remove_socket_file(own)
        assert not address.path.exists()


def test_tcp_that_is_taken() -> None:
    (bound,) = listen(ApiAddress(host="127.0.0.1", port=0), "the API", "--api")
    with bound:
        port = bound.getsockname()[1]
        with pytest.raises(ConfigError, match=f"tcp://127.0.0.1:{port}: .*in use"):
            listen(ApiAddress(host="127.0.0.1", port=port), "the API", "--api")


def test_a_name_that_is_unknown() -> None:
    with pytest.raises(ConfigError, match=r"cannot be served on tcp://no-such-host\.invalid:1"):
        listen(ApiAddress(host="no-such-host.invalid", port=1), "the API", "--api")


def test_localhost_is_loopback_only() -> None:
    for bound in listen(ApiAddress(host="localhost", port=0), "the API", "--api"):
        with bound:
            assert bound.getsockname()[0] in ("127.0.0.1", "::1")
