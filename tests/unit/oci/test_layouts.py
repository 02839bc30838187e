"""Image layouts as source and as target."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.images import REF_NAME, SBOM, ImageLayout, build_zoo, machine_files
from tests.support.packages_by_hand import (
    copy_package,
    descriptor_of,
    layout_package,
    read_blob,
    read_package,
    reader_of,
)

from peat_sidecar.confined import Directory
from peat_sidecar.errors import IntegrityError, NotFound, Refused, SourceError, StoreFull
from peat_sidecar.ids import Digest
from peat_sidecar.oci import LayoutSource, LayoutTarget
from peat_sidecar.packages import Descriptor

KINDS = [
    "image",
    "docker",
    "no-layers",
    "zarf",
    "artifact",
    "multi",
    "docker-list",
    "nested",
    "foreign",
    "sha512",
]


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("zoo")
    return directory, build_zoo(directory, 20_000)


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[LayoutTarget]:
    (tmp_path / "target").mkdir()
    made = LayoutTarget(Directory.open(tmp_path / "target"))
    yield made
    await made.close()


def opened(zoo: tuple[Path, dict[str, Any]], choice: str | Digest | None = None) -> LayoutSource:
    return LayoutSource(Directory.open(zoo[0]), choice)


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_is_read_whole(zoo: tuple[Path, dict[str, Any]], kind: str) -> None:
    digest = zoo[1][kind]["digest"]
    source = opened(zoo, Digest.parse(digest))
    assert await read_package(source) == layout_package(zoo[0], digest)
    await source.close()


async def test_a_tag_names_its_entry(zoo: tuple[Path, dict[str, Any]]) -> None:
    source = opened(zoo, "multi")
    root = await source.resolve()
    assert (str(root.digest), root.size) == (zoo[1]["multi"]["digest"], zoo[1]["multi"]["size"])
    assert source.name == f"{zoo[0]}:multi"
    await source.close()


async def test_what_cannot_be_chosen_lists_the_names(zoo: tuple[Path, dict[str, Any]]) -> None:
    for choice in (None, "no-such-tag"):
        source = opened(zoo, choice)
        with pytest.raises(NotFound, match="artifact, docker, docker-list, foreign, image"):
            await source.resolve()
        await source.close()
    source = opened(zoo, Digest("sha256", "0" * 64))
    with pytest.raises(NotFound, match="nothing with the digest"):
        await source.resolve()
    await source.close()


async def test_without_a_choice_the_only_package_counts_and_referrers_do_not(tmp_path: Path) -> None:
    layout = ImageLayout(tmp_path)
    image = layout.tag(layout.image([layout.layer(5000, machine_files())]))
    layout.tag(layout.artifact(b"sbom", subject=image))
    layout.tag(layout.index([]), image["digest"].replace(":", "-"))
    source = LayoutSource(Directory.open(tmp_path))
    assert str((await source.resolve()).digest) == image["digest"]
    await source.close()


async def test_referrers_of_both_forms(zoo: tuple[Path, dict[str, Any]]) -> None:
    source = opened(zoo, "image")
    root = await source.resolve()
    found = {str(entry.digest): entry for entry in await source.referrers(root)}
    assert set(found) == {zoo[1]["sbom"]["digest"], zoo[1]["signature"]["digest"]}
    only = await source.referrers(root, SBOM)
    assert [str(entry.digest) for entry in only] == [zoo[1]["sbom"]["digest"]]
    assert only[0].artifact_type == SBOM
    assert await source.referrers(descriptor_of(zoo[1]["artifact"])) == []
    await source.close()


async def test_one_bad_entry_hides_no_referrers(tmp_path: Path) -> None:
    layout = ImageLayout(tmp_path)
    image = layout.tag(layout.image([]), "v1")
    others = [layout.tag(layout.artifact(bytes([each]), subject=image), f"o{each}") for each in range(4)]
    good = layout.tag(layout.artifact(b"sbom", subject=image), "good")
    layout.path(others[0]["digest"]).write_bytes(b"changed")
    layout.path(others[1]["digest"]).unlink()
    for each, target in ((2, "index.json"), (3, "nowhere")):
        layout.path(others[each]["digest"]).unlink()
        layout.path(others[each]["digest"]).symlink_to(tmp_path / target)
    source = LayoutSource(Directory.open(tmp_path), "v1")
    found = await source.referrers(await source.resolve())
    assert [str(entry.digest) for entry in found] == [good["digest"]]
    await source.close()


async def test_blobs_are_read_from_any_offset_and_as_files(zoo: tuple[Path, dict[str, Any]]) -> None:
    layer = descriptor_of(
        json.loads((zoo[0] / Digest.parse(zoo[1]["image"]["digest"]).path).read_bytes())["layers"][0]
    )
    whole = (zoo[0] / layer.digest.path).read_bytes()
    source = opened(zoo)
    for offset in (0, 1, len(whole) - 1, len(whole)):
        assert await read_blob(source, layer, offset) == whole[offset:]
    file = source.local_file(layer)
    assert file is not None
    assert os.pread(file, len(whole) + 1, 0) == whole
    os.close(file)
    await source.close()


async def test_a_missing_document_is_not_found_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    made = build_zoo(tmp_path, 5000)
    source = LayoutSource(Directory.open(tmp_path), Digest.parse(made["sparse"]["digest"]))
    index = json.loads(await source.read_document(await source.resolve()))
    with pytest.raises(NotFound):
        await source.read_document(descriptor_of(index["manifests"][1]))
    image = descriptor_of(made["image"])
    path = tmp_path / image.digest.path
    path.write_bytes(path.read_bytes().replace(b"layers", b"lawers"))
    with pytest.raises(IntegrityError, match=str(image.digest)):
        await source.read_document(image)
    path.write_bytes(b"short")
    with pytest.raises(IntegrityError, match="5 bytes"):
        await read_blob(source, image)
    await source.close()


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("oci-layout", None, "no file oci-layout"),
        ("oci-layout", "{}", "version 1"),
        ("oci-layout", '{"imageLayoutVersion":"2.0.0"}', "version 1"),
        ("oci-layout", "[" * 3000, "version 1"),
        ("index.json", None, "no index.json"),
        ("index.json", "nonsense", "index.json"),
        ("index.json", '{"schemaVersion":2,"manifests":[{"digest":"../../etc/passwd"}]}', "index.json"),
    ],
)
async def test_what_is_no_layout_says_so(tmp_path: Path, name: str, content: str | None, says: str) -> None:
    build_zoo(tmp_path, 2000)
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_text(content)
    source = LayoutSource(Directory.open(tmp_path), "image")
    with pytest.raises(SourceError, match=says):
        await source.resolve()
    await source.close()


async def test_links_in_a_layout_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    layout = ImageLayout(tmp_path / "layout")
    image = layout.tag(layout.image([]), "v1")
    path = layout.path(image["digest"])
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    source = LayoutSource(Directory.open(tmp_path / "layout"), "v1")
    root = await source.resolve()
    for ask in (source.read_document(root), read_blob(source, root)):
        with pytest.raises(Refused, match="link"):
            await ask
    with pytest.raises(Refused):
        source.local_file(root)
    await source.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_written_is_read_again(
    zoo: tuple[Path, dict[str, Any]], target: LayoutTarget, tmp_path: Path, kind: str
) -> None:
    digest = zoo[1][kind]["digest"]
    source = opened(zoo, Digest.parse(digest))
    await copy_package(source, target, "copied")
    await source.close()
    assert layout_package(tmp_path / "target", digest) == layout_package(zoo[0], digest)
    again = LayoutSource(Directory.open(tmp_path / "target"), "copied")
    assert str((await again.resolve()).digest) == digest
    await again.close()
    names = {path.name for path in (tmp_path / "target").rglob("*") if path.is_file()}
    assert not [name for name in names if name.endswith(".tmp")]


async def test_a_layout_takes_several_packages_and_a_name_moves(
    zoo: tuple[Path, dict[str, Any]], target: LayoutTarget, tmp_path: Path
) -> None:
    for kind, tag in (("image", "a"), ("multi", "b"), ("artifact", "a"), ("image", None), ("image", None)):
        source = opened(zoo, kind)
        await copy_package(source, target, tag)
        await source.close()
    listed = json.loads((tmp_path / "target" / "index.json").read_bytes())["manifests"]
    assert [(entry.get("annotations", {}).get(REF_NAME), entry["digest"]) for entry in listed] == [
        ("b", zoo[1]["multi"]["digest"]),
        ("a", zoo[1]["artifact"]["digest"]),
        (None, zoo[1]["image"]["digest"]),
    ]


async def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    target = LayoutTarget(Directory.open(tmp_path))
    with pytest.raises(Refused, match="empty"):
        await target.push_manifest(Descriptor("x/y", Digest("sha256", "0" * 64), 2), b"{}")
    await target.close()
    assert os.listdir(tmp_path) == ["precious"]


async def test_wrong_bytes_are_not_written(target: LayoutTarget, tmp_path: Path) -> None:
    good = Descriptor("x/y", Digest.parse("sha256:" + "0" * 64), 4)
    for size, data in ((4, b"evil"), (9, b"short"), (0, b"")):
        blob = Descriptor("x/y", good.digest, size)
        with pytest.raises(IntegrityError, match="0000"):
            await target.push_blob(blob, reader_of(data))
    assert not await target.has_blob(good)
    assert list((tmp_path / "target" / "blobs" / "sha256").iterdir()) == []


async def test_a_blob_may_be_placed_by_another(target: LayoutTarget, tmp_path: Path) -> None:
    blob = Descriptor("x/y", Digest.parse("sha256:" + "1" * 64), 6)
    folder, name = await asyncio.to_thread(target.place, blob)
    (tmp_path / "elsewhere").write_bytes(b"linked")
    os.link(tmp_path / "elsewhere", name, dst_dir_fd=folder)
    assert await target.has_blob(blob)
    folder, name = await asyncio.to_thread(target.place, blob)
    assert not await target.has_blob(blob)
    assert (tmp_path / "elsewhere").read_bytes() == b"linked"


async def test_a_full_disk_is_said_and_nothing_is_left(tmp_path: Path, target: LayoutTarget) -> None:
    def read(offset: int, length: int) -> bytes:
        raise StoreFull("no room")

    with pytest.raises(StoreFull):
        await target.push_blob(Descriptor("x/y", Digest("sha256", "0" * 64), 4), read)
    assert list((tmp_path / "target" / "blobs" / "sha256").iterdir()) == []


async def test_a_cancelled_write_stops_and_leaves_nothing(tmp_path: Path, target: LayoutTarget) -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read(offset: int, length: int) -> bytes:
        loop.call_soon_threadsafe(begun.set)
        return bytes(length)

    writing = asyncio.create_task(
        target.push_blob(Descriptor("x/y", Digest("sha256", "0" * 64), 1 << 40), read)
    )
    await begun.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert list((tmp_path / "target" / "blobs" / "sha256").iterdir()) == []
