"""Nearly right databases of containerd: names with digests, or a SourceError, in bounded time."""

import os
from pathlib import Path

from peat_sidecar.confined import Directory
from peat_sidecar.errors import SourceError
from peat_sidecar.oci import list_containerd
from tests.fuzz.mutations import mutated
from tests.support.bolt_writer import PAGE_BYTES, bolt_file

ROUNDS = int(os.environ.get("PEAT_FUZZ_ROUNDS") or 3000)
SEED = int(os.environ.get("PEAT_FUZZ_SEED") or 1)
METADATA = "io.containerd.metadata.v1.bolt/meta.db"


def image(number: int) -> dict[bytes, object]:
    digest = b"sha256:" + b"%064x" % number
    return {b"createdat": b"\1" * 15, b"target": {b"digest": digest, b"mediatype": b"x/y", b"size": b"\4"}}


def test_metadata(tmp_path: Path) -> None:
    images = {b"r.example/app:v%d" % number: image(number) for number in range(4)}
    tree = {b"v1": {b"k8s.io": {b"images": images}, b"default": {b"images": images}}, b"w": {b"x": b"y"}}
    parts = [bolt_file(tree), bolt_file(tree, leaf_keys=1)]
    metas, known = parts[0][: 2 * PAGE_BYTES], [part[2 * PAGE_BYTES :] for part in parts]
    (tmp_path / "io.containerd.content.v1.content" / "blobs").mkdir(parents=True)
    (tmp_path / METADATA).parent.mkdir()
    good = 0
    with Directory.open(tmp_path) as directory:
        for raw in mutated(known, ROUNDS, seed=SEED):
            (tmp_path / METADATA).write_bytes(metas + raw)
            try:
                found = list_containerd(directory)
            except SourceError:
                continue
            good += 1
            assert all(each.reference for each in found)
    assert good > 4
