"""The last leg: a client that knows nothing of sidecars pulls from the registry endpoint of one."""

import hashlib
import json
from pathlib import Path
from shutil import which

from tests.support.registry import skopeo_pull

from demo.compare import Copy, LayoutCopy, RegistryCopy, descriptors
from demo.ends import TAG
from demo.story import Story


def pull(story: Story, registry: str, repository: str, folder: Path) -> Copy:
    """What came, by skopeo where that is installed. Blocks."""
    if which("skopeo") is not None:
        skopeo_pull(f"{registry}/{repository}:{TAG}", folder, TAG)
        story.fact(f"skopeo pulled {registry}/{repository}:{TAG}")
    else:
        _download(RegistryCopy(f"http://{registry}/v2/{repository}", TAG), folder)
        story.fact(f"{registry}/{repository}:{TAG}, pulled by this program, for want of skopeo")
    return LayoutCopy(folder)


def _download(copy: RegistryCopy, folder: Path) -> None:
    root = copy.root()
    digest = f"sha256:{hashlib.sha256(root).hexdigest()}"
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (folder / "index.json").write_text(json.dumps({"manifests": [{"digest": digest}]}))
    (folder / "blobs" / digest.replace(":", "/")).write_bytes(root)
    for descriptor in descriptors(root):
        with (folder / "blobs" / descriptor["digest"].replace(":", "/")).open("wb") as file:
            file.writelines(copy.pieces(descriptor["digest"]))
