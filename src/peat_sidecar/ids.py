"""Names of things: blob hashes, OCI digests, endpoint ids, peer addresses and OCI references.

All are immutable values; `parse` takes the text people write, `str` gives it back, and a text that is no
such name is a `ConfigError` that says what was expected.
"""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Self

from peat_sidecar.errors import ConfigError

LOCAL_REGISTRY = "localhost"
"""Of packages whose registry nobody has named: no other machine can be meant by it."""
_DIGEST_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+")
# Grammar of github.com/distribution/reference, which docker, skopeo and containerd share.
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_HOST = re.compile(r"\[[0-9a-fA-F:.]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_REGISTRY = re.compile(rf"(?:{_HOST.pattern})(?::[0-9]{{1,5}})?")


@dataclass(frozen=True, slots=True, order=True)
class BlobHash:
    """The BLAKE3 hash of a blob: its name in Iroh."""

    value: bytes
    """32 bytes."""

    def __post_init__(self) -> None:
        if len(self.value) != 32:
            raise ConfigError(f"a blob hash has 32 bytes, this one has {len(self.value)}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """From 64 hexadecimal digits, or 52 characters of unpadded base32, in any case."""
        return cls(_parse_key(text, "blob hash"))

    def __str__(self) -> str:
        return self.value.hex()


@dataclass(frozen=True, slots=True, order=True)
class EndpointId:
    """The ed25519 public key of a node: its name in Iroh."""

    value: bytes
    """32 bytes."""

    def __post_init__(self) -> None:
        if len(self.value) != 32:
            raise ConfigError(f"an endpoint id has 32 bytes, this one has {len(self.value)}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """From 64 hexadecimal digits, or 52 characters of unpadded base32, in any case."""
        return cls(_parse_key(text, "endpoint id"))

    def __str__(self) -> str:
        return self.value.hex()

    @property
    def short(self) -> str:
        """The first ten digits, for people and logs."""
        return self.value.hex()[:10]


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The OCI digest of a blob, sha256 or sha512: its name in registries."""

    algorithm: str
    """`sha256` or `sha512`."""
    hex: str
    """The hash in lower-case hexadecimal digits."""

    def __post_init__(self) -> None:
        length = _DIGEST_LENGTHS.get(self.algorithm)
        if length is None:
            known = " and ".join(_DIGEST_LENGTHS)
            raise ConfigError(f"digest algorithm {self.algorithm[:32]!r} is not supported; {known} are")
        if len(self.hex) != length or not _HEX.fullmatch(self.hex):
            raise ConfigError(f"a {self.algorithm} digest has {length} lower-case hexadecimal digits")

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `algorithm:hex`."""
        algorithm, colon, digits = text.partition(":")
        if not colon:
            raise ConfigError(f"{text[:80]!r} is no digest; one looks like sha256:<64 hexadecimal digits>")
        return cls(algorithm, digits)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"

    @property
    def path(self) -> str:
        """Where an OCI image layout keeps the blob: `blobs/<algorithm>/<hex>`."""
        return f"blobs/{self.algorithm}/{self.hex}"


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """A peer and where to dial it."""

    endpoint_id: EndpointId
    addresses: tuple[str, ...] = ()
    """Socket addresses as `host:port` or `[ipv6]:port`."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `ID@host:port[,host:port...]`, or an ID alone."""
        name, at, rest = text.strip().partition("@")
        addresses = tuple(part.strip() for part in rest.split(",")) if at else ()
        for address in addresses:
            host, colon, port = address.rpartition(":")
            if not (
                colon
                and _HOST.fullmatch(host)
                and port.isascii()
                and port.isdigit()
                and 0 < int(port) < 65536
            ):
                raise ConfigError(f"{address[:80]!r} is no peer address; one looks like 192.0.2.7:4433")
        return cls(EndpointId.parse(name), addresses)

    def __str__(self) -> str:
        return f"{self.endpoint_id}@{','.join(self.addresses)}" if self.addresses else str(self.endpoint_id)


@dataclass(frozen=True, slots=True)
class Reference:
    """An OCI reference: where a package is in which registry."""

    registry: str
    """Host and port, as `registry.example:5000`."""
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `host[:port]/repository[:tag][@digest]`, with or without `docker://`; no tag: `latest`."""
        rest = text.strip().removeprefix("docker://")
        rest, at, digest_text = rest.partition("@")
        digest = Digest.parse(digest_text) if at else None
        registry, slash, path = rest.partition("/")
        name, colon, tag_text = path.partition(":")
        tag = tag_text if colon else None if digest else "latest"
        wrong = (
            not slash
            or not _REGISTRY.fullmatch(registry)
            or not _REPOSITORY.fullmatch(name)
            or (tag is not None and not _TAG.fullmatch(tag))
        )
        if wrong:
            raise ConfigError(
                f"{text[:120]!r} is no reference with a registry;"
                " one looks like registry.example:5000/team/app:v1"
            )
        return cls(registry, name, tag, digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.registry}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")

    @property
    def host(self) -> str:
        """The registry without its port; an IPv6 address without its brackets."""
        if self.registry.startswith("["):
            return self.registry[1 : self.registry.index("]")]
        return self.registry.partition(":")[0]


def _parse_key(text: str, what: str) -> bytes:
    try:
        if len(text) == 64 and _HEX.fullmatch(text.lower()):
            return bytes.fromhex(text)
        if len(text) == 52:
            return base64.b32decode(text.upper() + "====")
    except (ValueError, binascii.Error):
        pass
    raise ConfigError(
        f"{text[:80]!r} is no {what}; one has 64 hexadecimal digits, or 52 characters of base32"
    )


EMPTY_HASH = BlobHash.parse("af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262")
"""The hash of the blob without bytes, which stock providers refuse to observe."""
