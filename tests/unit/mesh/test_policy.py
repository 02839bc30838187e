"""Rules over references and platforms."""

import platform

import pytest

from peat_sidecar.classes import TransferClass
from peat_sidecar.config import ReplicateRule
from peat_sidecar.mesh.policy import Platforms, Policy, arch_of

AMD = Platforms(["linux/amd64"])


def rule(reference: str, **fields: object) -> ReplicateRule:
    return ReplicateRule.model_validate({"reference": reference} | fields)


@pytest.mark.parametrize(
    ("text", "arch"),
    [
        ("linux/arm64", "arm64"),
        ("arm64", "arm64"),
        ("aarch64", "arm64"),
        ("Linux/X86_64", "amd64"),
        ("linux/arm/v7", "arm"),
        ("arm/v7", "arm"),
        ("multi", "multi"),
        ("multi/amd64", "amd64"),
        ("", ""),
    ],
)
def test_architectures(text: str, arch: str) -> None:
    assert arch_of(text) == arch


def test_nothing_is_wanted_without_rules() -> None:
    assert Policy().choose("registry.example/app:v1", "amd64") is None


def test_the_first_rule_that_fits_says_the_class() -> None:
    policy = Policy(
        [
            rule("*/team/init:*", **{"class": "critical"}),
            rule("registry.example/team/*", **{"class": "low", "export": "127.0.0.1:5000"}),
            rule("*:v2", **{"class": "high"}),
        ],
        AMD,
    )
    chosen = policy.choose("registry.example/team/init:v2", "amd64")
    assert chosen is not None
    assert (chosen.transfer_class, chosen.export_to) == (TransferClass.CRITICAL, "")
    chosen = policy.choose("registry.example/team/deep/app:v2", "linux/amd64")
    assert chosen is not None
    assert (chosen.transfer_class, chosen.export_to) == (TransferClass.LOW, "127.0.0.1:5000")
    assert policy.choose("other.example/app:v2", "amd64") is not None
    assert policy.choose("other.example/app:v1", "amd64") is None
    assert policy.choose("REGISTRY.example/team/app:v1", "amd64") is None  # as it is written


def test_platforms() -> None:
    own = Policy([rule("*")], AMD)
    assert own.choose("a/b:c", "amd64") is not None
    assert own.choose("a/b:c", "arm64") is None
    for any_platform in ("multi", "", "noarch"):
        assert own.choose("a/b:c", any_platform) is not None
    listed = Policy([rule("*", platforms=["linux/arm64", "riscv64"])], AMD)
    assert listed.choose("a/b:c", "amd64") is None
    for arch in ("arm64", "aarch64", "riscv64"):
        chosen = listed.choose("a/b:c", arch)
        assert chosen is not None
        assert not chosen.is_own
    both = Policy([rule("*")], Platforms(["linux/amd64", "linux/arm64"]))
    assert both.choose("a/b:c", "arm64") is not None


def test_carrying_takes_every_platform_unless_some_are_listed() -> None:
    policy = Policy([rule("*", carry=True)], AMD)
    own, other = policy.choose("a/b:c", "amd64"), policy.choose("a/b:c", "s390x")
    assert own is not None
    assert own.is_own
    assert other is not None
    assert not other.is_own
    listed = Policy([rule("*", carry=True, platforms=["arm64"])], AMD)
    assert listed.choose("a/b:c", "arm64") is not None
    assert listed.choose("a/b:c", "s390x") is None


def test_a_rule_for_another_platform_leaves_the_next_one_its_turn() -> None:
    policy = Policy([rule("*", platforms=["arm64"], **{"class": "high"}), rule("*")], AMD)
    chosen = policy.choose("a/b:c", "amd64")
    assert chosen is not None
    assert chosen.transfer_class is TransferClass.NORMAL


def test_the_platform_of_this_machine_is_the_default() -> None:
    assert Platforms().runs(platform.machine())
    assert not Platforms().runs("no such machine")


def test_another_policy_has_another_digest() -> None:
    first = Policy([rule("a*"), rule("b*")], AMD)
    assert first.digest == Policy([rule("a*"), rule("b*")], AMD).digest
    others = [
        Policy([rule("b*"), rule("a*")], AMD),
        Policy([rule("a*")], AMD),
        Policy([rule("a*"), rule("b*", carry=True)], AMD),
        Policy([rule("a*"), rule("b*")], Platforms(["arm64"])),
    ]
    assert len({first.digest, *(each.digest for each in others)}) == 5
