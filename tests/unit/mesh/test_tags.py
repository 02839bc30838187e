"""Tags from signed records: whose word counts, and what the registry endpoint says of them."""

import asyncio
import time
from pathlib import Path

import pytest

from peat_sidecar.config import ReplicateRule
from peat_sidecar.errors import ConfigError
from peat_sidecar.mesh import TagDisputes
from peat_sidecar.mesh.name_maps import NameMaps
from peat_sidecar.mesh.tag_policies import TagPolicies
from peat_sidecar.records import Fault, FaultKind
from peat_sidecar.registry.access import Access
from peat_sidecar.store import StoredPackage
from tests.support.mesh_nodes import Mesh, MeshNode, calm, layer, mesh, wanted
from tests.support.nodes import until
from tests.support.on_demand import Endpoint, endpoint_of
from tests.support.registry_client import code_of, encoded
from tests.unit.registry.pushes import image, push_manifest

REPOSITORY = "registry.example/team/app"
REF = f"{REPOSITORY}:v1"
YEAR_SECONDS = 365 * 86_400.0


async def two_versions(
    made: Mesh, **options: object
) -> tuple[MeshNode, MeshNode, MeshNode, StoredPackage, StoredPackage]:
    """Two that say something else of one tag, the second one later, and one that hears of both."""
    a, c = await made.node("a"), await made.node("c")
    b = await made.node("b", **options)
    first = a.add(REF, [layer(1)])
    await until(lambda: a.p.offers.resolve(REF) is not None)
    second = c.add(REF, [layer(2)])
    made.link(b, a)
    made.link(b, c)
    await until(lambda: len(b.p.offers.named(REF)) == 2)
    return a, b, c, first, second


async def digest_of(endpoint: Endpoint, name: str = "v1") -> str:
    answer = await endpoint.get(f"{REPOSITORY}/manifests/{name}")
    return answer.headers.get("docker-content-digest", str(answer.status_code))


async def test_the_newest_word_counts(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b, c, first, second = await two_versions(made)
        async with endpoint_of(b) as there:
            assert await digest_of(there) == str(second.root.digest)
            found = there.tags.resolve(REF)
            assert found is not None
            assert (found.signer, found.offer.root) == (c.id, second.root.digest)
            assert await digest_of(there, str(first.root.digest)) == str(first.root.digest)
            again = a.add(REF, [layer(3)])
            await until(lambda: len(b.p.offers.named(REF)) == 2)
            await until(lambda: (each := there.tags.resolve(REF)) is not None and each.signer == a.id)
            assert await digest_of(there) == str(again.root.digest)


async def test_headers_say_whose_word_it_is_and_how_old(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        _, b, c, _, second = await two_versions(made)
        async with endpoint_of(b) as there:
            answer = await there.get(f"{REPOSITORY}/manifests/v1")
            told = there.tags.told(REF, second.root.digest)
            assert told is not None
            assert answer.headers["peat-tag-signer"] == str(c.id)
            assert abs(int(answer.headers["peat-tag-age"]) - (time.time() - told.at)) < 60
            answer = await there.get(f"{REPOSITORY}/manifests/{second.root.digest}")
            assert "peat-tag-age" not in answer.headers


async def test_lists_have_what_records_name(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        a.add(REF, [layer(1)])
        a.add(f"{REPOSITORY}:latest", [layer(4)])
        a.add("registry.example/other:v3", [layer(2)])
        b.add(f"{REPOSITORY}:v0", [layer(3)])
        made.link(a, b)
        async with endpoint_of(b) as there:
            await until(lambda: len(there.tags.references("registry.example/")) == 3)
            answer = await there.get(f"{REPOSITORY}/tags/list")
            assert answer.json()["tags"] == ["latest", "v0", "v1"]
            answer = await there.get("_catalog")
            assert answer.json()["repositories"] == ["registry.example/other", REPOSITORY]
            answer = await there.get("_catalog?ns=registry.example")
            assert answer.json()["repositories"] == ["other", "team/app"]
            assert (await there.get("registry.example/none/tags/list")).status_code == 404


async def test_an_immutable_tag_is_the_first(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        _, b, _, first, _ = await two_versions(made, tag_policies=[f"{REPOSITORY}:*=immutable"])
        async with endpoint_of(b) as there:
            assert await digest_of(there) == str(first.root.digest)


async def test_an_immutable_tag_stays_at_what_is_here(tmp_path: Path) -> None:
    rules = {"tag_policies": [f"{REPOSITORY}:*=immutable"]}
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b", **rules)
        theirs = a.add(REF, [layer(2)])
        await until(lambda: a.p.offers.resolve(REF) is not None)
        mine = b.add(REF, [layer(1)])
        await until(lambda: b.p.offers.resolve(REF) is not None)
        made.link(a, b)
        await until(lambda: len(b.p.offers.named(REF)) == 2)
        async with endpoint_of(b) as there:
            assert await digest_of(there) == str(mine.root.digest)
        b.p.wants.add(str(theirs.collection))
        await wanted(b, str(theirs.collection), "done")
        stays = b.content(REF)
        assert stays is not None
        assert stays.root == mine.root
        assert b.content(f"{REF}@{theirs.root.digest}") is not None


async def test_an_immutable_tag_is_not_pushed_over(tmp_path: Path) -> None:
    token = "t" * 32
    async with mesh(tmp_path) as made:
        b = await made.node("b", tag_policies=["*/team/*=immutable"])
        async with endpoint_of(b, access=Access(token=token)) as there:
            there.client.headers["Authorization"] = f"Bearer {token}"
            first, second = [await image(there.client, REPOSITORY, text) for text in ("one", "two")]
            digest = await push_manifest(there.client, REPOSITORY, first, "v1")
            await push_manifest(there.client, REPOSITORY, first, "v1")
            await push_manifest(there.client, REPOSITORY, second)
            raw, path = encoded(second), f"/v2/{REPOSITORY}/manifests/v1"
            refused = await there.client.put(path, content=raw, headers={"Content-Type": second["mediaType"]})
            assert (refused.status_code, code_of(refused)) == (403, "DENIED")
            assert digest in refused.text
            assert await digest_of(there) == digest


async def test_only_named_signers_say_what_a_tag_stands_for(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a_id = (await made.node("a")).id
        a, c = made.nodes["a"], await made.node("c")
        b = await made.node("b", tag_policies=[f"{REPOSITORY}:*=signers {a_id}"])
        first = a.add(REF, [layer(1)])
        await until(lambda: a.p.offers.resolve(REF) is not None)
        second = c.add(REF, [layer(2)])
        c.add(f"{REPOSITORY}:v2", [layer(3)])
        made.link(b, a)
        made.link(b, c)
        await until(lambda: len(b.p.offers.named(REF)) == 2)
        b.p.wants.add(str(second.collection))  # a person may have it, and it does not take the tag
        await wanted(b, str(second.collection), "done")
        assert b.content(f"{REF}@{second.root.digest}") is not None
        assert b.content(REF) is None
        async with endpoint_of(b) as there:
            assert await digest_of(there) == str(first.root.digest)
            assert await digest_of(there, "v2") == "404"
            assert there.tags.references(f"{REPOSITORY}:") == [REF]


async def test_a_record_from_the_future_never_wins(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        first = a.add(REF, [layer(1)])
        now = made.clock
        made.clock = lambda: now() + YEAR_SECONDS
        ahead = await made.node("ahead")
        ahead.add(REF, [layer(2)])
        await until(lambda: ahead.p.offers.resolve(REF) is not None)
        made.link(ahead, b)
        made.link(a, b)
        await until(lambda: bool(b.p.offers.named(REF)))
        await until(lambda: b.p.records.status().ahead > 0)
        async with endpoint_of(b) as there:
            assert await digest_of(there) == str(first.root.digest)
            assert [each.signer for each in [there.tags.resolve(REF)] if each is not None] == [a.id]


async def test_who_disagrees_is_told_of(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b, _, first, second = await two_versions(made)
        disputes = TagDisputes(b.p.records, b.p.offers)
        running = asyncio.create_task(disputes.run())
        try:
            await until(lambda: bool(_disputed(b)))
            (fault,) = _disputed(b)
            assert (fault.signer, fault.doc_id) == (a.id, f"a:{REF}-amd64")
            assert str(first.root.digest) in fault.detail
            assert str(second.root.digest) in fault.detail
            a.add(f"{REPOSITORY}:v2", [layer(5)])
            b.add(f"{REPOSITORY}:v2", [layer(6)])
            await until(lambda: any(":v2 " in each.detail for each in _disputed(b)))
            assert sum(each.count for each in _disputed(b)) == 2
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def _disputed(node: MeshNode) -> list[Fault]:
    return [each for each in node.p.records.faults() if each.kind is FaultKind.DISPUTED]


async def test_names_of_localhost_stay_unless_they_are_mapped(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a", maps=["localhost/team/*=registry.example/team/*"])
        b = await made.node("b")
        mapped = a.add("localhost/team/app:v1", [layer(1)])
        a.add("localhost/own/app:v1", [layer(2)])
        made.link(a, b)
        await until(lambda: b.p.offers.resolve(REF) is not None)
        await calm(a, b)
        assert b.p.offers.resolve("localhost/team/app:v1") is None
        assert b.p.offers.resolve("localhost/own/app:v1") is None
        async with endpoint_of(b) as there:
            assert await digest_of(there) == str(mapped.root.digest)


async def test_nobody_else_says_what_names_of_localhost_are(tmp_path: Path) -> None:
    name = "localhost/team/app:v1"
    async with mesh(tmp_path) as made:
        a = await made.node("a", share=["*"])
        b = await made.node("b", rules=[ReplicateRule(reference="*")])
        mine = b.add(name, [layer(1)])
        theirs, other = a.add(name, [layer(2)]), a.add(REF, [layer(3)])
        a.add("localhost/other:v1", [layer(4)])
        made.link(a, b)
        await until(lambda: b.content(REF) is not None)
        await calm(b)
        assert other.root in [each.root for each in b.p.store.packages()]
        assert theirs.root not in [each.root for each in b.p.store.packages()]
        async with endpoint_of(b) as there:
            answer = await there.get("team/app/manifests/v1")
            assert answer.headers["docker-content-digest"] == str(mine.root.digest)
            assert (await there.get("other/manifests/v1")).status_code == 404
            assert (await there.get("other/tags/list")).status_code == 404


async def test_an_old_version_that_is_asked_for_by_itself_does_not_take_the_tag(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        _, b, _, first, second = await two_versions(made)
        for name in (REF, str(first.collection)):
            b.p.wants.add(name)
            await wanted(b, name, "done")
        found, old = b.p.store.package(REF), b.p.store.package(f"{REF}@{first.root.digest}")
        assert found is not None
        assert old is not None
        assert found.root.digest == second.root.digest


async def test_a_word_without_the_registry_is_not_hidden_by_one_with_it(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b, c = await made.node("a"), await made.node("b"), await made.node("c")
        for node, reference in ((c, REF), (a, "team/app:v1")):  # the second is the newer one
            node.p.tasks[2].cancel()  # the announcer, which would take it back
            package = node.add(None, [layer(len(reference))])
            content: dict[str, object] = {"root": str(package.root.digest)}
            content |= {"collection": str(package.collection), "state": "complete", "listed_as": REF}
            fields = {"reference": reference, "arch": "amd64"}
            numbers = {"blobs": 3, "bytes": package.bytes}
            node.p.records.put(
                "packages", f"{node.name}:{reference}", fields | {"content": content | numbers}
            )
            made.link(b, node)
        await until(lambda: len(b.p.offers.named(REF)) == 2)
        assert {each.reference for each in b.p.offers.named(REF)} == {REF, "team/app:v1"}


def test_policies() -> None:
    some = "a" * 64
    policies = TagPolicies.parse(["*/team/*=immutable", f"registry.example/*=signers {some}", "*=newest"])
    assert policies.of("registry.example/team/app:v1").is_immutable
    assert [str(each) for each in policies.of("registry.example/app:v1").signers] == [some]
    assert not policies.of("registry.example/app:v1").admits([])  # nobody is known to have said it
    assert policies.of("other.example/app:v1").admits([])
    assert not policies.of("other.example/app:v1").is_immutable
    assert not policies.of("registry.example/team/app@sha256:" + some).is_immutable


@pytest.mark.parametrize(
    "line", ["immutable", "=immutable", "a=b", "a=signers", "a=signers nobody", f"a=newest {'a' * 64}"]
)
def test_what_is_no_policy(line: str) -> None:
    with pytest.raises(ConfigError):
        TagPolicies.parse([line])


def test_names_that_are_mapped() -> None:
    maps = NameMaps.parse(["localhost/team/*=registry.example/team/*", "localhost/*=other.example/base/*"])
    assert maps.of("localhost/team/app:v1") == REF
    assert maps.of("localhost/app@sha256:1") == "other.example/base/app@sha256:1"
    assert maps.of("registry.example/app:v1") == "registry.example/app:v1"


@pytest.mark.parametrize(
    "line", ["", "localhost/*", "localhost/*=", "localhost/a=x.example/a", "a*/*=x.example/*"]
)
def test_what_maps_no_names(line: str) -> None:
    with pytest.raises(ConfigError, match="looks like"):
        NameMaps.parse([line])
