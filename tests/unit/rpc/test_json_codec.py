"""How deep JSON may nest, however it is written."""

import pytest
from connectrpc.errors import ConnectError

from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.json_codec import DEPTH_LIMIT, JsonCodec, nests_too_deep


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 33,
        b"[" * 500_000,
        b'{"a":' * 33 + b"1" + b"}" * 33,
        b'{"a":' * 100_000,
        b'"' + b"[" * 1000 + b'"' + b"[" * 33,
        b'["\\"' + b"]" * 100 + b'"' + b"[" * 33,
        b"[" * 20 + b"{}" * 50 + b"[" * 13,
        b"[\\" + b"[" * 40,
    ],
    ids=range(8),
)
def test_texts_that_nest_too_deep(data: bytes) -> None:
    assert nests_too_deep(data)
    with pytest.raises(ConnectError, match="nests deeper"):
        JsonCodec().decode(data, pb.DeleteBlobRequest)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[" * DEPTH_LIMIT,
        b"[]" * 100_000,
        b'{"name": "' + b"[{" * 10_000 + b'"}',
        b'"\\"' + b"[" * 100 + b'"',
        b'"' + b"\\" * 1_000_000,
    ],
    ids=range(6),
)
def test_texts_that_do_not(data: bytes) -> None:
    assert not nests_too_deep(data)


def test_names_that_are_unknown() -> None:
    with pytest.raises(ValueError, match="nmae"):
        JsonCodec().decode(b'{"nmae": "x"}', pb.DeleteBlobRequest)
