"""Nearly right requests to the registry endpoint: answers of the specification's kind, and nothing broken."""

import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peat_sidecar.registry.access import Access
from peat_sidecar.registry.application import Application
from peat_sidecar.registry.calls import Calls
from peat_sidecar.registry.faults import Code
from tests.fuzz.mutations import mutated
from tests.support.images import OCI_MANIFEST
from tests.support.registry_client import digest_of, encoded
from tests.unit.registry.endpoint import TOKEN, Exchange, endpoint, scope
from tests.unit.registry.pushes import image

ROUNDS = int(os.environ.get("PEAT_FUZZ_ROUNDS") or 1500)
SEED = int(os.environ.get("PEAT_FUZZ_SEED") or 1)
METHODS = ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"]
CODES = {code.name for code in Code}


def paths(known: dict[str, Any]) -> list[bytes]:
    """One of each call."""
    digest = known["layers"][0]["digest"]
    return [
        path.encode()
        for path in (
            "/v2/",
            "/v2/_catalog",
            "/v2/team/app/tags/list",
            "/v2/team/app/manifests/v1",
            f"/v2/team/app/manifests/{digest_of(encoded(known))}",
            f"/v2/r.example:5000/team/app/blobs/{digest}",
            f"/v2/team/app/referrers/{digest}",
            "/v2/team/app/blobs/uploads/",
            "/v2/team/app/blobs/uploads/0123456789abcdef0123456789abcdef",
        )
    ]


def values(known: dict[str, Any]) -> dict[str, list[bytes]]:
    """What headers and queries hold."""
    digest = known["layers"][0]["digest"].encode()
    return {
        "range": [b"bytes=0-10", b"bytes=-5", b"bytes=3-"],
        "content-range": [b"0-9", b"bytes 0-9/20"],
        "content-length": [b"10", b"0"],
        "content-type": [OCI_MANIFEST.encode(), b"application/octet-stream"],
        "if-none-match": [b'"' + digest + b'"', b"*"],
        "if-range": [b'"' + digest + b'"'],
        "authorization": [f"Bearer {TOKEN}".encode(), b"Basic dG9rZW46eA=="],
        "host": [b"127.0.0.1:5000"],
        "origin": [b"http://127.0.0.1:5000"],
        "accept": [b"application/vnd.oci.image.index.v1+json, */*;q=0.1"],
        "?": [b"digest=" + digest, b"n=3&last=v1", b"mount=" + digest + b"&from=team/app", b"ns=r.example"],
        "body": [encoded(known), b'{"schemaVersion":2}', b"x" * 100],
    }


def requests(known: dict[str, Any], count: int) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Scope and body; one of the parts is as it should be, more often than not."""
    chance = random.Random(SEED)
    telling = {
        name: list(mutated(each, 40, seed=SEED + place))
        for place, (name, each) in enumerate(values(known).items())
    }
    for path in mutated(paths(known), count, seed=SEED):
        chosen = {name: chance.choice(each) for name, each in telling.items() if chance.random() < 0.25}
        body, query = chosen.pop("body", b""), chosen.pop("?", b"")
        if chance.random() < 0.5:
            path = chance.choice(paths(known))
        made = scope(chance.choice(METHODS), path.decode("utf-8", "replace"))
        made["query_string"] = query
        headers = dict(made["headers"]) | {name.encode(): value for name, value in chosen.items()}
        made["headers"] = list(headers.items())
        yield made, body


async def test_requests(tmp_path: Path) -> None:
    statuses: dict[int, int] = {}
    async with endpoint(tmp_path) as (client, store):
        application = Application(Calls(store), Access(token=TOKEN))
        known = await image(client, "kept", "what must stay")
        place = "/v2/kept/manifests/v1"
        typed = {"Content-Type": OCI_MANIFEST}
        assert (await client.put(place, content=encoded(known), headers=typed)).status_code == 201
        for made, body in requests(known, ROUNDS):
            exchange = Exchange([body[:7], body[7:]])
            await application(made, exchange.receive, exchange.send)
            statuses[exchange.status] = statuses.get(exchange.status, 0) + 1
            assert exchange.status not in (0, 500), made
            assert exchange.ended
            assert not set("\r\n") & set("".join([*exchange.headers, *exchange.headers.values()]))
            if exchange.status >= 400 and made["method"] != "HEAD":
                (error,) = json.loads(exchange.body)["errors"]
                assert error["code"] in CODES
                assert error["message"]
            elif made["method"] == "HEAD":
                assert exchange.body == b""
        got = await client.get(place)
        assert got.content == encoded(known)
        for each in (known["config"], *known["layers"]):
            blob = await client.get(f"/v2/kept/blobs/{each['digest']}")
            assert digest_of(blob.content) == each["digest"]
    assert {200, 202, 400, 404, 405} <= statuses.keys(), statuses
