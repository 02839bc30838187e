"""Nearly right manifests: a document that says what its bytes say, or a SourceError."""

import json
import os

from peat_sidecar.errors import IntegrityError, SourceError
from peat_sidecar.packages import Manifest, layout_index, parse_layout_index, parse_manifest
from tests.fuzz.mutations import mutated, seeds

ROUNDS = int(os.environ.get("PEAT_FUZZ_ROUNDS") or 4000)
SEED = int(os.environ.get("PEAT_FUZZ_SEED") or 1)


def test_manifests() -> None:
    good = 0
    for raw in mutated(seeds("manifests"), ROUNDS, seed=SEED):
        try:
            document = parse_manifest(raw, None)
        except SourceError:
            continue
        good += 1
        said = json.loads(raw)
        named = document.layers if isinstance(document, Manifest) else document.manifests
        listed = said.get("layers" if isinstance(document, Manifest) else "manifests") or []
        assert [str(each.digest) for each in named] == [each["digest"] for each in listed]
        assert all(0 <= each.size < 1 << 63 for each in named)
    assert good > 4


def test_indexes_of_collections() -> None:
    roots = [parse_manifest(raw, None).descriptor for raw in seeds("manifests")[:7]]
    for raw in mutated([layout_index(root) for root in roots], ROUNDS, seed=SEED):
        try:
            root = parse_layout_index(raw)
        except IntegrityError:
            continue
        assert layout_index(root) == raw
