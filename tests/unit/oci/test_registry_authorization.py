"""Passwords and tokens: found, asked for, renewed, and never sent or said where they do not belong."""

import asyncio
import base64
import dataclasses
import json
from collections.abc import AsyncIterator
from urllib.parse import parse_qs

import pytest
from tests.support.images import OCI_MANIFEST
from tests.support.odd_registry import OddRegistry, Reply, Request, once
from tests.support.packages_by_hand import read_blob
from tests.support.real_files import real_bytes

from peat_sidecar.errors import Refused, SourceError
from peat_sidecar.ids import Digest, Reference
from peat_sidecar.oci import Credentials, RegistryOptions, RegistrySource, RegistryTarget
from peat_sidecar.oci.session import Session
from peat_sidecar.packages import Descriptor

DATA = real_bytes(300_000)
QUICK = RegistryOptions(
    stall_seconds=0.5, backoff_seconds=0.001, longest_wait_seconds=0.02, environment={"HOME": "/nonexistent"}
)
USER = Credentials("sailor", "p:ss wörd")
BASIC = "Basic " + base64.b64encode("sailor:p:ss wörd".encode()).decode()


class Guarded:
    """Rules for a registry that wants tokens, and for the service that gives them, here or elsewhere."""

    def __init__(self, odd: OddRegistry, service: OddRegistry | None = None) -> None:
        self.odd = odd
        self.service = service or odd
        self.expires_in: object = 300
        self.good = 0
        """Number of the token that is good now."""
        self.password = BASIC
        """What the service wants; empty for nothing."""
        self.asked: list[Request] = []
        odd.rules.insert(0, self.check)
        self.service.rules.insert(0, self.give)

    def give(self, request: Request) -> Reply | None:
        if request.path != "/token":
            return None
        self.asked.append(request)
        if self.password and request.method == "GET" and request.authorization != self.password:
            return Reply(401, {}, b'{"errors":[{"code":"UNAUTHORIZED","message":"no p:ss w\xc3\xb6rd"}]}')
        self.good += 1
        body = {"token": f"t{self.good}", "expires_in": self.expires_in}
        return Reply(200, {}, json.dumps(body).encode())

    def check(self, request: Request) -> Reply | None:
        if request.path == "/token" or request.authorization == f"Bearer t{self.good}":
            return None
        kind = "pull,push" if request.method in ("POST", "PUT", "PATCH") else "pull"
        realm = f'realm="http://{self.service.address}/token",service="the, registry"'
        challenge = f'Bearer {realm},scope="repository:app:{kind}"'
        return Reply(401, {"WWW-Authenticate": challenge}, b"{}")


@pytest.fixture
async def odd() -> AsyncIterator[OddRegistry]:
    async with OddRegistry() as started:
        yield started


def source_of(odd: OddRegistry, credentials: Credentials | None = USER, **options: object) -> RegistrySource:
    chosen = dataclasses.replace(QUICK, credentials=credentials, **options)  # type: ignore[arg-type]
    return RegistrySource(Reference.parse(f"{odd.address}/app:v1"), chosen)


def blob_in(odd: OddRegistry) -> Descriptor:
    return Descriptor("x/y", Digest.parse(odd.add_blob(DATA)), len(DATA))


async def test_a_token_is_asked_for_once(odd: OddRegistry) -> None:
    guarded = Guarded(odd)
    blob = blob_in(odd)
    source = source_of(odd)
    for _ in range(3):
        assert await read_blob(source, blob) == DATA
    await source.close()
    (asked,) = guarded.asked
    assert asked.query == {
        "service": ["the, registry"],
        "scope": ["repository:app:pull"],
        "account": ["sailor"],
    }
    assert {request.authorization for request in odd.seen if request.path != "/token"} == {"", "Bearer t1"}


async def test_tokens_for_nobody(odd: OddRegistry) -> None:
    guarded = Guarded(odd)
    guarded.password = ""
    source = source_of(odd, None)
    assert await read_blob(source, blob_in(odd)) == DATA
    await source.close()
    assert [request.authorization for request in guarded.asked] == [""]


async def test_many_at_once_ask_for_one_token(odd: OddRegistry) -> None:
    guarded = Guarded(odd)
    blob = blob_in(odd)
    source = source_of(odd)
    await asyncio.gather(*(read_blob(source, blob) for _ in range(10)))
    await source.close()
    assert len(guarded.asked) == 1


async def test_a_token_that_ends_under_way_is_renewed(odd: OddRegistry) -> None:
    guarded = Guarded(odd)
    blob = blob_in(odd)
    source = source_of(odd)

    def cut(request: Request) -> Reply | None:
        reply = odd.behave(request)
        if len(reply.body) < 100_000:
            return None
        guarded.good += 100  # whatever was given before is no good any more
        return dataclasses.replace(reply, cut_after=100_000)

    odd.rules.append(cut)
    assert await read_blob(source, blob) == DATA
    await source.close()
    assert len(guarded.asked) == 3


async def test_a_token_is_renewed_before_it_ends(odd: OddRegistry) -> None:
    from peat_sidecar.oci.tokens import Authorizer

    guarded = Guarded(odd)
    source = source_of(odd)
    now = 1000.0
    session: Session = source._session
    session._authorizer = Authorizer(
        session.reference, session.options, session._ask_token_service, lambda: now
    )
    blob = blob_in(odd)
    guarded.expires_in = 100
    for moment, tokens in ((1000.0, 1), (1089.0, 1), (1091.0, 2), (1180.0, 2), (1182.0, 3)):
        now = moment
        assert await read_blob(source, blob) == DATA
        assert len(guarded.asked) == tokens
    await source.close()


@pytest.mark.parametrize("expires_in", [None, "soon", -5, 0, 10**30, [], True])
async def test_odd_expiries_are_read_as_a_minute(odd: OddRegistry, expires_in: object) -> None:
    guarded = Guarded(odd)
    guarded.expires_in = expires_in
    source = source_of(odd)
    assert await read_blob(source, blob_in(odd)) == DATA
    await source.close()


async def test_pushing_asks_for_more_and_mounting_for_the_other_repository(odd: OddRegistry) -> None:
    guarded = Guarded(odd)
    blob = blob_in(odd)
    target = RegistryTarget(
        Reference.parse(f"{odd.address}/app:v1"), dataclasses.replace(QUICK, credentials=USER)
    )
    await target.push_blob(blob, lambda offset, length: b"", mount_from=["base"])
    await target.close()
    assert guarded.asked[0].query["scope"] == ["repository:app:pull,push", "repository:base:pull"]


async def test_an_identity_token_is_exchanged(odd: OddRegistry) -> None:
    guarded = Guarded(odd)
    source = source_of(odd, Credentials(identity_token="refresh-me"))
    assert await read_blob(source, blob_in(odd)) == DATA
    await source.close()
    (asked,) = guarded.asked
    form = parse_qs(asked.body.decode())
    assert (asked.method, form["grant_type"], form["refresh_token"]) == (
        "POST",
        ["refresh_token"],
        ["refresh-me"],
    )
    assert form["scope"] == ["repository:app:pull"]


async def test_a_registry_token_is_sent_as_it_is(odd: OddRegistry) -> None:
    guarded = Guarded(odd)
    guarded.good = 7
    source = source_of(odd, Credentials(registry_token="t7"))
    assert await read_blob(source, blob_in(odd)) == DATA
    guarded.good = 8
    with pytest.raises(Refused, match="the token"):
        await read_blob(source, blob_in(odd))
    await source.close()
    assert guarded.asked == []


async def test_basic(odd: OddRegistry) -> None:
    challenge = {"WWW-Authenticate": 'Basic realm="harbour"'}
    odd.rules.append(lambda request: None if request.authorization == BASIC else Reply(401, challenge))
    source = source_of(odd)
    assert await read_blob(source, blob_in(odd)) == DATA
    await source.close()
    wrong = source_of(odd, Credentials("sailor", "wrong-password", origin="/somewhere/auth.json"))
    with pytest.raises(Refused, match=r"'sailor', found in /somewhere/auth\.json") as caught:
        await wrong.resolve()
    assert "wrong-password" not in str(caught.value)
    await wrong.close()
    nobody = source_of(odd, None)
    with pytest.raises(Refused, match="log in"):
        await nobody.resolve()
    await nobody.close()


async def test_a_refusal_of_the_token_service_hides_the_password(odd: OddRegistry) -> None:
    guarded = Guarded(odd)
    guarded.password = "something else"
    source = source_of(odd)
    with pytest.raises(Refused, match="UNAUTHORIZED no") as caught:
        await source.resolve()
    assert "p:ss" not in str(caught.value)
    await source.close()


async def test_tokens_that_never_do_end(odd: OddRegistry) -> None:
    guarded = Guarded(odd)
    odd.rules[:] = [lambda request: guarded.give(request) or Reply(401, _challenge(odd))]
    source = source_of(odd)
    with pytest.raises(Refused, match="check the password"):
        await source.resolve()
    await source.close()
    assert len(odd.seen) < 10


def _challenge(odd: OddRegistry) -> dict[str, str]:
    return {"WWW-Authenticate": f'Bearer realm="http://{odd.address}/token"'}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 5000,
        b'{"token":7}',
        b'{"token":"a b"}',
        b'{"token":"a\\r\\nX: y"}',
        b'{"token":"\xc3\xa9"}',
    ],
)
async def test_tokens_that_are_none(odd: OddRegistry, body: bytes) -> None:
    odd.rules.append(
        lambda request: Reply(200, {}, body) if request.path == "/token" else Reply(401, _challenge(odd))
    )
    source = source_of(odd)
    with pytest.raises(SourceError, match="token"):
        await source.resolve()
    await source.close()


@pytest.mark.parametrize(
    ("challenge", "says"),
    [
        ("", "not known here"),
        ("Negotiate abc", "not known here"),
        ("Bearer", "none of HTTP"),
        ('Bearer realm="file:///etc/passwd"', "none of HTTP"),
        ('Bearer realm="http://tokens.example/"', "plain HTTP"),
        ('Bearer realm="http://user:pass@127.0.0.1/"', "none of HTTP"),
        ('Bearer realm="http://[::"', "none of HTTP"),
    ],
)
async def test_challenges_that_are_not_followed(odd: OddRegistry, challenge: str, says: str) -> None:
    odd.rules.append(lambda request: Reply(401, {"WWW-Authenticate": challenge}))
    source = source_of(odd)
    with pytest.raises(SourceError, match=says):
        await source.resolve()
    await source.close()


async def test_the_password_goes_to_no_token_service_beyond_the_registry_without_tls(
    odd: OddRegistry,
) -> None:
    """The registry is on loopback and plain; the service that it names is elsewhere, and listed as plain."""
    challenge = {"WWW-Authenticate": 'Bearer realm="http://tokens.example:99/token"'}
    odd.rules.append(lambda request: Reply(401, challenge))
    source = source_of(odd, plain_http=frozenset({"tokens.example"}))
    with pytest.raises(Refused, match="password"):
        await source.resolve()
    await source.close()


async def test_a_failing_token_service_is_tried_again(odd: OddRegistry) -> None:
    async with OddRegistry() as service:
        Guarded(odd, service)
        service.rules.insert(0, once(lambda request: Reply(503), 2))
        source = source_of(odd)
        assert await read_blob(source, blob_in(odd)) == DATA
        service.rules.insert(0, lambda request: Reply(418))
        await source.close()
        source = source_of(odd)
        with pytest.raises(SourceError, match="418"):
            await source.resolve()
        await source.close()


async def test_nothing_secret_is_logged(odd: OddRegistry, caplog: pytest.LogCaptureFixture) -> None:
    guarded = Guarded(odd)
    caplog.set_level("DEBUG")
    location = {"Location": f"http://{odd.address}/storage?signature=s3cret"}
    odd.rules.append(lambda request: Reply(307, location) if "/blobs/" in request.path else None)
    odd.rules.append(lambda request: Reply(200, {}, DATA) if request.path == "/storage" else None)
    source = source_of(odd)
    assert await read_blob(source, blob_in(odd)) == DATA
    await source.close()
    assert len(guarded.asked) == 1
    for secret in ("s3cret", "p:ss", BASIC[6:], "Bearer t"):
        assert secret not in caplog.text


async def test_what_a_registry_echoes_does_not_come_back(odd: OddRegistry) -> None:
    """A registry that puts what it was sent into its error message does not get it into ours."""
    config = {"mediaType": OCI_MANIFEST, "digest": odd.add_blob(b"{}"), "size": 2}
    odd.add_manifest({"schemaVersion": 2, "config": config, "layers": []}, tag="v1")

    def echo(request: Request) -> Reply:
        if not request.authorization:
            return Reply(401, {"WWW-Authenticate": "Basic"})
        return Reply(403, {}, f"denied for {request.authorization} {USER.password}".encode())

    odd.rules.append(echo)
    source = source_of(odd)
    with pytest.raises(Refused, match="denied for") as caught:
        await source.resolve()
    assert USER.password not in str(caught.value)
    assert BASIC.partition(" ")[2] not in str(caught.value)
    await source.close()


def test_credentials_do_not_print() -> None:
    shown = repr(Credentials("sailor", "secret-1", "secret-2", "secret-3")) + repr(
        RegistryOptions(credentials=Credentials("sailor", "secret-4"))
    )
    assert "sailor" in shown
    assert "secret" not in shown
