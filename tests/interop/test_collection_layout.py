"""The entries of a collection, laid out as files by their names, are an image layout that skopeo copies.

Not here: Docker's manifest lists and indexes in indexes, which skopeo 1.9 copies from no layout, ours or not.
"""

import subprocess
from pathlib import Path

import pytest

from peat_sidecar.ids import Digest
from peat_sidecar.packages import Descriptor, Platform, assemble, collection_names, layout_files
from tests.support.images import build_zoo


@pytest.mark.parametrize(
    ("kind", "platform"),
    [
        ("image", None),
        ("docker", None),
        ("no-layers", None),
        ("zarf", None),
        ("multi", None),
        ("multi", "linux/arm64"),
        ("artifact", None),
        ("foreign", None),
    ],
)
def test_skopeo_reads_a_collection(tmp_path: Path, kind: str, platform: str | None) -> None:
    zoo = tmp_path / "zoo"
    made = build_zoo(zoo, 20_000)[kind]
    root = Descriptor(made["mediaType"], Digest.parse(made["digest"]), made["size"])
    chosen = [Platform.parse(platform)] if platform else None
    package = assemble(root, lambda digest: (zoo / digest.path).read_bytes(), chosen)
    fixed = dict(layout_files(package))
    for name in collection_names(package):
        path = tmp_path / "fetched" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(fixed[name] if name in fixed else (zoo / name).read_bytes())
    # Of a sparse index skopeo copies one platform, and then not the index.
    whole = ["--all"] if not platform else ["--override-os", "linux", "--override-arch", "arm64"]
    command = [
        "skopeo",
        "copy",
        "--preserve-digests",
        *whole,
        f"oci:{tmp_path}/fetched",
        f"oci:{tmp_path}/copy:v1",
    ]
    subprocess.run(command, check=True, capture_output=True)
    copied = {path.name for path in (tmp_path / "copy" / "blobs").rglob("*") if path.is_file()}
    sent = {blob.digest.hex for blob in package.blobs}
    assert copied == (sent if not platform else sent - {root.digest.hex})
