"""In which order holders are asked, and what failing costs them."""

import math
from dataclasses import dataclass, field
from typing import Any

import pytest

from peat_sidecar.ids import BlobHash, EndpointId
from peat_sidecar.mesh.offers import Offers, offer_of
from peat_sidecar.mesh.policy import Platforms
from peat_sidecar.mesh.providers import LACKING_SECONDS, REMEMBERED, Providers
from peat_sidecar.records import Document
from tests.support.manual_time import ManualTime

COLLECTION = BlobHash(b"\7" * 32)
CONTENT = {
    "root": "sha256:" + "ab" * 32,
    "collection": str(COLLECTION),
    "blobs": 3,
    "bytes": 100,
    "state": "complete",
}
OWN = EndpointId(b"\xff" * 32)


def id_of(name: str) -> EndpointId:
    return EndpointId(name.encode() * 32)


def document(name: str, clock: int = 1, state: str = "complete", **fields: Any) -> Document:
    content = CONTENT | {"state": state}
    made = {"reference": "r.example/app:v1", "arch": "amd64", "content": content} | fields
    return Document("packages", f"{name}:r.example/app:v1-amd64", made, clock, (id_of(name[:1]),))


@dataclass
class Formation:
    """Records and sessions as a test says."""

    documents: dict[str, Document] = field(default_factory=dict)
    connected: set[EndpointId] = field(default_factory=set)
    time: ManualTime = field(default_factory=ManualTime)

    def __post_init__(self) -> None:
        self.offers = Offers(self, self, Platforms(["amd64"]))
        self.jitter = 1.0
        self.providers = Providers(
            self, self.offers, OWN, lambda: self.connected, clock=self.time, jitter=lambda: self.jitter
        )

    def put(self, *documents: Document) -> None:
        self.documents |= {each.doc_id: each for each in documents}

    def find(self, path: str, value: str) -> list[Document]:
        assert path == "content.collection"
        return [each for each in self.documents.values() if each.fields["content"]["collection"] == value]

    def owner_of(self, agent_id: str) -> EndpointId | None:
        return OWN if agent_id == "own" else None if agent_id == "nobody" else id_of(agent_id[:1])

    def decides(self, document: Document) -> bool:
        return True

    @property
    def order(self) -> str:
        return "".join(each.agent_id for each in self.providers.holders(COLLECTION))


def holder(made: Formation, name: str) -> Any:
    return next(each for each in made.providers.holders(COLLECTION) if each.agent_id == name)


def test_complete_ones_first_and_connected_ones_first() -> None:
    made = Formation()
    made.put(document("a", state="partial"), document("b"), document("c", state="partial"), document("d"))
    made.connected = {id_of("c"), id_of("d")}
    assert made.order == "dbca"
    states = {each.agent_id: (each.state, each.connected) for each in made.providers.holders(COLLECTION)}
    assert states == {
        "a": ("partial", False),
        "b": ("complete", False),
        "c": ("partial", True),
        "d": ("complete", True),
    }


def test_only_owners_and_never_this_node() -> None:
    made = Formation()
    made.put(document("own"), document("nobody"), document("a"))
    assert made.order == "a"


def test_a_holder_that_says_so_is_forgotten() -> None:
    made = Formation()
    made.put(document("a"), document("b"))
    made.put(document("a", content=CONTENT | {"collection": str(BlobHash(b"\1" * 32))}))
    assert made.order == "b"


def test_one_that_fails_goes_to_the_end_and_is_asked_again_after_a_while() -> None:
    made = Formation()
    made.put(document("a"), document("b"))
    assert made.order == "ab"
    made.providers.failed(id_of("a"))
    assert made.order == "ba"
    assert not holder(made, "a").can_be_asked
    made.time.advance(1.0)
    assert holder(made, "a").can_be_asked
    made.providers.failed(id_of("a"))
    assert holder(made, "a").wait_seconds == 2
    for _ in range(40):
        made.providers.failed(id_of("a"))
    assert holder(made, "a").wait_seconds == 300
    made.providers.failed(id_of("a"), gained=True)
    assert holder(made, "a").wait_seconds == 1
    made.providers.served(id_of("a"))
    assert made.order == "ab"


def test_waits_are_never_quite_alike() -> None:
    made = Formation()
    made.put(document("a"), document("b"))
    for name, made.jitter in (("a", 0.0), ("b", 0.5)):
        made.providers.failed(id_of(name))
    assert [each.wait_seconds for each in made.providers.holders(COLLECTION)] == [0.5, 0.75]


def test_one_that_comes_back_is_forgiven() -> None:
    made = Formation()
    made.put(document("a"), document("b"))
    for _ in range(9):
        made.providers.failed(id_of("a"))
    made.providers.lacks(holder(made, "a"), COLLECTION)
    made.providers.came_back(id_of("b"))
    assert made.order == "ba"
    made.providers.came_back(id_of("a"))
    assert made.order == "ab"
    made.providers.failed(id_of("a"))
    assert holder(made, "a").wait_seconds == 1


def test_one_that_lacks_what_it_says_is_asked_when_it_says_something_new_or_later() -> None:
    made = Formation()
    made.put(document("a", clock=5), document("b"))
    made.providers.lacks(holder(made, "a"), COLLECTION)
    assert made.order == "ba"
    made.put(document("a", clock=6))
    assert made.order == "ab"
    made.providers.lacks(holder(made, "a"), COLLECTION)
    made.time.advance(LACKING_SECONDS)
    assert made.order == "ab"


def test_one_that_gave_wrong_bytes_is_not_asked_until_it_says_something_new() -> None:
    made = Formation()
    made.put(document("a", clock=5), document("b"))
    made.providers.gave_wrong(holder(made, "a"), COLLECTION)
    made.providers.came_back(id_of("a"))
    made.time.advance(1e9)
    assert holder(made, "a").wait_seconds == math.inf
    made.put(document("a", clock=6))
    assert holder(made, "a").can_be_asked
    made.providers.gave_wrong(holder(made, "a"), COLLECTION)
    made.providers.forgive(COLLECTION)
    assert holder(made, "a").can_be_asked


def test_the_table_of_failures_has_a_bound() -> None:
    made = Formation()
    for number in range(REMEMBERED + 50):
        made.providers.failed(EndpointId(number.to_bytes(32, "big")))
    assert len(made.providers._failures) == REMEMBERED


@pytest.mark.parametrize(
    "fields",
    [
        {"content": None},
        {"content": "text"},
        {"content": []},
        {"content": CONTENT | {"root": 5}},
        {"content": CONTENT | {"root": "sha256:zz"}},
        {"content": CONTENT | {"collection": "no"}},
        {"content": CONTENT | {"bytes": -1}},
        {"content": CONTENT | {"bytes": 1 << 60}},
        {"content": CONTENT | {"bytes": 1.5}},
        {"content": CONTENT | {"blobs": True}},
        {"content": CONTENT | {"listed_as": {}}},
        {"reference": ["a"]},
        {"reference": "a" * 600},
        {"reference": "a\nb"},
        {"arch": 5},
        {"origin": {}},
    ],
)
def test_what_makes_no_sense_is_no_offer(fields: dict[str, Any]) -> None:
    assert offer_of(document("a")) is not None
    assert offer_of(document("a", **fields)) is None
