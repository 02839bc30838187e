"""Two nodes that share a time, and no task: everything here is synchronous."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.signed_records import Time, node

from peat_sidecar.records import Records


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def one(tmp_path: Path, time: Time) -> Iterator[Records]:
    records = node(tmp_path, "one", time)
    yield records
    records.close()


@pytest.fixture
def other(tmp_path: Path, time: Time) -> Iterator[Records]:
    records = node(tmp_path, "other", time)
    yield records
    records.close()
