"""What callers of the API see of the file system: never more than the roots."""

import errno
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from peat_sidecar.confined import Directory, Roots
from peat_sidecar.errors import ConfigError, NotFound, Refused, StoreFull


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with a file, a folder, and links that lead out of it."""
    path = tmp_path / "root"
    (path / "folder" / "deep").mkdir(parents=True)
    (path / "file").write_bytes(b"inside")
    (path / "folder" / "deep" / "file").write_bytes(b"deep")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    (path / "link").symlink_to(tmp_path / "outside")
    (path / "file-link").symlink_to(tmp_path / "outside" / "secret")
    (path / "inner-link").symlink_to("file")
    (path / "folder" / "up").symlink_to("..")
    return path


@pytest.fixture
def directory(root: Path) -> Iterator[Directory]:
    with Directory.open(root) as opened:
        yield opened


def content(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        return file.read()


@pytest.mark.parametrize("name", ["file", "./file", "folder/deep/file", "folder//deep/./file"])
def test_a_regular_file_beneath_is_opened(directory: Directory, name: str) -> None:
    assert content(directory.open_file(name)) in (b"inside", b"deep")


@pytest.mark.parametrize(
    "name",
    [
        "link/secret", "file-link", "inner-link", "folder/up/file", "../outside/secret", "folder/../file",
        "/etc/passwd", "", ".", "folder", "file\0", "file/x", "x" * 300, "a/" * 3000 + "x",
    ],
)  # fmt: skip
def test_every_way_out_is_refused(directory: Directory, root: Path, name: str) -> None:
    with pytest.raises((Refused, NotFound)):
        directory.open_file(name)
    if name not in (".", "folder"):
        with pytest.raises((Refused, NotFound)):
            directory.replace_file(name + "/new", lambda descriptor: None)
    assert os.listdir(root.parent / "outside") == ["secret"]


@pytest.mark.parametrize("name", ["link", "folder/up", "../outside", "/", "file", "link/.."])
def test_a_directory_is_not_reached_by_links(directory: Directory, name: str) -> None:
    with pytest.raises(Refused):
        directory.open_directory(name)
    with pytest.raises(Refused):
        directory.make_directory(name + "/new")


def test_special_files_are_refused_at_once(directory: Directory, root: Path) -> None:
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "socket"))
        for name, what in (("fifo", "FIFO"), ("socket", "socket")):
            with pytest.raises(Refused, match=what):
                directory.open_file(name)
    assert not directory.exists("fifo")


def test_missing_names_are_not_found(directory: Directory) -> None:
    for name in ("missing", "missing/file", "folder/missing"):
        with pytest.raises(NotFound, match="does not exist"):
            directory.open_file(name)


def test_a_link_swapped_in_between_never_leads_out(directory: Directory, root: Path, tmp_path: Path) -> None:
    """A neighbour swaps a folder for a link as fast as it can; no read ever gives what is outside."""
    (root / "swapped").mkdir()
    (root / "swapped" / "secret").write_bytes(b"inside")
    (root / "lure").symlink_to(tmp_path / "outside")
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            os.rename(root / "swapped", root / "kept")
            os.rename(root / "lure", root / "swapped")
            os.rename(root / "swapped", root / "lure")
            os.rename(root / "kept", root / "swapped")

    neighbour = threading.Thread(target=swap)
    neighbour.start()
    seen = set()
    try:
        for _ in range(3000):
            try:
                seen.add(content(directory.open_file("swapped/secret")))
            except (Refused, NotFound):
                seen.add(b"refused")
    finally:
        stop.set()
        neighbour.join()
    assert b"secret" not in seen


def test_replacing_is_all_or_nothing(directory: Directory, root: Path) -> None:
    directory.replace_file("file", lambda descriptor: os.write(descriptor, b"new"))
    assert (root / "file").read_bytes() == b"new"

    def fail(descriptor: int) -> None:
        os.write(descriptor, b"half")
        raise OSError(errno.ENOSPC, "no room")

    with pytest.raises(StoreFull, match="no room"):
        directory.replace_file("file", fail)
    assert (root / "file").read_bytes() == b"new"
    assert not [name for name in directory.list() if name.endswith(".tmp")]


def test_replacing_a_link_leaves_its_target_alone(directory: Directory, root: Path, tmp_path: Path) -> None:
    directory.replace_file("file-link", lambda descriptor: os.write(descriptor, b"new"))
    assert (tmp_path / "outside" / "secret").read_bytes() == b"secret"
    assert not (root / "file-link").is_symlink()


def test_creating_makes_new_files_only(directory: Directory, root: Path) -> None:
    with directory.make_directory("a/b") as made, open(made.create_file("new"), "wb") as file:
        file.write(b"x")
    assert (root / "a" / "b" / "new").read_bytes() == b"x"
    for name in ("file", "file-link"):
        with pytest.raises(Refused, match="already"):
            directory.create_file(name)
    directory.remove_file("a/b/new")
    directory.remove_file("a/b/new")
    assert directory.list("a/b") == []
    assert directory.size("folder/deep/file") == 4
    assert directory.exists("a/b")
    assert directory.exists(".")


def test_reading_is_bounded(directory: Directory) -> None:
    assert directory.read_file("file", 6) == b"inside"
    with pytest.raises(Refused, match="5 bytes"):
        directory.read_file("file", 5)


def test_roots_map_requests(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    roots = Roots([tmp_path / "alias", root / "folder"])
    for path in (root / "file", "file", str(tmp_path / "alias" / "file"), f"{root}/folder/../file", "./file"):
        assert content(roots.open_file(path)) == b"inside"
    assert roots.locate(root / "folder" / "deep") == (str(root / "folder"), "deep")
    with roots.open_directory(root) as whole:
        assert "file" in whole.list()
    parent, name = roots.parent(root / "folder" / "new.tar")
    with parent:
        assert (parent.list(), name) == (["deep", "up"], "new.tar")
    with roots.make_directory("made/here"):
        assert (root / "made" / "here").is_dir()
    assert roots.is_directory("folder")
    assert not roots.is_directory("file")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../outside/secret", "", "a\0b", "//etc/passwd", "folder/../../outside/secret"]
)
def test_what_is_outside_is_refused_with_the_remedy(root: Path, path: str) -> None:
    roots = Roots([root], option="--export-root")
    for use in (roots.open_file, roots.open_directory, roots.parent, roots.is_directory):
        with pytest.raises(Refused) as caught:
            use(path)
        assert not path.strip("\0") or "--export-root" in str(caught.value) or "NUL" in str(caught.value)


def test_a_name_that_only_begins_like_a_root_is_outside(root: Path) -> None:
    (root.parent / "root-two").mkdir()
    with pytest.raises(Refused, match=str(root)):
        Roots([root]).open_directory(root.parent / "root-two")


def test_no_roots_says_which_option(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="--import-root"):
        Roots([]).open_file(tmp_path / "x")
    with pytest.raises(ConfigError, match="--import-root"):
        Roots([tmp_path / "missing"]).open_file("x")
    with pytest.raises(Refused, match="directory"):
        Roots([tmp_path]).parent(".")
