"""Pulling and pushing blobs."""

from itertools import pairwise

from tests.support.real_files import real_bytes
from tests.support.registry_client import RegistryClient, code_of, digest_of

DATA = real_bytes(10_000)
_OCTETS = {"Content-Type": "application/octet-stream"}


def pulls(client: RegistryClient, digest: str, data: bytes) -> None:
    """GET and HEAD give what was pushed."""
    got, head = client.ask("GET", f"blobs/{digest}"), client.ask("HEAD", f"blobs/{digest}")
    assert (got.status_code, got.content) == (200, data)
    assert head.status_code == 200
    assert not head.content
    for answer in (got, head):
        assert answer.headers["Content-Length"] == str(len(data))
        assert answer.headers["Docker-Content-Digest"] == digest


def missing(client: RegistryClient) -> None:
    client.push_blob(b"so that the repository is there")
    digest = digest_of(b"nobody has this")
    answer = client.ask("GET", f"blobs/{digest}")
    assert (answer.status_code, code_of(answer)) == (404, "BLOB_UNKNOWN")
    assert client.ask("HEAD", f"blobs/{digest}").status_code == 404


def post_and_put(client: RegistryClient) -> None:
    pulls(client, client.push_blob(DATA), DATA)


def post_and_put_sha512(client: RegistryClient) -> None:
    pulls(client, client.push_blob(DATA, "sha512"), DATA)


def post_only(client: RegistryClient) -> None:
    digest = digest_of(DATA)
    answer = client.ask("POST", "blobs/uploads/", params={"digest": digest}, content=DATA, headers=_OCTETS)
    assert answer.status_code == 201
    assert answer.headers["Docker-Content-Digest"] == digest
    pulls(client, digest, DATA)


def the_location_of_a_blob_is_where_it_is(client: RegistryClient) -> None:
    done = client.follow("PUT", client.begin(), params={"digest": digest_of(DATA)}, content=DATA)
    assert client.follow("GET", done).content == DATA


def _chunks(client: RegistryClient, cuts: list[int], *, last_in_put: bool) -> None:
    edges = [0, *cuts, len(DATA)]
    parts = [(start, DATA[start:end]) for start, end in pairwise(edges)]
    at = client.begin()
    for start, part in parts[: -1 if last_in_put else None]:
        stated = {"Content-Range": f"{start}-{start + len(part) - 1}", **_OCTETS}
        at = client.follow("PATCH", at, content=part, headers=stated)
        assert at.status_code == 202, at.text
        assert at.headers["Range"] == f"0-{start + len(part) - 1}"
    content = parts[-1][1] if last_in_put else b""
    stated = {"Content-Range": f"{parts[-1][0]}-{len(DATA) - 1}", **_OCTETS} if last_in_put else {}
    digest = digest_of(DATA)
    assert (
        client.follow("PUT", at, params={"digest": digest}, content=content, headers=stated).status_code
        == 201
    )
    pulls(client, digest, DATA)


def one_chunk(client: RegistryClient) -> None:
    _chunks(client, [], last_in_put=False)


def several_chunks(client: RegistryClient) -> None:
    _chunks(client, [1000, 5000], last_in_put=False)


def the_last_chunk_in_the_put(client: RegistryClient) -> None:
    _chunks(client, [1000, 5000], last_in_put=True)


def a_stream(client: RegistryClient) -> None:
    at = client.follow("PATCH", client.begin(), content=iter([DATA[:3000], DATA[3000:]]))
    assert at.status_code == 202
    assert client.follow("PUT", at, params={"digest": digest_of(DATA)}).status_code == 201
    pulls(client, digest_of(DATA), DATA)


def chunks_out_of_order(client: RegistryClient) -> None:
    first = {"Content-Range": "0-999", **_OCTETS}
    at = client.follow("PATCH", client.begin(), content=DATA[:1000], headers=first)
    later = {"Content-Range": "2000-2999", **_OCTETS}
    refused = client.follow("PATCH", at, content=DATA[2000:3000], headers=later)
    assert refused.status_code == 416
    where = client.follow("GET", at)
    assert (where.status_code, where.headers["Range"]) == (204, "0-999")
    rest = {"Content-Range": f"1000-{len(DATA) - 1}", **_OCTETS}
    at = client.follow("PATCH", where, content=DATA[1000:], headers=rest)
    assert client.follow("PUT", at, params={"digest": digest_of(DATA)}).status_code == 201


def a_cancelled_upload(client: RegistryClient) -> None:
    at = client.follow("PATCH", client.begin(), content=DATA[:1000])
    assert client.follow("DELETE", at).status_code == 204
    gone = client.follow("GET", at)
    assert (gone.status_code, code_of(gone)) == (404, "BLOB_UPLOAD_UNKNOWN")


def an_upload_that_nobody_began(client: RegistryClient) -> None:
    for name in ("0" * 32, "00000000-0000-4000-8000-000000000000"):
        answer = client.ask("PATCH", f"blobs/uploads/{name}", content=b"x")
        assert answer.status_code == 404


def mounted(client: RegistryClient) -> None:
    digest = client.push_blob(DATA)
    other = RegistryClient(client.http)
    query = {"mount": digest, "from": client.name}
    assert other.ask("POST", "blobs/uploads/", params=query).status_code == 201
    pulls(other, digest, DATA)


def mounted_from_nowhere_named(client: RegistryClient) -> None:
    digest = client.push_blob(DATA)
    other = RegistryClient(client.http)
    assert other.ask("POST", "blobs/uploads/", params={"mount": digest}).status_code in (201, 202)


def a_mount_of_what_is_not_there_is_an_upload(client: RegistryClient) -> None:
    query = {"mount": digest_of(b"nothing"), "from": client.name}
    at = client.ask("POST", "blobs/uploads/", params=query)
    assert at.status_code == 202
    assert client.follow("PUT", at, params={"digest": digest_of(DATA)}, content=DATA).status_code == 201


def the_empty_blob(client: RegistryClient) -> None:
    pulls(client, client.push_blob(b""), b"")


def the_empty_json(client: RegistryClient) -> None:
    pulls(client, client.push_blob(b"{}"), b"{}")


def a_wrong_digest(client: RegistryClient) -> None:
    wrong = client.follow("PUT", client.begin(), params={"digest": digest_of(b"other")}, content=DATA)
    assert (wrong.status_code, code_of(wrong)) == (400, "DIGEST_INVALID")
    assert client.ask("HEAD", f"blobs/{digest_of(b'other')}").status_code == 404


def digests_that_are_none(client: RegistryClient) -> None:
    client.push_blob(DATA)
    for text in ("sha256:0", "sha256:" + "g" * 64, "md5:" + "0" * 32, "sha256:" + "A" * 64):
        assert client.ask("GET", f"blobs/{text}").status_code in (400, 404), text
        put = client.follow("PUT", client.begin(), params={"digest": text}, content=DATA)
        assert (put.status_code, code_of(put)) == (400, "DIGEST_INVALID"), text
    assert client.follow("PUT", client.begin(), content=DATA).status_code == 400


def _range(client: RegistryClient, text: str, start: int, end: int) -> None:
    """Asks for a range that is the bytes from `start` up to `end`."""
    digest = client.push_blob(DATA)
    answer = client.ask("GET", f"blobs/{digest}", headers={"Range": f"bytes={text}"})
    assert (answer.status_code, answer.content) == (206, DATA[start:end])
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(DATA)}"


def a_range(client: RegistryClient) -> None:
    _range(client, "500-1499", 500, 1500)


def a_range_to_the_end(client: RegistryClient) -> None:
    _range(client, "500-", 500, len(DATA))


def a_range_from_the_end(client: RegistryClient) -> None:
    _range(client, "-500", len(DATA) - 500, len(DATA))


def a_range_beyond_the_end(client: RegistryClient) -> None:
    _range(client, "9000-20000", 9000, len(DATA))


def a_range_that_goes_backwards(client: RegistryClient) -> None:
    answer = client.ask("GET", f"blobs/{client.push_blob(DATA)}", headers={"Range": "bytes=500-0"})
    assert answer.status_code == 416


def a_range_past_the_end(client: RegistryClient) -> None:
    answer = client.ask("GET", f"blobs/{client.push_blob(DATA)}", headers={"Range": "bytes=10000-20000"})
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{len(DATA)}")


def several_ranges(client: RegistryClient) -> None:
    digest = client.push_blob(DATA)
    answer = client.ask("GET", f"blobs/{digest}", headers={"Range": "bytes=0-9,100-109"})
    assert answer.status_code in (200, 206)
    assert DATA[100:110] in answer.content


def what_the_client_has_is_not_sent(client: RegistryClient) -> None:
    digest = client.push_blob(DATA)
    tag = client.ask("HEAD", f"blobs/{digest}").headers["ETag"]
    for given in (tag, f'"other", {tag}', "*"):
        answer = client.ask("GET", f"blobs/{digest}", headers={"If-None-Match": given})
        assert (answer.status_code, answer.content) == (304, b"")
    assert client.ask("GET", f"blobs/{digest}", headers={"If-None-Match": '"other"'}).status_code == 200


def another_repository_does_not_show_it(client: RegistryClient) -> None:
    digest = client.push_blob(DATA)
    other = RegistryClient(client.http)
    other.push_blob(b"so that it is there")
    assert other.ask("GET", f"blobs/{digest}").status_code == 404


def a_deleted_blob(client: RegistryClient) -> None:
    digest = client.push_blob(DATA)
    assert client.ask("DELETE", f"blobs/{digest}").status_code == 202
    assert client.ask("GET", f"blobs/{digest}").status_code == 404
    assert client.ask("DELETE", f"blobs/{digest}").status_code == 404


def a_mount_outlives_the_blob_it_came_from(client: RegistryClient) -> None:
    digest = client.push_blob(real_bytes(5000, skip_bytes=70_000))
    other = RegistryClient(client.http)
    query = {"mount": digest, "from": client.name}
    assert other.ask("POST", "blobs/uploads/", params=query).status_code == 201
    assert client.ask("DELETE", f"blobs/{digest}").status_code == 202
    assert other.ask("GET", f"blobs/{digest}").status_code == 200
