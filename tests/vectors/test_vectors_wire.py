"""What real Rust nodes were sent and sent: every request, item, ticket and collection, byte for byte."""

import json
from pathlib import Path
from typing import Any

import pytest

from peat_sidecar.errors import RemoteProtocolError
from peat_sidecar.ids import BlobHash, EndpointId
from peat_sidecar.ranges import ChunkRanges
from peat_sidecar.wire import (
    Get,
    GetMany,
    Observe,
    ObserveReader,
    RangesSeq,
    Ticket,
    encode_collection,
    encode_observe_item,
    encode_request,
    parse_collection,
    parse_hash_sequence,
    parse_request,
    parse_size,
)

HERE = Path(__file__).parent
KNOWN: dict[str, Any] = json.loads((HERE / "vectors.json").read_text())
KINDS = {"Get": Get, "GetMany": GetMany, "Observe": Observe}
GOOD = [each for each in KNOWN["vectors"] if each["kind"] in KINDS]
BAD = [each for each in KNOWN["vectors"] if each["kind"] not in KINDS]


def answer_of(vector: dict[str, Any]) -> bytes:
    if "response_file" in vector:
        return (HERE / str(vector["response_file"])).read_bytes()
    return bytes.fromhex(vector["response_hex"])


def test_there_are_all() -> None:
    assert (len(GOOD), len(BAD)) == (279, 4)


@pytest.mark.parametrize("vector", GOOD, ids=lambda vector: vector["name"])
def test_requests(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["request_hex"])
    request = parse_request(data)
    assert type(request) is KINDS[vector["kind"]]
    # One request has two bytes too many, which nodes ignore.
    assert encode_request(request) == data.removesuffix(b"xx")
    if vector["ranges"] is not None:
        asked = RangesSeq.blob(ChunkRanges.from_boundaries(vector["ranges"]))
        size = str(vector["inputs"][0])
        assert request == Get(BlobHash.parse(KNOWN["hashes"][size]), asked)
        if vector["end"] == "fin" and vector.get("response_hex"):
            assert parse_size(answer_of(vector)[:8]) == int(size)


@pytest.mark.parametrize("vector", BAD, ids=lambda vector: vector["name"])
def test_requests_that_nodes_do_not_answer(vector: dict[str, Any]) -> None:
    text = vector["request_hex"]
    if vector["name"] == "bad_too_long":
        data = b"\x00" + bytes.fromhex(KNOWN["hashes"]["1"] + "020001000100") + bytes(1048576)
    else:
        data = bytes.fromhex(text)
    with pytest.raises(RemoteProtocolError):
        parse_request(data)


@pytest.mark.parametrize(
    "vector",
    [each for each in GOOD if each["kind"] == "Observe" and each["response_len"]],
    ids=lambda vector: vector["name"],
)
def test_items_of_observe(vector: dict[str, Any]) -> None:
    data = answer_of(vector)
    (item,) = ObserveReader().feed(data)
    assert encode_observe_item(item) == data
    if vector["inputs"]:
        assert (item.size, item.ranges) == (vector["inputs"][0], ChunkRanges.all())


@pytest.mark.parametrize("made", KNOWN["tickets"], ids=lambda made: f"format-{made['format']}")
def test_tickets(made: dict[str, Any]) -> None:
    ticket = Ticket.parse(made["ticket"])
    expected = Ticket(
        EndpointId.parse(made["node"]),
        (made["addr"],),
        BlobHash.parse(made["hash"]),
        made["format"] == 1,
        made["relay"],
    )
    assert ticket == expected
    assert str(ticket) == made["ticket"]


def test_the_collection() -> None:
    """The answer holds the hash sequence, the names, then four blobs, each after its size."""
    (vector,) = [each for each in GOOD if each["name"] == "collection_all"]
    answer = answer_of(vector)
    length = parse_size(answer[:8])
    sequence, rest = answer[8 : 8 + length], answer[8 + length :]
    metadata = rest[8 : 8 + parse_size(rest[:8])]
    assert metadata.hex() == KNOWN["collection_meta_hex"]
    collection = parse_collection(metadata, sequence)
    assert collection.names == ("a.txt", "dir/b.bin", "empty", "a-again")
    assert [str(each) for each in collection.hashes] == [
        KNOWN["hashes"][size] for size in ("1", "16385", "0", "1")
    ]
    assert encode_collection(collection) == (metadata, sequence)


def test_the_hash_sequence() -> None:
    (vector,) = [each for each in GOOD if each["name"] == "hashseq_root_only"]
    hashes = parse_hash_sequence(answer_of(vector)[8:])
    assert [str(each) for each in hashes] == [
        KNOWN["hashes"][size] for size in ("1024", "0", "65537", "1024")
    ]
