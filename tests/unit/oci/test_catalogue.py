"""Lists of repositories and tags, as good registries give them, odd ones, and those that lie or never end."""

import itertools
import json
from collections.abc import AsyncIterator

import pytest
from tests.support.nodes import bounded
from tests.support.odd_registry import OddRegistry, Reply, Request, once

from peat_sidecar.errors import ConfigError, NotFound, Refused, SourceError
from peat_sidecar.oci import Catalogue, RegistryOptions, is_referrers_tag

QUICK = RegistryOptions(stall_seconds=5, tries=2, backoff_seconds=0.001, environment={"HOME": "/nonexistent"})


@pytest.fixture
async def odd() -> AsyncIterator[OddRegistry]:
    async with OddRegistry() as started:
        yield started


@pytest.fixture
async def catalogue(odd: OddRegistry) -> AsyncIterator[Catalogue]:
    made = Catalogue(odd.address, QUICK)
    yield made
    await made.close()


def listed(field: str, names: object, link: str = "") -> Reply:
    return Reply(200, {"Link": link} if link else {}, json.dumps({field: names}).encode())


def paged(odd: OddRegistry, field: str, names: list[str], *, most: int = 1000) -> None:
    """As docker-registry does it: `n` and `last`, and a relative link."""

    def answer(request: Request) -> Reply | None:
        if not request.path.endswith(("_catalog", "tags/list")):
            return None
        count = min(int(request.query.get("n", ["100"])[0]), most)
        last = request.query.get("last", [""])[0]
        rest = [name for name in names if name > last]
        page = rest[:count]
        link = f'<{request.path}?last={page[-1]}&n={count}>; rel="next"' if len(rest) > count else ""
        return listed(field, page, link)

    odd.rules.append(answer)


async def test_pages_are_followed(odd: OddRegistry, catalogue: Catalogue) -> None:
    names = [f"team/app-{number:04}" for number in range(730)]
    paged(odd, "repositories", names)
    assert await bounded(catalogue.repositories()) == names
    assert odd.count("GET", "_catalog") == 8


async def test_tags_in_pages(odd: OddRegistry, catalogue: Catalogue) -> None:
    names = [f"v{number:03}" for number in range(55)]
    paged(odd, "tags", names, most=10)
    assert await bounded(catalogue.tags("team/app")) == names
    assert odd.seen[-1].path == "/v2/team/app/tags/list"


async def test_all_tags_at_once_whatever_is_asked(odd: OddRegistry, catalogue: Catalogue) -> None:
    names = [f"v{number}" for number in range(500)]
    odd.rules.append(lambda _: listed("tags", names))
    assert await bounded(catalogue.tags("app")) == names


@pytest.mark.parametrize(
    "reply", [Reply(404), listed("tags", None), listed("tags", []), Reply(200, {}, b"{}")]
)
async def test_a_repository_that_was_emptied(odd: OddRegistry, catalogue: Catalogue, reply: Reply) -> None:
    odd.rules.append(lambda _: reply)
    assert await bounded(catalogue.tags("app")) == []


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_registry_that_does_not_list(odd: OddRegistry, catalogue: Catalogue, status: int) -> None:
    headers = {"WWW-Authenticate": 'Basic realm="x"'} if status == 401 else {}
    odd.rules.append(lambda _: Reply(status, headers))
    with pytest.raises(Refused, match=r"does not list its repositories .*name the repository itself"):
        await bounded(catalogue.repositories())


async def test_pages_without_end(odd: OddRegistry, catalogue: Catalogue) -> None:
    """The same page again is the end; new ones are read until there are enough names."""
    odd.rules.append(lambda request: listed("repositories", ["a", "b"], f'<{request.path}>; rel="next"'))
    assert await bounded(catalogue.repositories()) == ["a", "b"]
    assert len(odd.seen) == 2
    odd.rules.clear()
    numbers = itertools.count()

    def more(request: Request) -> Reply:
        page = [f"t{next(numbers)}" for _ in range(40_000)]
        return listed("tags", page, f'<{request.path}?x={page[-1]}>; rel="next"')

    odd.rules.append(more)
    assert len(await bounded(catalogue.tags("app"))) == 100_000


async def test_links_to_elsewhere_are_not_followed(odd: OddRegistry, catalogue: Catalogue) -> None:
    async with OddRegistry() as other:
        link = f'<http://{other.address}/v2/_catalog>; rel="next"'
        odd.rules.append(lambda _: listed("repositories", ["a"], link))
        assert await bounded(catalogue.repositories()) == ["a"]
        assert other.seen == []


async def test_names_that_are_none_are_left_out(odd: OddRegistry, catalogue: Catalogue) -> None:
    bad = ["../etc", "A/B", "a:b", "a@b", "", "a b", "a/../b", "x" * 5000, "\u202e"]
    odd.rules.append(
        lambda request: listed("tags" if "tags" in request.path else "repositories", [*bad, "ok"])
    )
    assert await bounded(catalogue.repositories()) == ["ok"]
    assert await bounded(catalogue.tags("app")) == ["ok"]


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"tags": "v1"}', b'{"tags": [1]}', b'{"tags": {"a": 1}}', b"[" * 99_999]
)
async def test_rubbish(odd: OddRegistry, catalogue: Catalogue, body: bytes) -> None:
    odd.rules.append(lambda _: Reply(200, {}, body))
    with pytest.raises(SourceError, match="cannot be read"):
        await bounded(catalogue.tags("app"))


async def test_answers_beyond_the_limit(odd: OddRegistry, catalogue: Catalogue) -> None:
    odd.rules.append(lambda _: Reply(200, {}, b"{}" + b" " * (5 << 20)))
    with pytest.raises(SourceError, match="more than the 4 MiB"):
        await bounded(catalogue.repositories())


async def test_what_a_tag_stands_for(odd: OddRegistry, catalogue: Catalogue) -> None:
    digest = odd.add_manifest({"schemaVersion": 2}, tag="v1")
    assert str(await bounded(catalogue.digest("app", "v1"))) == digest
    assert [request.method for request in odd.seen] == ["HEAD"]
    assert "application/vnd.oci.image.index.v1+json" in odd.seen[0].headers["accept"]
    with pytest.raises(NotFound, match="app has no manifest v2; look at the name"):
        await bounded(catalogue.digest("app", "v2"))


@pytest.mark.parametrize("status", [200, 405])
async def test_a_registry_that_does_not_say_digests(
    odd: OddRegistry, catalogue: Catalogue, status: int
) -> None:
    digest = odd.add_manifest({"schemaVersion": 2}, tag="v1")
    odd.rules.append(lambda request: Reply(status) if request.method == "HEAD" else None)
    assert str(await bounded(catalogue.digest("app", "v1"))) == digest


async def test_a_registry_that_stumbles_is_asked_again(odd: OddRegistry, catalogue: Catalogue) -> None:
    odd.rules.append(once(lambda _: Reply(503)))
    odd.rules.append(lambda _: listed("repositories", ["a"]))
    assert await bounded(catalogue.repositories()) == ["a"]


def test_a_name_that_is_no_registry() -> None:
    with pytest.raises(ConfigError):
        Catalogue("not a host")


def test_tags_of_referrers() -> None:
    assert is_referrers_tag(f"sha256-{'a' * 64}")
    assert is_referrers_tag(f"sha256-{'a' * 64}.sig")
    assert is_referrers_tag(f"sha512-{'0' * 64}")
    assert not is_referrers_tag("sha256-abc")
    assert not is_referrers_tag("v1")
