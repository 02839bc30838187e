"""Wrong content: of whoever sent it, if its hash shows that; of whoever named it, if the hash is right."""

from pathlib import Path

import pytest

from peat_sidecar.errors import IntegrityError, Misnamed
from peat_sidecar.ids import BlobHash
from peat_sidecar.net import Stream
from peat_sidecar.store import StoredPackage
from peat_sidecar.transfer import Progress, Sources
from peat_sidecar.transfer.answering import answer
from peat_sidecar.transfer.events import EventKind
from peat_sidecar.transfer.source_progress import SourceState
from peat_sidecar.wire import Collection, Get, GetMany, encode_collection, parse_request
from tests.support.nodes import Node, bounded, content, put_package, sha256_of
from tests.support.real_files import real_bytes
from tests.unit.transfer.test_bad_peers import hostile, lies
from tests.unit.transfer.test_getter import layered
from tests.unit.transfer.test_lying_peers import Liar
from tests.unit.transfer.test_several_peers import several

LAYERS = [real_bytes(300_000), real_bytes(5000, 5000)]


@pytest.mark.parametrize("kind", [Get, GetMany], ids=["a document", "a small blob"])
async def test_a_peer_that_sends_something_wrong_is_banned_for_the_rest(
    tmp_path: Path, kind: type[Get] | type[GetMany]
) -> None:
    """The next one gives it, and all that comes after; the liar is not asked again."""
    async with several(tmp_path, 1) as all, hostile(all, lies) as (liar,):
        manifest, blobs = layered(*LAYERS)
        sent = put_package(all.providers[0].store, manifest, blobs)
        told = 0

        async def reply(_: Liar, stream: Stream, request: bytes) -> None:
            nonlocal told
            parsed = parse_request(request)
            assert isinstance(parsed, Get | GetMany)
            assert not told, "it is not asked again"
            true = bytearray(b"".join(answer(all.providers[0].store, parsed)))
            if isinstance(parsed, kind):
                told += 1
                true[-1] ^= 1
            await stream.write(bytes(true))
            await stream.finish()

        liar.reply = reply
        progress = Progress()
        sources = Sources([liar.address, all.providers[0].address])
        await bounded(all.getter.getter.fetch_package(sent.collection, sources, progress))
        assert told == 1
        assert progress.sources[liar.endpoint.id].state is SourceState.BANNED
        bans = [each for each in progress.events.all if each.kind is EventKind.BAN]
        assert [each.peer for each in bans] == [liar.endpoint.id]
        assert "wrong bytes" in bans[0].detail
        assert isinstance(sources.faults[liar.endpoint.id], IntegrityError)
        sources.returned(liar.endpoint.id)
        assert sources.current == [all.providers[0].address]


def put_misnamed(node: Node, place: int, wrong: bytes) -> StoredPackage:
    """A package whose collection names another blob for the digest at a place."""
    manifest, blobs = layered(*LAYERS)
    sent = put_package(node.store, manifest, blobs)
    sequence = content(node.store, sent.collection)
    hashes = [BlobHash(sequence[at : at + 32]) for at in range(32, len(sequence), 32)]
    hashes[place] = node.store.put(wrong).hash
    names = ("oci-layout", "index.json", *(digest.path for digest in sent.blobs))
    metadata, false = encode_collection(Collection(names, tuple(hashes)))
    node.store.put(metadata)
    return StoredPackage(None, sent.root, node.store.put(false).hash, sent.blobs, sent.bytes)


@pytest.mark.parametrize("large", [True, False], ids=["large", "small"])
async def test_what_was_named_wrongly_is_no_peers_fault(tmp_path: Path, large: bool) -> None:
    """Each would give the same, so none is asked for it again and none is banned."""
    layer = LAYERS[0 if large else 1]
    wrong = bytes(len(layer))
    async with several(tmp_path, 2) as all:
        for each in all.providers:
            place = [sha256_of(blob) for blob in LAYERS].index(sha256_of(layer)) - len(LAYERS)
            false = put_misnamed(each, place, wrong)
        sources, progress = Sources([each.address for each in all.providers]), Progress()
        with pytest.raises(Misnamed, match="was named for another"):
            await bounded(all.getter.getter.fetch_package(false.collection, sources, progress))
        assert not sources.faults
        assert not [each for each in progress.events.all if each.kind is EventKind.BAN]
        assert all.getter.store.packages() == []
