"""Exit codes: every code of the API and every error has one."""

import pytest
from connectrpc.code import Code

from peat_sidecar.cli.exit_codes import (
    MEANINGS,
    OF_CODE,
    ExitCode,
    exit_code_of,
    exit_code_of_error,
    exit_code_table,
)
from peat_sidecar.errors import IntegrityError, PeatError, StoreFailed, StoreFull
from peat_sidecar.rpc.codes import CODES


def test_every_code_is_in_the_table() -> None:
    assert set(OF_CODE) == {code.value for code in Code}
    assert set(MEANINGS) == set(ExitCode)


@pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind.__name__)
def test_an_error_here_has_the_code_that_it_has_from_the_daemon(kind: type[PeatError]) -> None:
    of_source = kind.__name__ == "SourceError"
    assert exit_code_of_error(kind("x")) == exit_code_of(CODES[kind].value, of_source=of_source)


def test_some() -> None:
    assert exit_code_of("unavailable") == 5
    assert exit_code_of("unavailable", of_source=True) == 8
    assert exit_code_of("resource_exhausted") == exit_code_of_error(StoreFull("x")) == 7
    assert exit_code_of_error(IntegrityError("x")) == 6
    assert exit_code_of_error(StoreFailed("x")) == exit_code_of("of another version") == 1


def test_the_table_of_the_help_has_all() -> None:
    assert [int(line.split()[0]) for line in exit_code_table().splitlines()] == sorted(ExitCode)
