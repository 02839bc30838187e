"""Client code that grpcio's own generator makes of the .proto file, as any client has it."""

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import pytest
from grpc_tools import protoc

CALL_SECONDS = 20
_PROTO = Path(__file__).parents[2] / "proto"


def generate(folder: Path) -> tuple[ModuleType, ModuleType]:
    """The modules of the messages and of the stub."""
    arguments = [f"-I{_PROTO}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
    assert protoc.main(["protoc", *arguments, str(_PROTO / "peat_sidecar.proto")]) == 0
    sys.path.insert(0, str(folder))
    try:
        messages = importlib.import_module("peat_sidecar_pb2")
        return messages, importlib.import_module("peat_sidecar_pb2_grpc")
    finally:
        sys.path.remove(str(folder))


class Client:
    """A stub with its messages."""

    def __init__(self, channel: grpc.Channel, stubs: tuple[ModuleType, ModuleType], token: str = "") -> None:
        self.messages: Any
        self.messages, services = stubs
        self._stub: Any = services.PeatSidecarStub(channel)
        self._metadata = [("authorization", f"Bearer {token}")] if token else []

    def __call__(self, method: str, **fields: Any) -> Any:
        request = getattr(self.messages, f"{method}Request")(**fields)
        return getattr(self._stub, method)(request, timeout=CALL_SECONDS, metadata=self._metadata)


def code_of(call: Any, *arguments: Any, **fields: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **fields)
    code: grpc.StatusCode = caught.value.code()  # type: ignore[attr-defined]
    return code
