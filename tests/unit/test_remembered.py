"""What was read before is not read again, as long as nobody wrote to it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from nemotron.lineage import digest
from nemotron.lineage.digests import digest_listing
from nemotron.lineage.hashing import hash_files
from nemotron.lineage.listing import Listing
from nemotron.lineage.pace import Pace
from nemotron.lineage.remembered import Remembered


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    (folder / "sub").mkdir(parents=True)
    for at in range(20):
        (folder / "sub" / f"{at:02}").write_bytes(bytes([at]) * 100)
    (folder / "big").write_bytes(b"x" * (2 << 20))
    return folder


def _read(path: Path, memory: Remembered) -> tuple[str, set[str]]:
    """Return the digest and the names of the files that were opened for it."""
    listing = Listing.of(path)
    opened: set[str] = set()

    class Watched(Listing):
        def path(self, name: str) -> str:
            opened.add(name)
            return super().path(name)

    seen: list[tuple[int, int]] = []
    pace = Pace(listing.size, progress=lambda *at: seen.append(at))
    found = digest_listing(Watched(listing.root, listing.files), pace, memory=memory)
    assert seen[-1] == (listing.size, listing.size)
    return found.text, opened


def test_unchanged_files_are_not_read_again(many: Path, tmp_path: Path) -> None:
    with Remembered(str(tmp_path / "cache")) as memory:
        first, opened = _read(many, memory)
        assert len(opened) == 21
        assert _read(many, memory) == (first, set())
    with Remembered(str(tmp_path / "cache")) as memory:
        assert _read(many, memory) == (first, set())
        (many / "sub" / "03").write_bytes(b"y" * 100)
        second, opened = _read(many, memory)
        assert opened == {"sub/03"}
        assert second == digest(many).text != first
        assert _read(many / "big", memory) == (digest(many / "big").text, set())


def test_tree_that_was_not_read_to_its_end_goes_on_there(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nemotron.lineage.hashing.free_cores", lambda: 1)
    monkeypatch.setattr("nemotron.lineage.remembered._SOON", 0.0)
    listing = Listing.of(many)
    with Remembered(str(tmp_path / "cache")) as memory:
        names = [name for name, _ in zip(listing.files, range(8), strict=False)]
        for name, value in hash_files(listing, names, Pace(listing.size)):
            memory.keep_hash(listing, name, value)
    with Remembered(str(tmp_path / "cache")) as memory:
        found, opened = _read(many, memory)
    assert opened == listing.files.keys() - set(names)
    assert found == digest(many).text


def test_memory_of_other_folders_is_left_alone(many: Path, tmp_path: Path) -> None:
    other = tmp_path / "many0"  # follows many/ in the order of paths
    shutil.copytree(many, other)
    with Remembered(str(tmp_path / "cache")) as memory:
        _read(many, memory)
        assert len(_read(other, memory)[1]) == 21
        assert _read(many, memory)[1] == set()


def test_what_was_of_no_use_for_long_is_swept(
    many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()

    def opened_after(days: int) -> int:
        monkeypatch.setattr("nemotron.lineage.remembered.time.time", lambda: now + days * 86400)
        with Remembered(str(tmp_path / "cache")) as memory:
            return len(_read(many, memory)[1])

    assert [opened_after(days) for days in (0, 20, 45, 80)] == [21, 0, 0, 21]


def test_memory_is_the_users_own(many: Path, tmp_path: Path) -> None:
    with Remembered(str(tmp_path / "cache")) as memory:
        _read(many, memory)
        for path in (tmp_path / "cache").iterdir():
            assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("content", [b"hello" * 1000, b""])
def test_damaged_memory_is_made_anew(many: Path, tmp_path: Path, content: bytes) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / f"digests-1-{os.getuid()}.db").write_bytes(content)
    with Remembered(str(cache)) as memory:
        assert len(_read(many, memory)[1]) == 21
        assert _read(many, memory)[1] == set()


def test_without_a_place_for_it_everything_is_read(many: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "linked").mkdir()
    name = f"digests-1-{os.getuid()}.db"
    (tmp_path / "linked" / name).symlink_to(tmp_path / "of-another.db")
    for folder in (None, str(tmp_path / "file" / "cache"), str(tmp_path / "linked")):
        with Remembered(folder) as memory:
            assert [len(_read(many, memory)[1]) for _ in range(2)] == [21, 21]
    assert not (tmp_path / "of-another.db").exists()


def test_memory_that_others_hold_is_done_without(many: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with Remembered(str(cache)) as memory:
        holder = sqlite3.connect(cache / f"digests-1-{os.getuid()}.db", isolation_level=None)
        with closing(holder):
            holder.execute("BEGIN IMMEDIATE")
            assert memory._db is not None
            memory._db.execute("PRAGMA busy_timeout=0")
            assert len(_read(many, memory)[1]) == 21
            assert memory._db is None
        assert _read(many, memory)[0] == digest(many).text
