"""Files on filesystems that lose replies, and with permissions of their own."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from nemotron.lineage.files import Files
from nemotron.lineage.shelf import FolderShelf
from nemotron.lineage.testing import FaultyFiles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder


@pytest.fixture
def files() -> FaultyFiles:
    return FaultyFiles()


@pytest.mark.parametrize("code", [errno.EEXIST, errno.EIO])
def test_link_whose_reply_was_lost_is_known_as_ours(
    folder: Path, files: FaultyFiles, code: int
) -> None:
    files.lose_reply("_link", code)
    files.put_new(str(folder / "x"), b"ours")
    assert (folder / "x").read_bytes() == b"ours"
    assert os.listdir(folder) == ["x"]


def test_link_that_somebody_else_made_is_theirs(folder: Path, files: FaultyFiles) -> None:
    (folder / "x").write_bytes(b"theirs")
    with pytest.raises(FileExistsError):
        files.put_new(str(folder / "x"), b"ours")
    assert (folder / "x").read_bytes() == b"theirs"
    assert os.listdir(folder) == ["x"]


def test_link_that_failed_leaves_nothing(folder: Path, files: FaultyFiles) -> None:
    files.fail("_link", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        files.put_new(str(folder / "x"), b"ours")
    assert os.listdir(folder) == []


def test_rename_whose_reply_was_lost_is_known_as_done(folder: Path, files: FaultyFiles) -> None:
    (folder / "x").write_bytes(b"old")
    files.lose_reply("_replace", errno.ENOENT)
    files.put_over(str(folder / "x"), b"new")
    assert (folder / "x").read_bytes() == b"new"


def test_rename_that_failed_leaves_what_was(folder: Path, files: FaultyFiles) -> None:
    (folder / "x").write_bytes(b"old")
    files.fail("_replace", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        files.put_over(str(folder / "x"), b"new")
    assert (folder / "x").read_bytes() == b"old"
    assert os.listdir(folder) == ["x"]


def test_unlink_whose_reply_was_lost_is_done(folder: Path, files: FaultyFiles) -> None:
    files.lose_reply("_unlink", errno.ENOENT)
    files.put_new(str(folder / "x"), b"1")
    assert os.listdir(folder) == ["x"]


def test_mode_holds_whatever_the_umask_says(tmp_path: Path) -> None:
    files = Files()
    files.mode = 0o660
    before = os.umask(0o077)
    try:
        files.make_folder(str(tmp_path / "a" / "b"))
        files.put_new(str(tmp_path / "a" / "b" / "x"), b"1")
        files.put_over(str(tmp_path / "a" / "b" / "x"), b"2")
        os.close(files.open_append(str(tmp_path / "a" / "b" / "y")))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a").rglob("*")}
    assert modes == {"b": 0o2770, "x": 0o660, "y": 0o660}


def test_shelf_copies_big_files_both_ways(tmp_path: Path) -> None:
    data = os.urandom(9 << 20)
    (tmp_path / "big").write_bytes(data)
    shelf = FolderShelf(str(tmp_path / "shelf"))
    shelf.send(str(tmp_path / "big"), "folder/big")
    shelf.fetch("folder/big", str(tmp_path / "again"))
    assert (tmp_path / "again").read_bytes() == data
    assert shelf.read("folder/big", 1000, 10) == data[1000:1010]
    assert shelf.names("folder") == ["big"]
    assert shelf.names("nope") == []
    shelf.remove(["folder/big", "folder/never-was"])
    assert shelf.names("folder") == []
