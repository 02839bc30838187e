"""Reading from registries that lose connections, ignore ranges, lie, stall and redirect."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator

import pytest
from tests.support.images import OCI_INDEX, OCI_MANIFEST, SBOM
from tests.support.odd_registry import OddRegistry, Reply, Request, once
from tests.support.packages_by_hand import read_blob
from tests.support.real_files import real_bytes

from peat_sidecar.errors import IntegrityError, NotFound, PeatError, Refused, SourceError
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.oci import Credentials, RegistryOptions, RegistrySource
from peat_sidecar.packages import Descriptor

DATA = real_bytes(700_000)
QUICK = RegistryOptions(
    stall_seconds=0.3, backoff_seconds=0.001, longest_wait_seconds=0.05, environment={"HOME": "/nonexistent"}
)


@pytest.fixture
async def odd() -> AsyncIterator[OddRegistry]:
    async with OddRegistry() as started:
        yield started


@pytest.fixture
async def source(odd: OddRegistry) -> AsyncIterator[RegistrySource]:
    made = RegistrySource(Reference.parse(f"{odd.address}/app:v1"), QUICK)
    yield made
    await made.close()


@pytest.fixture
def blob(odd: OddRegistry) -> Descriptor:
    return Descriptor("x/y", Digest.parse(odd.add_blob(DATA)), len(DATA))


def whole_manifest(odd: OddRegistry) -> str:
    config = odd.add_blob(b"{}")
    entry = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2}
    document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": entry, "layers": []}
    return odd.add_manifest(document, tag="v1")


@pytest.mark.parametrize("offset", [0, 1, 65_537, len(DATA) - 1, len(DATA)])
async def test_any_offset(odd: OddRegistry, source: RegistrySource, blob: Descriptor, offset: int) -> None:
    assert await read_blob(source, blob, offset) == DATA[offset:]
    assert all(request.headers["accept-encoding"] == "identity" for request in odd.seen)


async def test_a_lost_connection_is_taken_up_where_it_was(
    odd: OddRegistry, source: RegistrySource, blob: Descriptor
) -> None:
    def cut(request: Request) -> Reply | None:
        reply = odd.behave(request)
        return dataclasses.replace(reply, cut_after=100_000) if len(reply.body) > 100_000 else None

    odd.rules.append(cut)
    assert await read_blob(source, blob) == DATA
    begins = [request.headers.get("range", "bytes=0-") for request in odd.seen]
    assert begins == [f"bytes={begin}-" for begin in range(0, 700_000, 100_000)]


async def test_a_server_that_ignores_ranges_is_read_again_and_skipped(
    odd: OddRegistry, source: RegistrySource, blob: Descriptor
) -> None:
    odd.rules.append(once(lambda request: Reply(200, {}, DATA, cut_after=300_000)))
    odd.rules.append(lambda request: Reply(200, {}, DATA))
    assert await read_blob(source, blob) == DATA
    assert len(odd.seen) == 2


@pytest.mark.parametrize(
    "answer",
    [
        Reply(416, {"Content-Range": f"bytes */{len(DATA)}"}),
        Reply(206, {"Content-Range": f"bytes 5-{len(DATA) - 1}/{len(DATA)}"}, DATA[5:]),
        Reply(206, {"Content-Range": "bytes nonsense"}, DATA),
        Reply(206, {}, DATA),
        Reply(206, {"Content-Range": f"bytes 99999999999999999999-1/{len(DATA)}"}, DATA),
    ],
)
async def test_a_range_that_is_refused_or_another_one_is_not_used(
    odd: OddRegistry, source: RegistrySource, blob: Descriptor, answer: Reply
) -> None:
    odd.rules.append(lambda request: answer if "range" in request.headers else None)
    assert await read_blob(source, blob, 1000) == DATA[1000:]


@pytest.mark.parametrize(
    "answer",
    [
        Reply(200, {}, DATA + b"more"),
        Reply(200, {}, DATA[:-1]),
        Reply(200, {}, DATA + b"more", length=-1),
        Reply(206, {"Content-Range": "bytes 1000-1999999/2000000"}, DATA),
    ],
)
async def test_another_length_than_the_manifest_says_is_wrong(
    odd: OddRegistry, source: RegistrySource, blob: Descriptor, answer: Reply
) -> None:
    odd.rules.append(lambda request: answer)
    with pytest.raises(IntegrityError, match=str(blob.digest)):
        await read_blob(source, blob, 1000 if answer.status == 206 else 0)


async def test_a_body_that_always_ends_early_is_given_up(
    odd: OddRegistry, source: RegistrySource, blob: Descriptor
) -> None:
    odd.rules.append(lambda request: Reply(200, {}, DATA[:1000], length=-1))
    with pytest.raises(SourceError, match="1000 of 700000"):
        await read_blob(source, blob)
    assert len(odd.seen) == QUICK.tries


async def test_a_silent_connection_is_given_up_and_taken_up(
    odd: OddRegistry, source: RegistrySource, blob: Descriptor
) -> None:
    odd.rules.append(once(lambda request: Reply(200, {}, DATA, stall_after=200_000)))
    assert await read_blob(source, blob) == DATA
    assert odd.seen[1].headers["range"] == "bytes=200000-"


async def test_silence_for_ever_ends(odd: OddRegistry, blob: Descriptor) -> None:
    options = dataclasses.replace(QUICK, stall_seconds=0.05, tries=2)
    source = RegistrySource(Reference.parse(f"{odd.address}/app:v1"), options)
    odd.rules.append(lambda request: Reply(200, {}, DATA, stall_after=0))
    with pytest.raises(SourceError, match="silent"):
        await read_blob(source, blob)
    await source.close()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_tried_again(
    odd: OddRegistry, source: RegistrySource, blob: Descriptor, status: int
) -> None:
    odd.rules.append(once(lambda request: Reply(status, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), 2))
    assert await read_blob(source, blob) == DATA


async def test_retry_after_is_honoured_up_to_a_bound(odd: OddRegistry, blob: Descriptor) -> None:
    waits: list[float] = []

    async def note(seconds: float) -> None:
        waits.append(seconds)

    options = dataclasses.replace(QUICK, longest_wait_seconds=30.0, tries=4)
    source = RegistrySource(Reference.parse(f"{odd.address}/app:v1"), options, sleep=note)
    answers = iter(["7", "86400", "nonsense"])
    odd.rules.append(once(lambda request: Reply(429, {"Retry-After": next(answers)}), 3))
    assert await read_blob(source, blob) == DATA
    assert waits[:2] == [7.0, 30.0]
    assert waits[2] < 1
    await source.close()


async def test_a_failure_that_stays_is_told_with_what_the_registry_says(
    odd: OddRegistry, source: RegistrySource, blob: Descriptor
) -> None:
    body = json.dumps({"errors": [{"code": "TOOMANYREQUESTS", "message": "slow\x1b[31m down " + "x" * 999}]})
    odd.rules.append(lambda request: Reply(503, {}, body.encode()))
    with pytest.raises(SourceError, match="TOOMANYREQUESTS slow") as caught:
        await source.resolve()
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert len(odd.seen) == QUICK.tries


@pytest.mark.parametrize(
    ("status", "error"), [(403, Refused), (404, NotFound), (400, SourceError), (418, SourceError)]
)
async def test_what_does_not_pass_is_not_tried_again(
    odd: OddRegistry, source: RegistrySource, blob: Descriptor, status: int, error: type[PeatError]
) -> None:
    odd.rules.append(lambda request: Reply(status))
    for ask in (source.resolve(), read_blob(source, blob)):
        with pytest.raises(error):
            await ask
    assert len(odd.seen) == 2


async def test_blobs_may_lie_elsewhere_and_secrets_do_not_go_there(
    odd: OddRegistry, blob: Descriptor
) -> None:
    async with OddRegistry() as storage:
        storage.rules.append(lambda request: Reply(200, {}, DATA))
        odd.rules.append(
            lambda request: None if request.authorization else Reply(401, {"WWW-Authenticate": "Basic"})
        )
        odd.rules.append(lambda request: Reply(307, {"Location": f"http://{storage.address}/signed?key=1"}))
        options = dataclasses.replace(QUICK, credentials=Credentials("user", "secret"))
        source = RegistrySource(Reference.parse(f"{odd.address}/app:v1"), options)
        assert await read_blob(source, blob) == DATA
        await source.close()
        assert [request.authorization for request in storage.seen] == [""]
        assert odd.seen[-1].authorization.startswith("Basic ")


@pytest.mark.parametrize(
    ("location", "says"),
    [
        ("/v2/app/blobs/again", "redirects without end"),
        ("http://registry.example/blob", "plain HTTP"),
        ("ftp://127.0.0.1/blob", "none of HTTP"),
        ("file:///etc/passwd", "none of HTTP"),
        ("http://user:pass@127.0.0.1/blob", "none of HTTP"),
        ("http://[::", "Invalid URL"),
    ],
)
async def test_redirects_that_are_not_followed(
    odd: OddRegistry, source: RegistrySource, blob: Descriptor, location: str, says: str
) -> None:
    odd.rules.append(lambda request: Reply(302, {"Location": location}))
    with pytest.raises(SourceError, match=says):
        await read_blob(source, blob)


async def test_a_manifest_is_checked_against_every_name_it_has(odd: OddRegistry) -> None:
    digest = whole_manifest(odd)
    for name, header, good in (
        (":v1", digest, True),
        (f"@{digest}", digest, True),
        (":v1", "", True),
        (":v1", "blake3:abcd", True),
        (":v1", "sha256:" + "0" * 64, False),
        (":v1", "sha256:zz", False),
        (f"@sha256:{'1' * 64}", "", False),
    ):
        odd.rules[:] = [lambda request, header=header: _manifest(odd, header)]  # type: ignore[misc]
        source = RegistrySource(Reference.parse(f"{odd.address}/app{name}"), QUICK)
        if good:
            assert str((await source.resolve()).digest) == digest
        else:
            with pytest.raises((IntegrityError, SourceError)):
                await source.resolve()
        await source.close()


def _manifest(odd: OddRegistry, header: str) -> Reply:
    media_type, raw = odd.manifests["v1"]
    return Reply(
        200, {"Content-Type": media_type} | ({"Docker-Content-Digest": header} if header else {}), raw
    )


async def test_a_document_that_changed_is_wrong_and_one_that_is_too_large_is_refused(
    odd: OddRegistry, source: RegistrySource
) -> None:
    digest = Digest.parse(whole_manifest(odd))
    size = len(odd.manifests["v1"][1])
    with pytest.raises(IntegrityError, match=str(digest)):
        await source.read_document(Descriptor(OCI_MANIFEST, digest, size + 1))
    odd.rules.append(lambda request: Reply(200, {"Content-Type": OCI_MANIFEST}, b"x" * size))
    with pytest.raises(IntegrityError, match=str(digest)):
        await source.read_document(Descriptor(OCI_MANIFEST, digest, size))
    odd.rules[:] = [lambda request: Reply(200, {"Content-Type": OCI_MANIFEST}, b" " * (5 << 20))]
    with pytest.raises(SourceError, match="4 MiB"):
        await source.resolve()


@pytest.mark.parametrize(
    "media_type", ["", "text/plain", "application/octet-stream", OCI_MANIFEST + "; charset=utf-8"]
)
async def test_a_media_type_that_says_nothing_is_found_in_the_document(
    odd: OddRegistry, source: RegistrySource, media_type: str
) -> None:
    whole_manifest(odd)
    raw = odd.manifests["v1"][1]
    odd.rules.append(lambda request: Reply(200, {"Content-Type": media_type} if media_type else {}, raw))
    root = await source.resolve()
    assert root.media_type == OCI_MANIFEST
    assert await source.read_document(root) == raw


async def test_referrers_are_paged_and_filtered_here(odd: OddRegistry, source: RegistrySource) -> None:
    subject = whole_manifest(odd)
    config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": odd.add_blob(b"{}"), "size": 2}
    made = {}
    for number in range(5):
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": SBOM if number % 2 else "text/other",
            "config": config,
            "layers": [],
            "subject": {"mediaType": OCI_MANIFEST, "digest": subject, "size": 1},
            "annotations": {"number": str(number)},
        }
        made[odd.add_manifest(document)] = document["artifactType"]
    root = await source.resolve()
    assert {str(entry.digest): entry.artifact_type for entry in await source.referrers(root)} == made
    assert odd.count("GET", "referrers") == 3
    assert len(await source.referrers(root, SBOM)) == 2


async def test_pages_without_end_end(odd: OddRegistry, source: RegistrySource) -> None:
    whole_manifest(odd)
    empty = json.dumps({"schemaVersion": 2, "manifests": []}).encode()

    def endless(request: Request) -> Reply | None:
        link = {"Content-Type": OCI_INDEX, "Link": f'<{request.path}?last=x>; rel="next"'}
        return Reply(200, link, empty) if "referrers" in request.path else None

    odd.rules.append(endless)
    assert await source.referrers(await source.resolve()) == []
    assert odd.count("GET", "referrers") == 100


async def test_a_cancelled_read_leaves_no_connection(odd: OddRegistry, blob: Descriptor) -> None:
    patient = dataclasses.replace(QUICK, stall_seconds=30)
    source = RegistrySource(Reference.parse(f"{odd.address}/app:v1"), patient)
    asked = asyncio.Event()

    def stall(request: Request) -> Reply:
        asked.set()
        return Reply(200, {}, DATA, stall_after=1000)

    odd.rules.append(stall)
    reading = asyncio.create_task(read_blob(source, blob))
    await asked.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await source.close()


async def test_what_nobody_listens_on_says_so_soon() -> None:
    source = RegistrySource(Reference.parse("127.0.0.1:1/app:v1"), QUICK)
    with pytest.raises(SourceError, match=r"127\.0\.0\.1:1 cannot be reached"):
        await source.resolve()
    await source.close()


async def test_tls_is_the_rule_away_from_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads to this machine, but that is not a loopback name, gets TLS; unless it is listed."""
    async with OddRegistry() as odd:
        whole_manifest(odd)
        host = "registry.test"
        port = odd.address.rpartition(":")[2]
        loop = asyncio.get_running_loop()
        resolve = loop.getaddrinfo

        async def local(name: object, *rest: object, **more: object) -> object:
            return await resolve("127.0.0.1" if name in (host, host.encode()) else name, *rest, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(loop, "getaddrinfo", local)
        secure = RegistrySource(Reference.parse(f"{host}:{port}/app:v1"), QUICK)
        with pytest.raises(SourceError, match=f"--plain-http {host}:{port}"):
            await secure.resolve()
        await secure.close()
        assert odd.seen == []
        for listed in (host, f"{host}:{port}"):
            options = dataclasses.replace(QUICK, plain_http=frozenset({listed}))
            plain = RegistrySource(Reference.parse(f"{host}:{port}/app:v1"), options)
            await plain.resolve()
            await plain.close()
