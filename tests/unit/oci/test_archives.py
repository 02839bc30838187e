"""Archives as source and as target, and tars made to do harm."""

import gzip
import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.images import build_zoo
from tests.support.packages_by_hand import copy_package, layout_package, read_blob, read_package

from peat_sidecar.confined import Directory
from peat_sidecar.errors import IntegrityError, NotFound, PeatError, SourceError
from peat_sidecar.ids import Digest
from peat_sidecar.oci import ArchiveSource, ArchiveTarget, LayoutSource
from peat_sidecar.packages import Descriptor

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
EMPTY_INDEX = b'{"schemaVersion":2,"manifests":[]}'


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    directory = tmp_path_factory.mktemp("zoo")
    return directory, build_zoo(directory, 20_000)


def opened(path: Path, choice: str | Digest | None = None) -> ArchiveSource:
    return ArchiveSource(os.open(path, os.O_RDONLY), str(path), choice, scratch=path.parent)


def packed(
    path: Path, *members: tuple[str, bytes] | tarfile.TarInfo, format: int = tarfile.PAX_FORMAT
) -> Path:
    with tarfile.open(path, "w", format=format) as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size = len(member[1])
            tar.addfile(info, io.BytesIO(member[1]))
    return path


@pytest.mark.parametrize(
    ("form", "kind"),
    [("ustar", "image"), ("gnu", "nested"), ("pax", "image"), ("gnu", "sha512"), ("pax", "sha512")],
)
@pytest.mark.parametrize("packing", ["plain", "gzip"])
async def test_archives_of_gnu_tar_are_read(
    zoo: tuple[Path, dict[str, Any]], tmp_path: Path, form: str, packing: str, kind: str
) -> None:
    path = tmp_path / "archive.tar"
    options = ["-z"] if packing == "gzip" else []
    if form == "ustar":  # it has no room for the names of sha512
        options.append("--exclude=sha512")
    _tar(f"--format={form}", *options, "-cf", path, "-C", zoo[0], ".")
    digest = zoo[1][kind]["digest"]
    source = opened(path, Digest.parse(digest))
    assert await read_package(source) == layout_package(zoo[0], digest)
    assert source.local_file(await source.resolve()) is None
    await source.close()
    assert sorted(os.listdir(tmp_path)) == ["archive.tar"]


@pytest.mark.parametrize("kind", ["image", "multi", "artifact", "sha512"])
async def test_what_is_written_is_read_again_and_always_the_same(
    zoo: tuple[Path, dict[str, Any]], tmp_path: Path, kind: str
) -> None:
    digest = zoo[1][kind]["digest"]
    for name in ("one.tar", "two.tar"):
        source = LayoutSource(Directory.open(zoo[0]), Digest.parse(digest))
        target = ArchiveTarget(Directory.open(tmp_path), name)
        await copy_package(source, target, "v1")
        await source.close()
        await target.close()
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    archive = opened(tmp_path / "one.tar", "v1")
    assert await read_package(archive) == layout_package(zoo[0], digest)
    await archive.close()
    _tar("-tf", tmp_path / "one.tar")
    assert sorted(os.listdir(tmp_path)) == ["one.tar", "two.tar"]


async def test_what_fails_is_taken_back_and_the_rest_stays(tmp_path: Path) -> None:
    target = ArchiveTarget(Directory.open(tmp_path), "a.tar")
    good = Descriptor("x/y", Digest.parse("sha256:" + "0" * 64), 4)

    def read(offset: int, length: int) -> bytes:
        return b"evil"

    with pytest.raises(IntegrityError):
        await target.push_blob(good, read)
    await target.push_manifest(Descriptor("x/y", _digest(b"good"), 4), b"good")
    with pytest.raises(IntegrityError):
        await target.push_blob(good, read)
    assert not await target.has_blob(good)
    await target.finish(Descriptor("x/y", _digest(b"good"), 4), "v1")
    await target.close()
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert tar.getnames() == [
            "oci-layout", "blobs", "blobs/sha256", _digest(b"good").path, "index.json"
        ]  # fmt: skip


async def test_an_archive_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    target = ArchiveTarget(Directory.open(tmp_path), "a.tar")
    await target.push_manifest(Descriptor("x/y", _digest(b"good"), 4), b"good")
    await target.close()
    assert os.listdir(tmp_path) == []


async def test_a_full_disk_is_said(tmp_path: Path) -> None:
    target = ArchiveTarget(Directory.open(tmp_path), "a.tar")

    def read(offset: int, length: int) -> bytes:
        raise OSError(28, "No space left on device")

    with pytest.raises(PeatError, match="room"):
        await target.push_blob(Descriptor("x/y", _digest(b"x"), 1), read)
    await target.close()
    assert os.listdir(tmp_path) == []


def _tar(*arguments: str | Path) -> None:
    subprocess.run(["tar", *arguments], check=True, capture_output=True)


def _digest(data: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(data).hexdigest())


def _link(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = "/etc/passwd"
    return info


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
async def test_links_and_devices_stand_for_nothing(tmp_path: Path, kind: bytes) -> None:
    path = packed(tmp_path / "a.tar", ("oci-layout", LAYOUT), _link("index.json", kind))
    source = opened(path)
    with pytest.raises(SourceError, match="no plain file"):
        await source.resolve()
    await source.close()


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([("oci-layout", LAYOUT), ("index.json", EMPTY_INDEX), ("./index.json", EMPTY_INDEX)], "twice"),
        ([("oci-layout", LAYOUT)], "no index.json"),
        ([("readme", b"text")], "no file oci-layout"),
        ([("manifest.json", b"[]"), ("repositories", b"{}")], "docker archive"),
        ([("oci-layout", LAYOUT), ("index.json", b"[" * 5_000_000)], "larger"),
        ([("../oci-layout", LAYOUT), ("/index.json", EMPTY_INDEX)], "no file oci-layout"),
    ],
)
async def test_archives_that_are_no_layouts_say_so(
    tmp_path: Path, members: list[tuple[str, bytes]], says: str
) -> None:
    source = opened(packed(tmp_path / "a.tar", *members))
    with pytest.raises(SourceError, match=says):
        await source.resolve()
    await source.close()


async def test_the_first_of_two_blobs_counts_and_has_to_prove_itself(tmp_path: Path) -> None:
    good = Descriptor("x/y", _digest(b"good"), 4)
    path = packed(tmp_path / "a.tar", (good.digest.path, b"evil"), (good.digest.path, b"good"))
    source = opened(path)
    with pytest.raises(IntegrityError, match=str(good.digest)):
        await source.read_document(good)
    await source.close()


async def test_every_cut_of_an_archive_is_an_error_or_complete(
    zoo: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    digest = zoo[1]["artifact"]["digest"]
    source = LayoutSource(Directory.open(zoo[0]), Digest.parse(digest))
    target = ArchiveTarget(Directory.open(tmp_path), "whole.tar")
    await copy_package(source, target)
    await source.close()
    await target.close()
    whole = (tmp_path / "whole.tar").read_bytes()
    expected = layout_package(zoo[0], digest)
    for length in [*range(0, len(whole), 97), len(whole) - 1]:
        await _give_up_or_equal(tmp_path, whole[:length], expected)


async def test_every_damage_of_a_header_is_an_error_or_complete(
    zoo: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    digest = zoo[1]["artifact"]["digest"]
    source = LayoutSource(Directory.open(zoo[0]), Digest.parse(digest))
    target = ArchiveTarget(Directory.open(tmp_path), "whole.tar")
    await copy_package(source, target)
    await source.close()
    await target.close()
    whole = bytearray((tmp_path / "whole.tar").read_bytes())
    expected = layout_package(zoo[0], digest)
    for position in range(0, len(whole), 41):
        damaged = bytearray(whole)
        damaged[position] ^= 0x41
        await _give_up_or_equal(tmp_path, bytes(damaged), expected)


async def _give_up_or_equal(tmp_path: Path, data: bytes, expected: dict[str, bytes]) -> None:
    (tmp_path / "cut.tar").write_bytes(data)
    source = opened(tmp_path / "cut.tar")
    try:
        found = await read_package(source)
    except (PeatError, AssertionError):
        return  # blobs are proven by who reads them, which is `read_package` here
    finally:
        await source.close()
    assert found == expected


def _pax(records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    info = tarfile.TarInfo("pax")
    info.type = kind
    info.size = len(records)
    return info.tobuf(tarfile.USTAR_FORMAT) + records + bytes(-len(records) % 512)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (_pax(b"x" * 100), "extended header"),
        (_pax(b"9999 path=a\n"), "extended header"),
        (_pax(b"3 path=a\n"), "extended header"),
        (_pax(b"18 size=-99999999\n"), "size"),
        (_pax(b"20 GNU.sparse.map=1\n"), "sparse"),
        (_pax(b"1" * 70_000), "extended header of 70000 bytes"),
        (_pax(b"n" * 70_000, tarfile.GNUTYPE_LONGNAME), "extended header of 70000 bytes"),
        (b"", "cut off"),
        (b"x" * 512, "damaged"),
        (b"x" * 511, "cut off"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "zstd"),
        (b"\x1f\x8b" + bytes(100), "damaged"),
        (gzip.compress(bytes(1 << 20))[:-9], "damaged"),
    ],
)
async def test_hostile_headers_are_refused(tmp_path: Path, raw: bytes, says: str) -> None:
    (tmp_path / "a.tar").write_bytes(raw)
    source = opened(tmp_path / "a.tar")
    with pytest.raises(SourceError, match=says):
        await source.resolve()
    await source.close()


@pytest.mark.parametrize("size", [1 << 62, -1, -(1 << 40)])
async def test_absurd_sizes_are_refused(tmp_path: Path, size: int) -> None:
    info = tarfile.TarInfo("index.json")
    info.size = size if size > 0 else 0
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    if size < 0:
        block[124:136] = b"\xff" + (size).to_bytes(11, "big", signed=True)
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
    (tmp_path / "a.tar").write_bytes(bytes(block) + bytes(1024))
    source = opened(tmp_path / "a.tar")
    with pytest.raises(SourceError, match=r"cut off|negative|damaged"):
        await source.resolve()
    await source.close()


async def test_a_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peat_sidecar.oci.archives._GROWTH_ALLOWANCE_BYTES", 1 << 20)
    (tmp_path / "a.tar").write_bytes(gzip.compress(bytes(100 << 20), 6))
    source = opened(tmp_path / "a.tar")
    with pytest.raises(SourceError, match="50-fold"):
        await source.resolve()
    await source.close()
    assert os.listdir(tmp_path) == ["a.tar"]


async def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peat_sidecar.oci.tar_index._MEMBERS", 100)
    source = opened(packed(tmp_path / "a.tar", *((f"file-{number}", b"") for number in range(200))))
    with pytest.raises(SourceError, match="100 members"):
        await source.resolve()
    await source.close()


async def test_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    source = opened(packed(tmp_path / "a.tar", ("oci-layout", LAYOUT), ("index.json", EMPTY_INDEX)))
    missing = Descriptor("x/y", _digest(b"x"), 1)
    ask: Callable[[], Any]
    for ask in (
        lambda: source.resolve(),
        lambda: source.read_document(missing),
        lambda: read_blob(source, missing),
    ):
        with pytest.raises(NotFound):
            await ask()
    await source.close()
    with pytest.raises(SourceError, match="closed"):
        await source.resolve()
