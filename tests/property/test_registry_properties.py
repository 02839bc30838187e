"""The registry endpoint against models: which bytes a range is, names and what they stand for, uploads."""

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.support.registry_client import digest_of
from tests.unit.registry.endpoint import endpoint
from tests.unit.registry.pushes import push_blob

from peat_sidecar.ids import Reference
from peat_sidecar.registry.byte_ranges import Unsatisfiable, parse_range
from peat_sidecar.registry.faults import Fault
from peat_sidecar.registry.names import is_registry, parse_repository, shown_name

NUMBERS = st.integers(0, 30) | st.sampled_from([10**17, 10**18 - 1])
PARTS = st.builds("{}-{}".format, NUMBERS, NUMBERS) | st.builds("{}-".format, NUMBERS)
RANGES = st.builds("bytes={}".format, PARTS | st.builds("-{}".format, NUMBERS))
NEARLY = st.text("bytes=0123456789-, \t", max_size=14).map("bytes={}".format) | st.text(max_size=14)
DATA = bytes(range(256)) * 40
PLACES = st.integers(0, len(DATA) + 1000)
INSIDE = st.builds("bytes={}-{}".format, PLACES, PLACES) | st.builds("bytes=-{}".format, PLACES)


def slow_range(text: str, size: int) -> list[int] | None:
    """Byte by byte, as RFC 9110 says it: which positions one range selects; None for what is ignored."""
    unit, equals, rest = text.partition("=")
    first, dash, last = rest.partition("-")
    first, last = first.strip(" \t"), last.strip(" \t")
    digits = set("0123456789")
    if unit.strip() != "bytes" or not equals or not dash or not (first or last):
        return None
    if set(first) - digits or set(last) - digits or max(len(first), len(last)) > 18:
        return None
    if not first:
        return [place for place in range(size) if place >= size - int(last)]
    return [place for place in range(size) if int(first) <= place and (not last or place <= int(last))]


@settings(max_examples=250, deadline=None)
@given(text=RANGES | NEARLY, size=st.integers(0, 20))
def test_a_range_is_what_the_slow_twin_says(text: str, size: int) -> None:
    wanted = slow_range(text, size)
    try:
        found = parse_range(text, size)
    except Unsatisfiable:
        assert wanted == []
        return
    assert wanted is None if found is None else list(found) == wanted


@settings(max_examples=10, deadline=None)
@given(texts=st.lists(INSIDE, min_size=5, max_size=20))
def test_a_blob_by_ranges(texts: list[str]) -> None:
    asyncio.run(_read_by_ranges(texts))


async def _read_by_ranges(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with endpoint(Path(directory)) as (client, _):
            digest = await push_blob(client, "app", DATA)
            for text in texts:
                answer = await client.get(f"/v2/app/blobs/{digest}", headers={"Range": text})
                wanted = slow_range(text, len(DATA)) or []
                if not wanted:
                    assert answer.status_code == 416
                    assert answer.headers["content-range"] == f"bytes */{len(DATA)}"
                    continue
                assert answer.content == bytes(DATA[place] for place in wanted)
                stated = f"bytes {wanted[0]}-{wanted[-1]}/{len(DATA)}"
                assert (answer.status_code, answer.headers["content-range"]) == (206, stated)


COMPONENT = st.from_regex(r"[a-z0-9]{1,4}([._-][a-z0-9]{1,3})?", fullmatch=True)
NAMES = st.lists(COMPONENT, min_size=1, max_size=4).map("/".join)
HOSTS = st.sampled_from(["", "r.example", "r.example:5000", "localhost", "127.0.0.1:5000"])


@settings(max_examples=150, deadline=None)
@given(shown=NAMES | st.text(max_size=20), namespace=HOSTS | st.text(max_size=8))
def test_a_name_stands_for_one_repository_or_for_none(shown: str, namespace: str) -> None:
    """Its references can be read and are its own. They lead back to it where its registry looks like one."""
    try:
        repository = parse_repository(shown, namespace, "127.0.0.1:5000")
    except Fault:
        return
    reference = repository.reference("v1")
    assert str(Reference.parse(reference)) == reference
    assert repository.holds(reference)
    assert not repository.holds(f"{repository.name}x:v1")
    if is_registry(repository.registry):
        assert parse_repository(shown_name(reference), "", "127.0.0.1:5000").name == repository.name


class UploadMachine(RuleBasedStateMachine):
    """One upload by any sequence of requests, against the bytes that it must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.root = Path(tempfile.mkdtemp())
        self.stack = contextlib.AsyncExitStack()
        self.client: httpx.AsyncClient
        self.client, _ = self.run(self.stack.enter_async_context(endpoint(self.root)))
        self.where = ""
        self.held = b""

    def run(self, work):  # type: ignore[no-untyped-def]
        return self.runner.run(work)

    def ask(self, method: str, url: str, **options: object) -> httpx.Response:
        return self.run(self.client.request(method, url, **options))  # type: ignore[no-any-return]

    @precondition(lambda self: not self.where)
    @rule()
    def begin(self) -> None:
        answer = self.ask("POST", "/v2/app/blobs/uploads/")
        assert answer.status_code == 202
        self.where, self.held = answer.headers["location"], b""

    @precondition(lambda self: self.where)
    @rule(data=st.binary(max_size=200), ranged=st.booleans())
    def send(self, data: bytes, ranged: bool) -> None:
        end = len(self.held) + len(data) - 1
        stated = {"Content-Range": f"{len(self.held)}-{end}"} if ranged and data else {}
        answer = self.ask("PATCH", self.where, content=data, headers=stated)
        assert answer.status_code == 202
        self.held += data
        self.where = answer.headers["location"]

    @precondition(lambda self: self.where)
    @rule(data=st.binary(min_size=1, max_size=50), shift=st.integers(1, 300), short=st.booleans())
    def send_elsewhere(self, data: bytes, shift: int, short: bool) -> None:
        """Out of order, or not as long as is said: refused, and nothing is kept of it."""
        start = len(self.held) + (0 if short else shift)
        end = start + len(data) - 1 + (shift if short else 0)
        stated = {"Content-Range": f"{start}-{end}"}
        answer = self.ask("PATCH", self.where, content=data, headers=stated)
        assert answer.status_code == (400 if short else 416)

    @precondition(lambda self: self.where)
    @rule(data=st.binary(max_size=50))
    def finish(self, data: bytes) -> None:
        held = self.held + data
        digest = digest_of(held)
        answer = self.ask("PUT", self.where, params={"digest": digest}, content=data)
        assert answer.status_code == 201, answer.text
        assert self.ask("GET", f"/v2/app/blobs/{digest}").content == held
        self._ended()

    @precondition(lambda self: self.where)
    @rule()
    def finish_wrongly(self) -> None:
        wrong = digest_of(self.held + b"?")
        answer = self.ask("PUT", self.where, params={"digest": wrong})
        assert answer.status_code == 400
        assert self.ask("HEAD", f"/v2/app/blobs/{wrong}").status_code == 404
        self._ended()

    @precondition(lambda self: self.where)
    @rule()
    def give_up(self) -> None:
        assert self.ask("DELETE", self.where).status_code == 204
        self._ended()

    def _ended(self) -> None:
        assert self.ask("GET", self.where).status_code == 404
        self.where = ""

    @invariant()
    def the_offset_is_where_to_go_on(self) -> None:
        if self.where:
            answer = self.ask("GET", self.where)
            assert answer.status_code == 204
            assert answer.headers["range"] == f"0-{max(0, len(self.held) - 1)}"

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()
        shutil.rmtree(self.root)


TestUploads = UploadMachine.TestCase
TestUploads.settings = settings(
    max_examples=15, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)
