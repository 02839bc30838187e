"""The formation's key: how it is read, what is made of it, and that nothing of it is shown."""

import base64
import hashlib
import hmac
from pathlib import Path

import pytest

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import EndpointId
from peat_sidecar.mesh import Formation
from peat_sidecar.mesh.formation import Side
from peat_sidecar.net import endpoint_id

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
A, B = EndpointId(b"a" * 32), EndpointId(b"b" * 32)
NONCES = (b"n" * 32, b"m" * 32)


def proof(formation: Formation, side: Side = Side.DIALER, **changed: object) -> bytes:
    parts = {"dialer": A, "acceptor": B, "nonces": NONCES} | changed
    return formation.proofs(side, **parts)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        KEY.hex(),
        KEY.hex().upper(),
        f"  {KEY.hex()}\n",
        base64.b64encode(KEY).decode(),
        base64.b64encode(KEY).decode().rstrip("="),
        base64.urlsafe_b64encode(KEY).decode() + "\n",
    ],
)
def test_a_key_is_read_as_people_write_it(text: str, tmp_path: Path) -> None:
    assert Formation.parse_key(text) == KEY
    file = tmp_path / "key"
    file.write_text(text)
    assert Formation.read_key(file) == KEY


def test_both_alphabets_of_base64() -> None:
    key = b"\xfb\xff" * 16
    assert Formation.parse_key(base64.b64encode(key).decode()) == key
    assert Formation.parse_key(base64.urlsafe_b64encode(key).decode()) == key


@pytest.mark.parametrize("text", ["", "secret!secret", KEY.hex()[:-1], KEY.hex()[:-2], KEY.hex() + "00", "é"])
def test_what_is_no_key_is_refused_and_not_shown(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a formation key") as caught:
        Formation.parse_key(text)
    file = tmp_path / "key"
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"the formation key file {file}") as read:
        Formation.read_key(file)
    for error in (caught, read):
        assert not text or text not in str(error.value).replace(str(file), "")


def test_files_that_hold_no_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Formation.read_key(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff" * 32)
    with pytest.raises(ConfigError, match="holds no text"):
        Formation.read_key(tmp_path / "binary")
    (tmp_path / "endless").symlink_to("/dev/zero")
    with pytest.raises(ConfigError, match="a formation key"):
        Formation.read_key(tmp_path / "endless")


def test_one_key_or_two_different_ones_of_the_right_length() -> None:
    for keys, message in (
        ([], "not 0"),
        ([KEY, OTHER, b"x" * 32], "not 3"),
        ([KEY, KEY], "are the same"),
        ([KEY[:31]], "this one has 31"),
    ):
        with pytest.raises(ConfigError, match=message):
            Formation("app", keys)


def test_nothing_of_the_key_is_shown() -> None:
    shown = repr(Formation("app", [KEY, OTHER])) + str(Formation("app", [KEY]))
    assert "app" in shown
    for key in (KEY, OTHER):
        assert key.hex() not in shown
        assert repr(key) not in shown


def test_a_proof_is_bound_to_key_app_side_ids_and_nonces() -> None:
    formation = Formation("app", [KEY])
    others = [
        proof(formation),
        proof(Formation("app2", [KEY])),
        proof(Formation("app", [OTHER])),
        proof(formation, Side.ACCEPTOR),
        proof(formation, dialer=B, acceptor=A),
        proof(formation, acceptor=A),
        proof(formation, nonces=NONCES[::-1]),
        proof(formation, nonces=(NONCES[0], NONCES[0])),
    ]
    assert len(set(others)) == len(others)
    assert proof(Formation("app", [KEY])) == others[0]
    assert len(others[0]) == 32


def test_two_keys_give_two_proofs_in_their_order() -> None:
    both = Formation("app", [KEY, OTHER])
    proofs = both.proofs(Side.DIALER, dialer=A, acceptor=B, nonces=NONCES)
    assert proofs == (proof(Formation("app", [KEY])), proof(Formation("app", [OTHER])))


def test_tags_are_known_to_members_only() -> None:
    old, new, both = Formation("app", [KEY]), Formation("app", [OTHER]), Formation("app", [OTHER, KEY])
    assert len(old.tag(A)) == 16
    assert both.recognises(A, old.tag(A))
    assert both.recognises(A, new.tag(A))
    assert both.tag(A) == new.tag(A)
    assert not old.recognises(A, new.tag(A))
    assert not old.recognises(B, old.tag(A))
    assert not Formation("other", [KEY]).recognises(A, old.tag(A))
    for tag in (b"", b"x", bytes(16), old.tag(A) + b"x", old.tag(A)[:-1]):
        assert not old.recognises(A, tag)


def hkdf_of_rust(key: bytes, info: bytes) -> bytes:
    """`Hkdf::<Sha256>::new(None, key)`, one block of `expand`: RFC 5869 by hand."""
    extracted = hmac.digest(bytes(32), key, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256)


def test_derived_identities_are_those_of_the_rust_sidecar() -> None:
    formation = Formation("whatever", [KEY, OTHER])
    secret = formation.derive_secret("peat-mesh-0")
    assert secret == hkdf_of_rust(KEY, b"iroh:peat-mesh-0")
    assert Formation("app", [KEY]).derive_secret("peat-mesh-0") == secret
    assert formation.derive_secret("peat-mesh-1") != secret
    assert Formation("whatever", [OTHER, KEY]).derive_secret("peat-mesh-0") != secret
    assert endpoint_id(secret) != endpoint_id(formation.derive_secret("peat-mesh-1"))
    with pytest.raises(ConfigError, match="node_id"):
        formation.derive_secret("")
