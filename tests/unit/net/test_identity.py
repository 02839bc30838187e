"""The key file: made once, kept, and refused when it is damaged or no secret any more."""

import os
import stat
from pathlib import Path

import pytest

from peat_sidecar.errors import ConfigError
from peat_sidecar.net import IrohEndpoint, endpoint_id, load_identity


async def test_the_id_of_a_key_is_that_of_the_endpoint_that_has_it() -> None:
    # RFC 8032, section 7.1, test 1
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert str(endpoint_id(secret)) == public
    endpoint = await IrohEndpoint.bind(
        secret, bind_addresses=("127.0.0.1:0",), alpns=(b"/x/1",), admit=lambda *_: True
    )
    assert endpoint.id == endpoint_id(secret)
    await endpoint.close()
    with pytest.raises(ConfigError, match="this one has 31"):
        endpoint_id(secret[:31])


def test_is_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    key = load_identity(path)
    assert len(key) == 32
    assert load_identity(path) == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["identity.key"]
    assert load_identity(tmp_path / "other.key") != key


@pytest.mark.parametrize("length", [0, 31, 33])
def test_damaged_length_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "identity.key"
    path.write_bytes(bytes(length))
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=f"damaged: it has {length} bytes instead of 32; restore it"):
        load_identity(path)
    assert path.stat().st_size == length


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_readable_by_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "identity.key"
    load_identity(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode 0{mode:o}.*chmod 600"):
        load_identity(path)


def test_missing_folder_and_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        load_identity(tmp_path / "absent" / "identity.key")
    (tmp_path / "identity.key").mkdir()
    with pytest.raises(ConfigError):
        load_identity(tmp_path / "identity.key")


def test_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "identity.key", 0o600)
    with pytest.raises(ConfigError, match="no regular file"):
        load_identity(tmp_path / "identity.key")


def test_first_of_two_processes_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "identity.key"
    link = os.link

    def slow_link(source: Path, target: Path) -> None:
        target.write_bytes(b"k" * 32)
        target.chmod(0o600)
        link(source, target)

    monkeypatch.setattr(os, "link", slow_link)
    assert load_identity(path) == b"k" * 32
    assert os.listdir(tmp_path) == ["identity.key"]


def test_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", no_link)
    path = tmp_path / "identity.key"
    assert load_identity(path) == load_identity(path)
    assert os.listdir(tmp_path) == ["identity.key"]
