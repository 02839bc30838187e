"""Imports go down only, never sideways, and name the unit, never a file inside it; the table is
docs/architecture.md.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "peat_sidecar"
NAME = "peat_sidecar"


def floors() -> dict[str, int]:
    """Unit -> floor, as the documentation says it."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d) \| ((?:`\w+` ?)+)\|", text, re.MULTILINE)
    return {unit: int(floor) for floor, units in rows for unit in re.findall(r"`(\w+)`", units)}


FLOORS = floors()
SOURCES = [path for path in sorted(PACKAGE.rglob("*.py")) if "generated" not in path.parts]


def unit_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            if node.module == NAME:
                yield from (f"{NAME}.{alias.name}" for alias in node.names)
            elif node.module is not None:
                yield node.module


def test_the_table_names_every_unit() -> None:
    units = {unit_of(path) for path in SOURCES} - {"__init__"}
    assert units == set(FLOORS)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports(path: Path) -> None:
    unit = unit_of(path)
    for module in imported(path):
        parts = module.split(".")
        if parts[0] == "iroh":
            assert unit == "net", f"{path} imports iroh"
        if parts[0] != NAME or len(parts) == 1:
            continue
        other = parts[1]
        if other == unit:
            continue
        assert len(parts) == 2, f"{path} imports {module}; import from the unit"
        assert FLOORS[other] < FLOORS[unit], f"{path} imports {module}, which is not below it"


@pytest.mark.parametrize("floor", [2])
def test_pure_units_do_no_input_or_output(floor: int) -> None:
    forbidden = {"asyncio", "socket", "subprocess", "time", "threading", "httpx", "sqlite3", "pathlib"}
    for path in SOURCES:
        if FLOORS.get(unit_of(path)) == floor:
            used = {module.split(".")[0] for module in imported(path)}
            assert not used & forbidden, f"{path} imports {used & forbidden}"
