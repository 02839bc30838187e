"""Hash sequences and collections."""

import pytest
from blake3 import blake3

from peat_sidecar.errors import RemoteProtocolError
from peat_sidecar.ids import BlobHash
from peat_sidecar.wire import (
    Collection,
    encode_collection,
    encode_hash_sequence,
    parse_collection,
    parse_hash_sequence,
)
from peat_sidecar.wire.postcard import encode_varint

HASHES = tuple(BlobHash(blake3(name).digest()) for name in (b"a", b"b", b"c"))
COLLECTION = Collection(("a.txt", "dir/é", ""), HASHES)


def as_sequence(metadata: bytes, hashes: tuple[BlobHash, ...] = HASHES) -> bytes:
    return blake3(metadata).digest() + encode_hash_sequence(hashes)


def test_there_and_back() -> None:
    metadata, sequence = encode_collection(COLLECTION)
    assert metadata == b"CollectionV0.\x03\x05a.txt\x06dir/\xc3\xa9\x00"
    assert sequence == as_sequence(metadata)
    assert parse_collection(metadata, sequence) == COLLECTION
    empty = Collection((), ())
    assert parse_collection(*encode_collection(empty)) == empty


def test_cut_at_every_length() -> None:
    metadata, sequence = encode_collection(COLLECTION)
    for length in range(len(metadata)):
        cut = metadata[:length]
        with pytest.raises(RemoteProtocolError):
            parse_collection(cut, as_sequence(cut))
    for length in range(len(sequence)):
        with pytest.raises(RemoteProtocolError):
            parse_collection(metadata, sequence[:length])


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        (b"", "no list of names"),
        (b"CollectionV1.\x00", "no list of names"),
        (b"CollectionV0.\x02\x01a\x01b", "2 names for 3 blobs"),
        (b"CollectionV0.\x04\x01a\x01b\x01c\x01d", "4 names for 3 blobs"),
        (b"CollectionV0.\x03\x01a\x01b\x02\xff\xff", "UTF-8"),
        (b"CollectionV0.\x03\x01a\x01b\x09c", "too early"),
        (b"CollectionV0." + encode_varint(1 << 40) + b"\x01a", "sent bytes for fewer"),
        (b"CollectionV0.\x03" + encode_varint(1 << 63) + b"a", "too early"),
    ],
)
def test_what_is_no_list_of_names(metadata: bytes, says: str) -> None:
    with pytest.raises(RemoteProtocolError, match=says):
        parse_collection(metadata, as_sequence(metadata))


def test_the_names_belong_to_the_sequence() -> None:
    metadata, sequence = encode_collection(COLLECTION)
    with pytest.raises(RemoteProtocolError, match="came with it"):
        parse_collection(metadata, HASHES[0].value + sequence[32:])
    with pytest.raises(RemoteProtocolError, match="came with it"):
        parse_collection(metadata, b"")


def test_hash_sequences() -> None:
    assert parse_hash_sequence(b"") == ()
    assert parse_hash_sequence(encode_hash_sequence(HASHES)) == HASHES
    with pytest.raises(RemoteProtocolError, match="33 bytes is no hash sequence"):
        parse_hash_sequence(bytes(33))


def test_a_name_for_each_hash() -> None:
    with pytest.raises(ValueError, match="a name for each"):
        Collection(("a",), ())
