"""What real Rust nodes answered: encoded here byte for byte, and verified by the decoder."""

import json
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from tests.support.blobs import reader_of
from tests.support.verified_pieces import tree_of

from peat_sidecar.bao import Decoder, body_length, encode, outboard_size
from peat_sidecar.ids import BlobHash
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.wire import (
    Get,
    GetMany,
    encode_collection,
    encode_size,
    parse_collection,
    parse_hash_sequence,
    parse_request,
    parse_size,
)

HERE = Path(__file__).parent
KNOWN: dict[str, Any] = json.loads((HERE / "vectors.json").read_text())
ANSWERED = [each for each in KNOWN["vectors"] if each["kind"] in ("Get", "GetMany") and each["end"] == "fin"]


def made_input(size: int) -> bytes:
    """As `generator` in vectors.json says."""
    return bytes(((i * 2654435761 + size * 40503) & 0xFFFFFFFF) >> 24 for i in range(size))


class Node:
    """Blobs by hash, and the answers of a node that holds them."""

    def __init__(self) -> None:
        self.blobs: dict[BlobHash, tuple[bytes, bytes]] = {}

    def put(self, data: bytes) -> BlobHash:
        blob_hash, outboard = tree_of(data)
        self.blobs[blob_hash] = (data, outboard)
        return blob_hash

    def parts(self, request_bytes: bytes) -> list[tuple[BlobHash, ChunkRanges]]:
        """Blobs and chunks that a request selects, in the order of the answer."""
        request = parse_request(request_bytes)
        assert isinstance(request, Get | GetMany)
        if isinstance(request, GetMany):
            hashes = request.hashes
        else:
            root = request.hash
            is_one = request.ranges.entries[1:] == ((1, ChunkRanges.none()),)
            hashes = (root,) if is_one else (root, *parse_hash_sequence(self.blobs[root][0]))
        return [(hashes[index], ranges) for index, ranges in request.ranges.selected(len(hashes))]

    def answer(self, request: bytes) -> bytes:
        answer = b""
        for blob_hash, ranges in self.parts(request):
            data, outboard = self.blobs[blob_hash]
            body = b"".join(encode(len(data), ranges, reader_of(data), reader_of(outboard)))
            assert len(body) == body_length(len(data), ranges)
            answer += encode_size(len(data)) + body
        return answer


@pytest.fixture(scope="module")
def node() -> Node:
    node = Node()
    by_size = {int(size): node.put(made_input(int(size))) for size in KNOWN["hashes"]}
    assert {str(size): str(blob_hash) for size, blob_hash in by_size.items()} == KNOWN["hashes"]
    sequence = b"".join(by_size[size].value for size in (1024, 0, 65537, 1024))
    assert str(node.put(sequence)) == KNOWN["hashseq"]
    metadata = bytes.fromhex(KNOWN["collection_meta_hex"])
    entries = b"".join(by_size[size].value for size in (1, 16385, 0, 1))
    collection = node.put(metadata).value + entries
    assert str(node.put(collection)) == KNOWN["collection"]
    assert encode_collection(parse_collection(metadata, collection)) == (metadata, collection)
    return node


def test_there_are_all() -> None:
    assert len(ANSWERED) == 273


@pytest.mark.parametrize("vector", ANSWERED, ids=lambda vector: vector["name"])
def test_answers(vector: dict[str, Any], node: Node) -> None:
    request = bytes.fromhex(vector["request_hex"])
    answer = node.answer(request)
    assert len(answer) == vector["response_len"]
    assert blake3(answer).hexdigest() == vector["response_blake3"]
    if "response_file" in vector:
        assert answer == (HERE / str(vector["response_file"])).read_bytes()
    if "response_hex" in vector:
        assert answer.hex() == vector["response_hex"]
    for blob_hash, ranges in node.parts(request):
        answer = verify(node, blob_hash, ranges, answer)
    assert answer == b""


def verify(node: Node, blob_hash: BlobHash, ranges: ChunkRanges, answer: bytes) -> bytes:
    """Decodes the first blob of an answer; what is left of the answer."""
    data, outboard = node.blobs[blob_hash]
    size, answer = parse_size(answer[:8]), answer[8:]
    decoder = Decoder(blob_hash, size, ranges, 16)
    came = 0
    while decoder.needed:
        step, answer = answer[: decoder.needed], answer[decoder.needed :]
        piece = decoder.feed(step)
        assert piece is not None
        assert piece.data == data[piece.start * 1024 : piece.start * 1024 + len(piece.data)]
        assert all(pairs == outboard[offset : offset + len(pairs)] for offset, pairs in piece.outboard)
        came += len(piece.data)
    assert came == ranges.clamp(size).byte_length(size)
    return answer


@pytest.mark.parametrize("made", KNOWN["outboards"], ids=lambda made: made["size"])
def test_outboards(made: dict[str, Any], node: Node) -> None:
    data, outboard = node.blobs[BlobHash.parse(made["root"])]
    assert len(data) == made["size"]
    assert len(outboard) == made["outboard_len"] == outboard_size(made["size"])
    assert blake3(outboard).hexdigest() == made["pre_order_blake3"]
