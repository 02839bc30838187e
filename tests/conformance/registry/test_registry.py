"""The same cases against this program's endpoint and against docker-registry 2.8.2."""

from collections.abc import Callable, Iterator
from types import ModuleType

import httpx
import pytest

from tests.conformance.registry import blob_cases, listing_cases, manifest_cases
from tests.support.daemon import daemon, secret_file
from tests.support.registry import registry
from tests.support.registry_client import RegistryClient, registry_http

Case = Callable[[RegistryClient], None]

_NO_REFERRERS = "has no referrers: 404 in plain text, and clients read the tag of the digest instead"
DIFFERENCES = {
    "blob_cases.post_and_put_sha512": "knows sha256 only",
    "blob_cases.post_only": "answers 202 to a blob that comes with the POST, which the specification allows",
    "blob_cases.chunks_out_of_order": "takes a chunk that leaves a gap",
    "blob_cases.a_range_that_goes_backwards": "sends 14 bytes of text under the length of the blob",
    "blob_cases.a_range_past_the_end": "sends 33 bytes of text under the length of the blob",
    "manifest_cases.an_image_in_sha512": "knows sha256 only",
    "manifest_cases.a_manifest_that_is_too_large": "says 400 where 413 is due",
    "manifest_cases.a_carried_blob_that_was_not_pushed": "does not look at what a manifest carries",
    "manifest_cases.a_digest_that_is_none": "says 500",
    "manifest_cases.what_is_no_manifest": "says 500 to Docker's schema 1 without its signatures",
    "manifest_cases.a_tag_that_is_deleted": "has no deletion of a tag: 400",
    "listing_cases.tags_in_order": "lists v2 before v10",
    "listing_cases.tags_in_pages": "ignores n",
    "listing_cases.no_referrers": _NO_REFERRERS,
    "listing_cases.referrers_by_subject": _NO_REFERRERS,
    "listing_cases.referrers_of_what_is_missing": _NO_REFERRERS,
    "listing_cases.the_type_of_a_referrer_is_that_of_its_config": _NO_REFERRERS,
    "listing_cases.referrers_by_tag": _NO_REFERRERS,
    "listing_cases.a_referrer_that_is_deleted": _NO_REFERRERS,
}
"""Cases that docker-registry 2.8.2 fails, and why; each is tried, so that none is here in vain."""


def cases_of(module: ModuleType) -> dict[str, Case]:
    short = module.__name__.rpartition(".")[2]
    return {
        f"{short}.{name}": each
        for name, each in vars(module).items()
        if callable(each) and each.__module__ == module.__name__ and _takes_a_client_only(each)
    }


def _takes_a_client_only(each: Case) -> bool:
    return list(each.__annotations__) == ["client", "return"]


CASES = {**cases_of(blob_cases), **cases_of(manifest_cases), **cases_of(listing_cases)}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    directory = tmp_path_factory.mktemp("sidecar")
    token = secret_file(directory / "token", "t" * 32)
    options = {"registry": ["127.0.0.1:0"], "registry_token_file": str(token)}
    with (
        daemon(directory / "data", **options) as running,
        registry_http(running.registry, headers={"Authorization": f"Bearer {'t' * 32}"}) as http,
    ):
        yield http
        assert "incident" not in running.log.read_text()


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with (
        registry(tmp_path_factory.mktemp("docker-registry")) as running,
        registry_http(running.address) as http,
    ):
        yield http


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_sidecar(ours: httpx.Client, case: Case) -> None:
    case(RegistryClient(ours))


@pytest.mark.parametrize("name", CASES)
def test_docker_registry(theirs: httpx.Client, name: str) -> None:
    if name not in DIFFERENCES:
        CASES[name](RegistryClient(theirs))
        return
    with pytest.raises((AssertionError, KeyError, ValueError, httpx.HTTPError)):
        CASES[name](RegistryClient(theirs))


def test_the_differences_are_cases() -> None:
    assert DIFFERENCES.keys() <= CASES.keys()
