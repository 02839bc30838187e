"""Names are parsed as people write them, printed as they were, and anything else is a clear ConfigError."""

import base64

import pytest

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import EMPTY_HASH, BlobHash, Digest, EndpointId, PeerAddress, Reference

HEX = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
BASE32 = base64.b32encode(bytes.fromhex(HEX)).decode().rstrip("=")


@pytest.mark.parametrize("text", [HEX, HEX.upper(), BASE32, BASE32.lower()])
def test_a_hash_is_read_in_both_alphabets(text: str) -> None:
    assert BlobHash.parse(text) == EMPTY_HASH
    assert str(EndpointId.parse(text)) == HEX


@pytest.mark.parametrize("text", ["", "a" * 63, "g" * 64, "1" * 52, "é" * 64, " " * 64, "ab " * 21 + "a"])
def test_no_hash(text: str) -> None:
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        BlobHash.parse(text)


def test_digests() -> None:
    digest = Digest.parse(f"sha256:{HEX}")
    assert (str(digest), digest.path) == (f"sha256:{HEX}", f"blobs/sha256/{HEX}")
    assert Digest.parse("sha512:" + HEX * 2).algorithm == "sha512"


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEX,
        "sha256:",
        f"sha256:{HEX.upper()}",
        f"md5:{HEX}",
        f"sha512:{HEX}",
        "sha256:../../etc/passwd",
        f"sha256:{HEX}\n",
    ],
)
def test_no_digest(text: str) -> None:
    with pytest.raises(ConfigError):
        Digest.parse(text)


@pytest.mark.parametrize("text", [HEX, f"{HEX}@127.0.0.1:4433", f"{HEX}@[2001:db8::1]:1,node.example:65535"])
def test_peer_addresses_round_trip(text: str) -> None:
    assert str(PeerAddress.parse(text)) == text


@pytest.mark.parametrize(
    "rest", ["@", "@host", "@host:0", "@host:65536", "@:1", "@a b:1", "@h:1,", "@h:²", "@2001:db8::1:1"]
)
def test_no_peer_address(rest: str) -> None:
    with pytest.raises(ConfigError, match="peer address"):
        PeerAddress.parse(HEX + rest)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("docker://127.0.0.1:5000/app/a:v1", "127.0.0.1:5000/app/a:v1"),
        ("registry.example/app", "registry.example/app:latest"),
        ("[::1]:5000/a__b/c-d:V.1_", "[::1]:5000/a__b/c-d:V.1_"),
        (f"r/a@sha256:{HEX}", f"r/a@sha256:{HEX}"),
        (f"r/a:t@sha256:{HEX}", f"r/a:t@sha256:{HEX}"),
    ],
)
def test_references(text: str, expected: str) -> None:
    assert str(Reference.parse(text)) == expected


def test_the_host_of_a_reference() -> None:
    assert Reference.parse("[::1]:5000/a").host == "::1"
    assert Reference.parse("r.example:5000/a").host == "r.example"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "app",
        "r/",
        "r/A",
        "r/a:",
        "r/a:-x",
        "r/a//b",
        "r/../b",
        "r/a@sha256:00",
        "-r/a",
        "r/a:" + "t" * 129,
    ],
)
def test_no_reference(text: str) -> None:
    with pytest.raises(ConfigError):
        Reference.parse(text)
