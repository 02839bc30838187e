"""Where the demo's image comes from and goes to: registries where those are installed, else layouts."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from tests.support.registry import registry, skopeo_push

from demo.compare import Copy, LayoutCopy, RegistryCopy
from demo.story import Story

TAG = "v1"
_LISTED_REPOSITORY = "layout/image"
"""What a package of a folder `image` is listed as."""
_PROGRAMS = ("docker-registry", "skopeo")


@dataclass(frozen=True, slots=True)
class Ends:
    """The two ends of the journey."""

    source: dict[str, str]
    """As fields of `ImportBlobRequest`."""
    target: dict[str, str]
    """As fields of `ExportBlobRequest`."""
    left: Copy
    """What was there at the start."""
    right: Copy
    """What has to be there at the end."""

    @property
    def are_registries(self) -> bool:
        """Else they are folders."""
        return "reference" in self.source

    @property
    def repository(self) -> str:
        """Of the image, as clients of a registry endpoint name it."""
        reference = self.source.get("reference", f"/{_LISTED_REPOSITORY}:{TAG}")
        return reference.partition("/")[2].rpartition(":")[0]


@contextlib.contextmanager
def ends(story: Story, layout: Path, folder: Path) -> Iterator[Ends]:
    """Both ends, ready; what was started for them is stopped after."""
    if all(which(program) for program in _PROGRAMS):
        with _registries(story, layout, folder) as found:
            yield found
        return
    story.step("From an image layout to another")
    missing = " and ".join(program for program in _PROGRAMS if which(program) is None)
    story.fact(f"Without {missing} here the ends are folders.")
    yield Ends(
        source={"layout": str(layout)},
        target={"layout": str(folder / "out"), "tag": TAG},
        left=LayoutCopy(layout),
        right=LayoutCopy(folder / "out"),
    )


@contextlib.contextmanager
def _registries(story: Story, layout: Path, folder: Path) -> Iterator[Ends]:
    story.step("Two registries, which know nothing of each other")
    with registry(folder / "upstream") as upstream, registry(folder / "edge") as edge:
        source, target = f"{upstream.address}/team/app:{TAG}", f"{edge.address}/mirror/app:{TAG}"
        skopeo_push(layout, TAG, source)
        story.fact(f"skopeo pushed it to {source}")
        story.fact(f"It is to arrive as   {target}")
        yield Ends(
            source={"reference": source},
            target={"reference": target},
            left=RegistryCopy(f"http://{upstream.address}/v2/team/app", TAG),
            right=RegistryCopy(f"http://{edge.address}/v2/mirror/app", TAG),
        )
