"""How many connections a fetch opens over links that are emulated."""

from pathlib import Path

import pytest

from tests.lab.network import Link
from tests.lab.test_limits import pair

SIZE = 600_000


async def test_one_connection_is_enough_where_it_fills_the_queue_of_a_good_path(tmp_path: Path) -> None:
    """Each further one would lose what is on its way at every outage."""
    link = Link.both(rate_bits=10e6, delay_seconds=0.05, queue_bytes=125_000)
    async with pair(tmp_path, link) as two:
        blob = await two.offer(16 * SIZE)
        await two.until_done(await two.fetch(blob))
        log = (two.ship.data_dir / "daemon.log").read_text()
    assert log.count("a peer has connected") == 1


@pytest.mark.parametrize(
    ("rate_bits", "least", "most"),
    [
        pytest.param(256e3, 4, 4, id="thin: a connection more would leave each too little on its way"),
        pytest.param(4e6, 5, 15, id="wide: each has enough"),
    ],
)
async def test_a_long_path_gets_as_many_connections_as_it_can_fill(
    tmp_path: Path, rate_bits: float, least: int, most: int
) -> None:
    link = Link.both(rate_bits=rate_bits, delay_seconds=0.3, queue_bytes=256 << 10)
    async with pair(tmp_path, link) as two:
        blob = await two.offer(SIZE if rate_bits < 1e6 else 10 * SIZE)
        await two.until_done(await two.fetch(blob))
        log = (two.ship.data_dir / "daemon.log").read_text()
    assert least <= log.count("a peer has connected") <= most
