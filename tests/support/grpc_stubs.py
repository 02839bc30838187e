"""Client code that grpcio's own generator makes of the .proto file, as any client has it."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

from grpc_tools import protoc

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
