"""Documents through the service: what comes back is what went in, and what cannot be is refused in words."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from connectrpc.code import Code
from connectrpc.errors import ConnectError

from peat_sidecar.errors import ConfigError
from peat_sidecar.records import Records, Signer
from peat_sidecar.rpc import document_calls
from peat_sidecar.rpc.document_calls import DocumentCalls
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.json_documents import DEPTH_LIMIT, LENGTH_LIMIT_BYTES, parse_document
from peat_sidecar.rpc.parts import Parts
from tests.support.real_files import real_bytes

NO_CONTEXT: Any = None


class Calls:
    """The calls, with fields in place of messages."""

    def __init__(self, calls: DocumentCalls) -> None:
        self.calls = calls

    async def put(self, doc_id: str, text: str, collection: str = "notes") -> bool:
        request = pb.PutDocumentRequest(collection=collection, doc_id=doc_id, json_data=text)
        return (await self.calls.put_document(request, NO_CONTEXT)).changed

    async def get(self, doc_id: str, collection: str = "notes") -> str | None:
        request = pb.GetDocumentRequest(collection=collection, doc_id=doc_id)
        answer = await self.calls.get_document(request, NO_CONTEXT)
        return answer.json_data if answer.has_field("json_data") else None

    async def delete(self, doc_id: str, collection: str = "notes") -> bool:
        request = pb.DeleteDocumentRequest(collection=collection, doc_id=doc_id)
        return (await self.calls.delete_document(request, NO_CONTEXT)).changed

    async def list(self, page_size: int = 0, page_token: str = "") -> tuple[list[str], str]:
        request = pb.ListDocumentsRequest(collection="notes", page_size=page_size, page_token=page_token)
        answer = await self.calls.list_documents(request, NO_CONTEXT)
        return list(answer.doc_ids), answer.next_page_token


@pytest.fixture
def calls(tmp_path: Path) -> Iterator[Calls]:
    records = Records.open(tmp_path / "records.db", Signer(bytes(range(32))))
    parts = cast(Parts, SimpleNamespace(records=records, app_id=""))
    try:
        yield Calls(DocumentCalls(parts))
    finally:
        records.close()


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"n":5}',
        '{"n":-0.5,"exact":0.1,"large":9007199254740991,"small":-9007199254740991,"tiny":5e-324}',
        '{"a":[1,"1",1.5,true,false,null,[],{}],"b":{"c":{"d":""}}}',
        '{"":"an empty name","\\u00e9\\ud83d\\ude00":"\\u0000\\n\\u2028"}',
        '{"5":"a name of digits"}',
        json.dumps({"text": real_bytes(200_000).decode("latin-1")}),
    ],
    ids=["empty", "number", "numbers", "nested", "texts", "digits", "large"],
)
async def test_what_comes_back_is_what_went_in(calls: Calls, text: str) -> None:
    assert await calls.get("one") is None
    await calls.put("one", text)
    back = await calls.get("one")
    assert back is not None
    assert json.loads(back) == json.loads(text)
    before, after = ({name: type(each) for name, each in json.loads(one).items()} for one in (text, back))
    assert before == after


async def test_five_stays_five(calls: Calls) -> None:
    await calls.put("one", '{ "five" : 5 }')
    assert await calls.get("one") == '{"five":5}'


async def test_put_again_and_delete(calls: Calls) -> None:
    assert await calls.put("one", '{"a":1,"b":2}')
    assert not await calls.put("one", '{"b":2,"a":1}')
    assert await calls.put("one", '{"b":2}')
    assert await calls.get("one") == '{"b":2}'
    assert await calls.delete("one")
    assert not await calls.delete("one")
    assert await calls.get("one") is None
    assert await calls.list() == ([], "")


DEEP = "[" * 64 + "]" * 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no JSON"),
        ("{", "is no JSON"),
        ('{"a":1}}', "is no JSON"),
        ("[]", "no object"),
        ("5", "no object"),
        ("null", "no object"),
        ('"text"', "no object"),
        ('{"a":1,"b":{"c":1,"c":2}}', "two fields 'c'"),
        ('{"a":NaN}', "nan"),
        ('{"a":-Infinity}', "inf"),
        ('{"a":1e999}', "inf"),
        ('{"a":9007199254740993}', r"2\^53"),
        ('{"a":' + "9" * 5000 + "}", r"2\^53"),
        ('{"a":"\\ud800"}', "surrogate"),
        ('{"a":' + DEEP + "}", "deeper"),
        ('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", "deeper"),
        ('{"a":' + "[" * 100_000, "deeper"),
        ('{"a":' * 100_000, "deeper"),
        (json.dumps({"a": "x" * LENGTH_LIMIT_BYTES}), "bytes"),
        (json.dumps({"a": "x" * (LENGTH_LIMIT_BYTES - 100)}), "bytes"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
async def test_what_is_refused(calls: Calls, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        await calls.put("one", text)
    assert len(str(refused.value)) < 400
    assert await calls.get("one") is None


@pytest.mark.parametrize(
    ("collection", "doc_id"), [("", "x"), ("notes", ""), ("no\ntes", "x"), ("notes", "x\0")]
)
async def test_names_that_are_refused(calls: Calls, collection: str, doc_id: str) -> None:
    with pytest.raises(ConfigError):
        await calls.put(doc_id, "{}", collection)
    with pytest.raises(ConfigError):
        await calls.get(doc_id, collection)
    with pytest.raises(ConfigError):
        await calls.delete(doc_id, collection)


async def test_collections_that_are_refused(calls: Calls) -> None:
    """A name that was forgotten is said, not answered with nothing."""
    for name in ("", "no\ntes", "x" * 129):
        with pytest.raises(ConfigError, match="is no collection"):
            await calls.calls.list_documents(pb.ListDocumentsRequest(collection=name), NO_CONTEXT)
        with pytest.raises(ConfigError, match="is no collection"):
            async for _ in calls.calls.subscribe(pb.SubscribeRequest(collections=[name]), NO_CONTEXT):
                pass


async def test_what_is_parsed_is_as_deep_as_a_record_holds(calls: Calls) -> None:
    text = '{"a":' * (DEPTH_LIMIT - 1) + "{}" + "}" * (DEPTH_LIMIT - 1)
    await calls.put("one", text)
    assert await calls.get("one") == text
    with pytest.raises(ConfigError, match=f"deeper than {DEPTH_LIMIT} levels"):
        await calls.put("one", '{"a":' + text + "}")


def test_depth_is_counted_outside_of_texts() -> None:
    text = json.dumps({"brackets": "[{" * 1000, "escaped": '"[' * 1000})
    assert parse_document(text) == json.loads(text)
    within = '{"a":' + "[" * (DEPTH_LIMIT - 1) + "]" * (DEPTH_LIMIT - 1) + "}"
    assert parse_document(within) == json.loads(within)


async def test_pages(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_calls, "_STEP", 3)
    names = [f"{number:02}" for number in range(10)]
    for name in reversed(names):
        await calls.put(name, "{}")
    assert await calls.list() == (names, "")
    for size in (1, 2, 3, 4, 5, 9, 10, 11):
        found: list[str] = []
        token, more = "", True
        while more:
            page, token = await calls.list(size, token)
            assert len(page) == min(size, 10 - len(found))
            found += page
            more = bool(token)
        assert found == names
    with pytest.raises(ConfigError, match="several pages"):
        await calls.list(10_001)


async def test_more_ids_than_fit_an_answer(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_calls, "_ANSWER_LIMIT_BYTES", 30)
    for number in range(10):
        await calls.put(str(number), "{}")
    with pytest.raises(ConfigError, match="page_size"):
        await calls.list()
    page, token = await calls.list(100)
    assert page == ["0", "1", "2", "3", "4", "5"]
    assert await calls.list(100, token) == (["6", "7", "8", "9"], "")


async def test_a_document_that_many_members_made_too_large(
    calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_calls, "DOCUMENT_LIMIT_BYTES", 100)
    await calls.put("one", json.dumps({"a": "x" * 100}))
    with pytest.raises(ConnectError, match="grow") as refused:
        await calls.get("one")
    assert refused.value.code is Code.RESOURCE_EXHAUSTED


async def test_sync_without_a_formation(calls: Calls) -> None:
    with pytest.raises(ConfigError, match="--formation-key-file"):
        await calls.calls.start_sync(pb.StartSyncRequest(), NO_CONTEXT)
