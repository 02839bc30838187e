"""Every error has a code, and every code that is answered early its numbers."""

import inspect

import pytest
from connectrpc.code import Code

from peat_sidecar import errors
from peat_sidecar.errors import NotFound, PeatError
from peat_sidecar.net import ConnectionClosed, StreamEnded
from peat_sidecar.rpc.codes import CODES, GRPC_STATUS, HTTP_STATUS, code_of
from peat_sidecar.rpc.failures import translate

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, PeatError)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_error_is_in_the_table(kind: type[PeatError]) -> None:
    assert kind in CODES


def test_errors_that_are_derived_have_the_code_of_their_kind() -> None:
    class Missing(NotFound):
        pass

    assert code_of(Missing("x")) is Code.NOT_FOUND
    assert issubclass(StreamEnded, PeatError)
    assert issubclass(ConnectionClosed, PeatError)


def test_both_tables_have_the_same_codes() -> None:
    assert set(GRPC_STATUS) == set(HTTP_STATUS)


def test_what_was_not_foreseen_is_not_shown() -> None:
    answer = translate(RuntimeError("password 1234"), "GetStatus")
    assert answer.code is Code.INTERNAL
    assert "1234" not in answer.message
    assert "incident" in answer.message
