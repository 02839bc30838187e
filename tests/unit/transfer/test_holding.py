"""What a fetch has found here stays until its package is listed, whoever removes what shares it."""

from pathlib import Path

from peat_sidecar.transfer import Progress, remove_package
from tests.support.nodes import bounded, content, sha256_of, two_nodes
from tests.support.real_files import real_bytes
from tests.support.stored_packages import bring

BASE, LAYER = real_bytes(2_000_000), real_bytes(1_500_000, skip_bytes=2_000_000)


async def test_a_shared_layer_that_goes_while_the_rest_is_fetched(tmp_path: Path) -> None:
    async with two_nodes(tmp_path) as (provider, getter, _):
        sent = bring(provider.store, "app:v2", BASE, LAYER)
        bring(getter.store, "app:v1", BASE)
        removed: list[int] = []

        def remove(_: int, __: object) -> None:
            """The rest begins to come, so what is here has been counted on."""
            if not removed:
                removed.append(0)
                removed[0] = remove_package(getter.store, "app:v1").deleted_blobs

        layer = provider.store.find(sha256_of(LAYER))
        assert layer is not None
        getter.store.subscribe(layer.hash, remove)
        progress = Progress()
        got = await bounded(getter.getter.fetch_package(sent.collection, provider.address, progress))
        assert removed[0] > 0
        assert progress.wire_bytes < len(BASE)  # the base was not asked for
        for digest in got.blobs:
            info = getter.store.find(digest)
            assert info is not None
            assert content(getter.store, info.hash)
        assert getter.store.is_whole(got)
