"""Every instruction set that runs here, one after the other."""

from collections.abc import Iterator

import pytest

from peat_sidecar.bao import kernel_names, use_kernel


@pytest.fixture(params=kernel_names())
def kernel_name(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the instruction set that the test runs with."""
    use_kernel(request.param)
    yield request.param
    use_kernel(kernel_names()[0])
