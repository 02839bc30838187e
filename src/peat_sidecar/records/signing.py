"""Ed25519 over records, with a prefix that no other use of a node's key has."""

from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import EndpointId

SIGNATURE_BYTES = 64
_CONTEXT = b"peat-sidecar record 1\0"


class Signer:
    """The secret half of a node, in 32 bytes as its identity file has them; also of a roster's admin."""

    def __init__(self, secret_key: bytes) -> None:
        if len(secret_key) != 32:
            raise ConfigError(f"a secret key has 32 bytes, this one has {len(secret_key)}")
        self._key = Ed25519PrivateKey.from_private_bytes(secret_key)
        self.id = EndpointId(self._key.public_key().public_bytes_raw())

    def sign(self, data: bytes) -> bytes:
        """The signature, 64 bytes, of the body of a record."""
        return self._key.sign(_CONTEXT + data)

    def __repr__(self) -> str:
        return f"Signer({self.id.short})"


def is_signed(body: bytes, signature: bytes, signer: EndpointId) -> bool:
    """Whether the signer said it. Some 100 microseconds."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    try:
        _public_key(signer.value).verify(signature, _CONTEXT + body)
    except (InvalidSignature, ValueError):  # ValueError: 32 bytes that are no key
        return False
    return True


@lru_cache(maxsize=1024)
def _public_key(value: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(value)
