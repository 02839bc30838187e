"""Writing to registries that lose connections, forget uploads, know no chunks, and say no."""

import asyncio
import dataclasses
import hashlib
import json
from collections.abc import AsyncIterator

import pytest
from tests.support.images import OCI_INDEX, OCI_MANIFEST, SBOM
from tests.support.odd_registry import OddRegistry, Reply, Request, Rule, once
from tests.support.real_files import real_bytes

from peat_sidecar.errors import IntegrityError, PeatError, Refused, SourceError
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.oci import RegistryOptions, RegistryTarget
from peat_sidecar.packages import Descriptor

DATA = real_bytes(900_000)
QUICK = RegistryOptions(
    stall_seconds=0.5,
    commit_seconds=0.5,
    backoff_seconds=0.001,
    longest_wait_seconds=0.02,
    chunk_bytes=200_000,
    environment={"HOME": "/nonexistent"},
)
WHOLE = dataclasses.replace(QUICK, chunk_bytes=1 << 30)


@pytest.fixture
async def odd() -> AsyncIterator[OddRegistry]:
    async with OddRegistry() as started:
        yield started


@pytest.fixture
async def target(odd: OddRegistry) -> AsyncIterator[RegistryTarget]:
    made = RegistryTarget(Reference.parse(f"{odd.address}/team/app:v1"), QUICK)
    yield made
    await made.close()


def blob_of(data: bytes) -> Descriptor:
    return Descriptor("x/y", Digest("sha256", hashlib.sha256(data).hexdigest()), len(data))


BLOB = blob_of(DATA)


def read(offset: int, length: int) -> bytes:
    return DATA[offset : offset + length]


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize(("options", "patches"), [(QUICK, 5), (WHOLE, 0)])
async def test_chunks_and_single_uploads(
    odd: OddRegistry, options: RegistryOptions, patches: int, relative: bool
) -> None:
    odd.relative_locations = relative
    target = RegistryTarget(Reference.parse(f"{odd.address}/team/app:v1"), options)
    assert not await target.has_blob(BLOB)
    await target.push_blob(BLOB, read)
    assert await target.has_blob(BLOB)
    await target.close()
    assert odd.blobs == {str(BLOB.digest): DATA}
    assert odd.count("PATCH") == patches
    assert all(
        request.query["state"] == ["a/b"] for request in odd.seen if request.method in ("PATCH", "PUT")
    )


async def test_an_empty_blob(odd: OddRegistry, target: RegistryTarget) -> None:
    await target.push_blob(blob_of(b""), lambda offset, length: b"")
    assert list(odd.blobs.values()) == [b""]


@pytest.mark.parametrize("after", [0, 1, 65_537, 199_999])
async def test_an_upload_goes_on_where_the_registry_lost_it(
    odd: OddRegistry, target: RegistryTarget, after: int
) -> None:
    odd.accept_body = cut_once("PATCH", after, number=2)
    await target.push_blob(BLOB, read)
    assert odd.blobs == {str(BLOB.digest): DATA}
    assert odd.count("POST") == 1
    assert odd.count("GET", "uploads") == 1
    sent = [request.headers["content-range"] for request in odd.seen if request.method == "PATCH"]
    assert sent[:2] == ["0-199999", "200000-399999"]
    assert sent[2].startswith(f"{200_000 + after}-")


def cut_once(method: str, after: int, number: int):  # type: ignore[no-untyped-def]
    """Resets the connection within the body of the so-manieth request of that method."""
    seen = 0

    def limit(request: Request) -> int | None:
        nonlocal seen
        seen += request.method == method
        return after if request.method == method and seen == number else None

    return limit


async def test_an_upload_that_the_registry_forgot_begins_anew(
    odd: OddRegistry, target: RegistryTarget
) -> None:
    odd.accept_body = cut_once("PATCH", 1000, number=3)
    odd.rules.append(lambda request: Reply(404) if request.method == "GET" and "u0" in request.path else None)
    await target.push_blob(BLOB, read)
    assert odd.blobs == {str(BLOB.digest): DATA}
    assert odd.count("POST") == 2


async def test_a_single_upload_that_is_cut_begins_anew(odd: OddRegistry) -> None:
    target = RegistryTarget(Reference.parse(f"{odd.address}/team/app:v1"), WHOLE)
    odd.accept_body = cut_once("PUT", 300_000, number=1)
    await target.push_blob(BLOB, read)
    await target.close()
    assert odd.blobs == {str(BLOB.digest): DATA}
    assert odd.count("POST") == 2


async def test_a_lost_confirmation_does_not_upload_twice(odd: OddRegistry, target: RegistryTarget) -> None:
    def confirm_nothing(request: Request) -> Reply | None:
        if request.method != "PUT":
            return None
        odd.behave(request)
        return Reply(201, {}, b"never seen", length=100, cut_after=0)

    odd.rules.append(once(confirm_nothing))
    await target.push_blob(BLOB, read)
    assert odd.blobs == {str(BLOB.digest): DATA}
    assert odd.count("PATCH") == 5
    assert odd.count("HEAD") == 1


@pytest.mark.parametrize("status", [400, 405, 411, 416, 501])
async def test_a_registry_without_chunks_gets_one_piece(
    odd: OddRegistry, target: RegistryTarget, status: int
) -> None:
    odd.rules.append(lambda request: Reply(status) if request.method == "PATCH" else None)
    await target.push_blob(BLOB, read)
    assert odd.blobs == {str(BLOB.digest): DATA}
    assert odd.count("PATCH") == 1
    assert odd.uploads == {}


async def test_a_registry_may_take_less_of_a_chunk_than_sent(
    odd: OddRegistry, target: RegistryTarget
) -> None:
    def take_half(request: Request) -> Reply | None:
        if request.method == "PATCH" and len(request.body) > 100_000:
            request.body = request.body[:100_000]
            return odd.behave(request)
        return None

    odd.rules.append(take_half)
    await target.push_blob(BLOB, read)
    assert odd.blobs == {str(BLOB.digest): DATA}


async def test_a_smallest_chunk_is_honoured(odd: OddRegistry, target: RegistryTarget) -> None:
    def begin(request: Request) -> Reply | None:
        if request.method != "POST":
            return None
        reply = odd.behave(request)
        reply.headers["OCI-Chunk-Min-Length"] = "500000"
        return reply

    odd.rules.append(begin)
    await target.push_blob(BLOB, read)
    assert odd.count("PATCH") == 2


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_what_may_pass_is_tried_again(odd: OddRegistry, target: RegistryTarget, status: int) -> None:
    for method in ("POST", "PATCH", "PUT", "HEAD"):
        odd.rules.append(once(answer_to(method, status)))
    assert not await target.has_blob(BLOB)
    await target.push_blob(BLOB, read)
    assert odd.blobs == {str(BLOB.digest): DATA}


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
async def test_what_stays_broken_ends_and_is_cancelled(
    odd: OddRegistry, target: RegistryTarget, method: str
) -> None:
    odd.rules.append(lambda request: Reply(503) if request.method == method else None)
    with pytest.raises(SourceError, match="503"):
        await target.push_blob(BLOB, read)
    assert len(odd.seen) < 60
    assert odd.uploads == {}


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (401, PeatError, "known"),
        (403, Refused, "credentials"),
        (413, SourceError, "room"),
        (507, SourceError, "room"),
    ],
)
async def test_a_no_is_a_no(
    odd: OddRegistry, target: RegistryTarget, status: int, error: type[PeatError], says: str
) -> None:
    odd.rules.append(lambda request: Reply(status) if request.method == "PATCH" else None)
    with pytest.raises(error, match=says):
        await target.push_blob(BLOB, read)
    assert odd.count("PATCH") == 1
    assert odd.uploads == {}


async def test_wrong_bytes_are_named(odd: OddRegistry, target: RegistryTarget) -> None:
    with pytest.raises(IntegrityError, match=str(BLOB.digest)):
        await target.push_blob(BLOB, lambda offset, length: bytes(length))
    with pytest.raises(IntegrityError, match="shorter"):
        await target.push_blob(BLOB, lambda offset, length: b"")
    assert odd.blobs == {}


async def test_an_upload_without_a_place_is_an_error(odd: OddRegistry, target: RegistryTarget) -> None:
    odd.rules.append(lambda request: Reply(202) if request.method == "POST" else None)
    with pytest.raises(SourceError, match="without saying where"):
        await target.push_blob(BLOB, read)


async def test_an_upload_is_not_sent_to_a_host_without_tls(odd: OddRegistry, target: RegistryTarget) -> None:
    location = {"Location": "http://registry.example/upload"}
    odd.rules.append(lambda request: Reply(202, location) if request.method == "POST" else None)
    with pytest.raises(SourceError, match=r"--plain-http registry\.example"):
        await target.push_blob(BLOB, read)


async def test_mounting(odd: OddRegistry, target: RegistryTarget) -> None:
    odd.blobs[str(BLOB.digest)] = DATA
    await target.push_blob(BLOB, read, mount_from=["team/base"])
    assert [(request.method, request.query) for request in odd.seen] == [
        ("POST", {"mount": [str(BLOB.digest)], "from": ["team/base"]})
    ]


@pytest.mark.parametrize("status", [202, 400, 401, 403, 404])
async def test_what_cannot_be_mounted_is_uploaded(
    odd: OddRegistry, target: RegistryTarget, status: int
) -> None:
    if status != 202:
        odd.rules.append(lambda request: Reply(status) if "mount" in request.query else None)
    await target.push_blob(BLOB, read, mount_from=["a", "b", "c", "d", "e"])
    assert odd.blobs == {str(BLOB.digest): DATA}
    assert odd.count("POST") == (3 if status == 202 else 4)
    assert odd.uploads == {}


async def test_a_manifest_is_put_under_its_tag_and_checked(odd: OddRegistry, target: RegistryTarget) -> None:
    raw = manifest()
    document = Descriptor(OCI_MANIFEST, blob_of(raw).digest, len(raw))
    await target.push_manifest(document, raw)
    await target.push_manifest(document, raw, "v1")
    await target.finish(document, "v1")
    assert odd.manifests == {"v1": (OCI_MANIFEST, raw), str(document.digest): (OCI_MANIFEST, raw)}
    assert await target.has_blob(document)
    with pytest.raises(IntegrityError):
        await target.push_manifest(document, raw + b" ")
    wrong = {"Docker-Content-Digest": "sha256:" + "0" * 64}
    odd.rules.append(lambda request: Reply(201, wrong))
    with pytest.raises(IntegrityError, match="something else"):
        await target.push_manifest(document, raw, "v2")


def answer_to(method: str, status: int) -> Rule:
    return lambda request: Reply(status) if request.method == method else None


def manifest(**fields: object) -> bytes:
    config = {
        "mediaType": "application/vnd.oci.empty.v1+json",
        "digest": str(blob_of(b"{}").digest),
        "size": 2,
    }
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": []}
    return json.dumps(document | fields).encode()


@pytest.mark.parametrize("has_referrers", [True, False])
async def test_a_referrer_is_listed_where_the_registry_does_not(
    odd: OddRegistry, target: RegistryTarget, has_referrers: bool
) -> None:
    odd.has_referrers = has_referrers
    subject = {"mediaType": OCI_MANIFEST, "digest": "sha256:" + "a" * 64, "size": 9}
    pushed = []
    for number in (1, 2, 1):
        raw = manifest(subject=subject, artifactType=SBOM, annotations={"number": str(number)})
        document = Descriptor(OCI_MANIFEST, blob_of(raw).digest, len(raw))
        await target.push_manifest(document, raw)
        pushed.append(str(document.digest))
    if has_referrers:
        assert "sha256-" + "a" * 64 not in odd.manifests
        return
    media_type, raw = odd.manifests["sha256-" + "a" * 64]
    listed = json.loads(raw)["manifests"]
    assert media_type == OCI_INDEX
    assert [(entry["digest"], entry["artifactType"]) for entry in listed] == [(d, SBOM) for d in pushed[:2]]
    assert listed[1]["annotations"] == {"number": "2"}


async def test_a_cancelled_upload_is_cancelled_there(odd: OddRegistry, target: RegistryTarget) -> None:
    reached = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(offset: int, length: int) -> bytes:
        if offset >= 200_000:
            loop.call_soon_threadsafe(reached.set)
        return read(offset, length)

    def hold(request: Request) -> Reply | None:
        return (
            Reply(202, {}, b"x", stall_after=0)
            if request.headers.get("content-range", "").startswith("2")
            else None
        )

    odd.rules.append(hold)
    pushing = asyncio.create_task(target.push_blob(BLOB, slow))
    await reached.wait()
    pushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pushing
    assert odd.uploads == {}
