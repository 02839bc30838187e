"""An upstream whose content has no room here any more: what is here is served."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.nodes import bounded
from tests.support.odd_registry import OddRegistry
from tests.support.pull_through import NAME, mirror, publish
from tests.support.real_files import real_bytes


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path) -> None:
    with (place / "filler").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


async def test_a_tag_that_is_here_is_served_when_the_newer_one_has_no_room(small_disk: Path) -> None:
    async with OddRegistry() as odd:
        old = publish(odd, real_bytes(100_000))
        async with mirror(small_disk, odd, is_first=True) as made:
            await bounded(made.pull())
            await made.listed(f"{NAME}/app:v1")
            publish(odd, real_bytes(200_000))
            made.time.advance(3600)  # the upstream is asked again
            fill(small_disk)
            answer = await bounded(made.get("app/manifests/v1"))
            assert answer.status_code == 200, answer.text
            assert answer.headers["docker-content-digest"] == old
            missing = await bounded(made.get("app/manifests/v2"))
            assert missing.status_code == 404
            publish(odd, real_bytes(300_000), tag="v2")
            assert (await bounded(made.get("app/manifests/v2"))).status_code == 507
