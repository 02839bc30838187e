"""Nearly right bytes from a peer: a value that comes back as it was, or a RemoteProtocolError.

PEAT_FUZZ_ROUNDS=1000000 .venv/bin/pytest tests/fuzz goes on for longer, and PEAT_FUZZ_SEED elsewhere.
"""

import base64
import os

from blake3 import blake3

from peat_sidecar.errors import ConfigError, RemoteProtocolError
from peat_sidecar.wire import (
    ObserveReader,
    Ticket,
    encode_collection,
    encode_observe_item,
    encode_request,
    parse_collection,
    parse_request,
)
from tests.fuzz.mutations import mutated, seeds

ROUNDS = int(os.environ.get("PEAT_FUZZ_ROUNDS") or 4000)
SEED = int(os.environ.get("PEAT_FUZZ_SEED") or 1)


def test_requests() -> None:
    good = 0
    for data in mutated(seeds("requests"), ROUNDS, seed=SEED):
        try:
            request = parse_request(data)
        except RemoteProtocolError:
            continue
        assert parse_request(encode_request(request)) == request
        good += 1
    assert good > len(seeds("requests")) // 2


def test_observe() -> None:
    """Fed whole and byte by byte: the same items, and an error in both or in none."""
    for data in mutated(seeds("observe"), ROUNDS, seed=SEED):
        results = []
        for step in (1, len(data) or 1):
            reader, items, failed = ObserveReader(), [], False
            try:
                for start in range(0, len(data), step):
                    items += reader.feed(data[start : start + step])
            except RemoteProtocolError:
                failed = True
            results.append((items, failed))
        (slow, slow_failed), (fast, fast_failed) = results
        assert slow_failed == fast_failed
        assert slow == fast or (fast_failed and not fast)
        for item in slow:
            assert ObserveReader().feed(encode_observe_item(item)) == [item]


def test_collections() -> None:
    for metadata in mutated(seeds("collections"), ROUNDS, seed=SEED):
        for names in range(6):
            try:
                found = parse_collection(metadata, blake3(metadata).digest() + bytes(32 * names))
            except RemoteProtocolError:
                continue
            assert parse_collection(*encode_collection(found)) == found


def test_tickets() -> None:
    for body in mutated(seeds("tickets"), ROUNDS, seed=SEED):
        try:
            ticket = Ticket.parse("blob" + base64.b32encode(body).decode().rstrip("="))
        except ConfigError:
            continue
        assert Ticket.parse(str(ticket)) == ticket
