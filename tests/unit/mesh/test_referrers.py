"""Signatures and SBOMs follow what they refer to, in both forms, also when they are attached later."""

from dataclasses import replace
from pathlib import Path

import pytest

from peat_sidecar.classes import TransferClass
from peat_sidecar.config import ReplicateRule
from peat_sidecar.ids import BlobHash
from peat_sidecar.mesh import referrers
from peat_sidecar.mesh.offers import Offer
from peat_sidecar.mesh.policy import Choice
from peat_sidecar.mesh.ranking import Candidate
from peat_sidecar.mesh.referrers import Referrers
from peat_sidecar.store import StoredPackage
from tests.support.mesh_nodes import MeshNode, calm, layer, mesh, put_image
from tests.support.nodes import sha256_of, until
from tests.support.on_demand import endpoint_of

REPOSITORY = "registry.example/team/app"
REF = f"{REPOSITORY}:v1"


def rule(**fields: object) -> ReplicateRule:
    return ReplicateRule.model_validate({"reference": REF} | fields)


def attach(node: MeshNode, subject: StoredPackage, number: int) -> str:
    """A signature, by its subject field."""
    named = {
        "mediaType": subject.root.media_type,
        "digest": str(subject.root.digest),
        "size": subject.root.size,
    }
    stored = put_image(node.p.store, [layer(number, 1000)], subject=named)
    node.p.store.remove_package(stored.root.digest)
    reference = f"{REPOSITORY}@{stored.root.digest}"
    node.p.store.add_package(replace(stored, reference=reference))
    return reference


def attach_by_tag(node: MeshNode, subject: StoredPackage, number: int) -> str:
    """An SBOM, as clients write it for registries without referrers."""
    reference = f"{REPOSITORY}:sha256-{subject.root.digest.hex}.sbom"
    node.add(reference, [layer(number, 1000)])
    return reference


async def test_they_come_with_what_the_policy_wants(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        b = await made.node("b", rules=[rule(**{"class": "high"})])
        image = a.add(REF, [layer(1)])
        names = [attach(a, image, 2), attach_by_tag(a, image, 3)]
        a.add("registry.example/other:v1", [layer(9)])
        made.link(a, b)
        await until(lambda: all(b.content(each) is not None for each in [REF, *names]))
        assert {each.transfer_class for each in b.p.wants.list()} == {TransferClass.HIGH}
        later = attach(a, image, 4)
        await until(lambda: b.content(later) is not None)
        signature = a.content(later)
        assert signature is not None
        of_signature = attach(a, signature, 5)
        await until(lambda: b.content(of_signature) is not None)
        await calm(b)
        assert b.content("registry.example/other:v1") is None


async def test_they_come_with_what_a_person_wants(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        image, other = a.add(REF, [layer(1)]), a.add("registry.example/other:v1", [layer(9)])
        names = [attach(a, image, 2), attach_by_tag(a, image, 3)]
        unwanted = attach(a, other, 4)
        made.link(a, b)
        b.p.wants.add(REF, TransferClass.CRITICAL)
        await until(lambda: all(b.content(each) is not None for each in [REF, *names]))
        await calm(b)
        assert b.content(unwanted) is None
        assert {each.transfer_class for each in b.p.wants.list()} == {TransferClass.CRITICAL}


async def test_they_come_to_what_is_here(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        a.add(REF, [layer(1)])
        image = b.add(REF, [layer(1)])
        name = attach(a, image, 2)
        made.link(a, b)
        await until(lambda: b.content(name) is not None)


async def test_policy_leaves_them_out(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a = await made.node("a")
        b = await made.node("b", rules=[rule(reference=f"{REPOSITORY}*", referrers=False)])
        image = a.add(REF, [layer(1)])
        names = [attach(a, image, 2), attach_by_tag(a, image, 3)]
        made.link(a, b)
        await until(lambda: b.content(REF) is not None)
        await calm(b)
        assert not any(b.content(each) for each in names)
        assert len(b.p.wants.list()) == 1


async def test_large_ones_do_not_follow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(referrers, "REFERRER_LIMIT_BYTES", 500)
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b", rules=[rule()])
        image = a.add(REF, [layer(1)])
        name = attach(a, image, 2)
        made.link(a, b)
        await until(lambda: b.content(REF) is not None)
        await until(lambda: b.p.offers.resolve(name) is not None)
        await calm(b)
        assert b.content(name) is None


async def test_the_endpoint_shows_those_that_are_known(tmp_path: Path) -> None:
    async with mesh(tmp_path) as made:
        a, b = await made.node("a"), await made.node("b")
        image = a.add(REF, [layer(1)])
        name = attach(a, image, 2)
        made.link(a, b)
        async with endpoint_of(b, keeps=True) as there:
            signature = a.content(name)
            assert signature is not None
            document = signature.root.digest
            await until(lambda: (info := b.p.store.find(document)) is not None and info.complete)
            answer = await there.get(f"{REPOSITORY}/referrers/{image.root.digest}")
            assert [each["digest"] for each in answer.json()["manifests"]] == [str(signature.root.digest)]
            assert b.content(name) is None


def offer(name: str, subject: str = "") -> Offer:
    root, about = sha256_of(name.encode()), sha256_of(subject.encode()) if subject else None
    return Offer(name, "a", name, "", name, root, BlobHash(bytes(32)), 1, 1, True, 1, "", about)


def test_what_refers_to_a_referrer_has_the_same_choice() -> None:
    known = Referrers()
    for each in (offer("signature", "image"), offer("timestamp", "signature"), offer("other", "else")):
        known.note(each.doc_id, each)
    chosen = Candidate(offer("image"), Choice(TransferClass.LOW, True, "127.0.0.1:5000/mirror"))
    found = known.following([chosen], [], [], {})
    assert {each.offer.doc_id: each.choice for each in found} == {
        "signature": chosen.choice,
        "timestamp": chosen.choice,
    }
    known.note("signature", None)
    assert not known.following([chosen], [], [], {})


def test_a_place_with_a_tag_is_its_subjects_alone() -> None:
    known = Referrers()
    known.note("signature", offer("signature", "image"))
    chosen = Candidate(offer("image"), Choice(TransferClass.LOW, True, "127.0.0.1:5000/app:v1"))
    (found,) = known.following([chosen], [], [], {})
    assert found.choice.export_to == ""
