"""How long what has failed is left alone."""

import pytest

from peat_sidecar.errors import PeerUnavailable
from peat_sidecar.transfer.outages import LONGEST_SECONDS, Outages
from tests.support.manual_time import ManualTime


def test_it_grows_and_is_forgotten_once_it_works() -> None:
    time = ManualTime()
    outages = Outages(time)
    for seconds in (30, 60, 120, 240, 300, 300, LONGEST_SECONDS):
        outages.require_none("a", "b")
        outages.failed("a", "it is silent")
        outages.failed("a", "it is silent")  # asked at the same time
        time.advance(seconds - 1)
        with pytest.raises(PeerUnavailable, match=r"it is silent \(it is asked again in 1 s\)"):
            outages.require_none("b", "a")
        time.advance(1)
    outages.worked("a")
    outages.failed("a", "it is silent")
    time.advance(30)
    assert "a" not in outages


def test_they_are_bounded() -> None:
    outages = Outages(ManualTime())
    for number in range(2000):
        outages.failed(f"registry.example/{number}", "refused")
    assert "registry.example/0" not in outages
    assert "registry.example/1999" in outages
