"""Classes, states and kinds of the mesh all have their messages."""

from dataclasses import replace
from typing import get_args, get_type_hints

import pytest

from peat_sidecar.classes import TransferClass
from peat_sidecar.errors import ConfigError
from peat_sidecar.ids import Digest
from peat_sidecar.mesh import Want
from peat_sidecar.rpc.generated import peat_sidecar_pb as pb
from peat_sidecar.rpc.mesh_messages import export_message, parse_class, want_message
from peat_sidecar.state import ExportRow


def want(transfer_class: TransferClass, state: str) -> Want:
    return Want("id", "name", transfer_class, "user", state, "", "", 1.0, 0, 0, 0, "", "")  # type: ignore[arg-type]


@pytest.mark.parametrize("each", TransferClass)
def test_each_class_goes_out_and_comes_back(each: TransferClass) -> None:
    message = want_message(want(each, "waiting"))
    assert message.transfer_class.name == each.name
    assert parse_class(message.transfer_class) is each


def test_each_state() -> None:
    states = get_args(get_type_hints(Want)["state"])
    assert {want_message(want(TransferClass.LOW, state)).state for state in states} == set(pb.WantState) - {
        pb.WantState.UNSPECIFIED
    }


def test_what_a_want_is_a_package_of() -> None:
    known = replace(want(TransferClass.LOW, "waiting"), reference="registry.example/team/app:v1")
    assert want_message(known).reference == "registry.example/team/app:v1"


def test_an_export_that_fails() -> None:
    row = ExportRow(
        "id", Digest("sha256", "0" * 64), "h:5000/app:v1", 1.0, attempts=3, last_error="it is down"
    )
    message = export_message(row)
    assert (message.target, message.attempts, message.last_error) == ("h:5000/app:v1", 3, "it is down")


def test_no_class_and_a_class_of_another_version() -> None:
    assert parse_class(pb.TransferClass.UNSPECIFIED) is None
    with pytest.raises(ConfigError, match="critical, high, normal, low, bulk"):
        parse_class(9)  # type: ignore[arg-type]
