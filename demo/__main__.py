"""`make demo`: an image goes from one registry to another by way of two sidecars, one of which is killed;
then by itself through a formation of three, of which two never meet, and from there to a client.

Everything runs on loopback, as the user who starts it, in a folder that is removed at the end. The exit code
is 1 when a byte differs, or when it cannot be carried through.
"""

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from tests.support.images import build_image
from tools.sidecar import SidecarError

from demo.compare import Different, compare
from demo.ends import TAG, ends
from demo.journey import travel
from demo.meeting import meet
from demo.story import Story

_DEFAULT_MB = 200
"""On loopback a fetch of less can be over before it is killed."""
_LAYERS = 5
_FREE_FACTOR = 13
"""Layout, two registries with their uploads, five stores, what a client pulled, and some room."""


@dataclass(frozen=True, slots=True)
class _Image:
    layout: Path
    root: str
    sizes: list[int]
    """Of the manifest and of every blob that it names."""


def main() -> int:
    """Runs the demo; the exit code."""
    parser = argparse.ArgumentParser(prog="demo", description="An image travels by sidecars.")
    parser.add_argument("--size", type=int, default=_DEFAULT_MB, metavar="MB", help="of the image; 200")
    size_mb: int = parser.parse_args().size
    # As Ctrl-C: asyncio makes a cancelled task of it, so that it comes at no instant that cannot bear it.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    story = Story()
    try:
        with _scratch(size_mb) as folder:
            _run(story, folder, size_mb)
    except Different as difference:
        story.end(f"NOT the same: {difference}", good=False)
        return 1
    except (SidecarError, httpx.HTTPError, RuntimeError, OSError) as error:
        story.end(f"It could not be carried through: {error}", good=False)
        return 1
    except KeyboardInterrupt:
        story.end("Stopped; nothing is left behind.", good=False)
        return 130
    story.end("The same image at all ends, byte for byte.", good=True)
    return 0


def _run(story: Story, folder: Path, size_mb: int) -> None:
    image = _make_image(story, folder / "image", size_mb)
    with ends(story, image.layout, folder) as both:
        asyncio.run(travel(story, folder, both, image.sizes))
        further = asyncio.run(meet(story, folder, both))
        story.step("Compared by code that knows nothing of sidecars")
        equal = compare(both.left, both.right)
        if any(compare(both.left, copy) != equal for copy in further):
            raise Different("a further copy has other blobs")
    if equal.root_digest != image.root:
        raise Different(f"the root is {equal.root_digest}, and was {image.root}")
    story.fact(f"root {equal.root_digest}")
    story.fact(f"and {equal.blobs} blobs: {equal.bytes:,} bytes, all equal, and as their digests say")


def _make_image(story: Story, layout: Path, size_mb: int) -> _Image:
    story.step("An image, made of the files of this machine")
    root = build_image(layout, size_mb, _LAYERS, tag=TAG)
    data = (layout / "blobs" / root.replace(":", "/")).read_bytes()
    manifest = json.loads(data)
    sizes = [len(data), *(each["size"] for each in (manifest["config"], *manifest["layers"]))]
    story.fact(f"{sum(sizes) / 1e6:.1f} MB in {len(manifest['layers'])} layers")
    story.fact(f"root {root}")
    return _Image(layout, root, sizes)


@contextmanager
def _scratch(size_mb: int) -> Iterator[Path]:
    """A folder on a disk with enough room."""
    folder = Path(tempfile.mkdtemp(prefix="peat-demo-"))
    try:
        free_mb = shutil.disk_usage(folder).free // 1_000_000
        if free_mb < size_mb * _FREE_FACTOR:
            raise OSError(
                f"{folder.parent} has {free_mb:,} MB of room and the demo takes {size_mb * _FREE_FACTOR:,};"
                " name another folder with TMPDIR=..."
            )
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
