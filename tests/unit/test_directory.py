"""The folder of a directory journal: what it must be able to do, and who may do what in it."""

from __future__ import annotations

import errno
import grp
import json
import os
import stat
from contextlib import closing
from pathlib import Path

import pytest

from nemotron import lineage
from nemotron.lineage import Lineage, StoreUnsuitable, claim_name
from nemotron.lineage.journal.directory import DirectoryJournal
from nemotron.lineage.journal.kinds import folder_beside, open_journal, open_shelf
from nemotron.lineage.testing import FaultyFiles, publish


@pytest.fixture
def files() -> FaultyFiles:
    return FaultyFiles()


# ----------------------------------------------------------------- unsuitable places


def test_bucket_that_is_shown_as_a_folder_is_refused_new_or_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lineage.open(tmp_path / "old").close()
    monkeypatch.setattr(
        "nemotron.lineage.journal.directory.filesystem", lambda _: ("bucket", "fuse.gcsfuse")
    )
    for name in ("new", "old"):
        with pytest.raises(StoreUnsuitable, match=r"fuse\.gcsfuse, a bucket.*name the bucket"):
            lineage.open(tmp_path / name)
    assert not (tmp_path / "new").exists()


def test_store_that_another_process_makes_meanwhile_is_that_store(tmp_path: Path) -> None:
    made = []

    class Overtaken(FaultyFiles):
        def names(self, folder: str) -> list[str]:
            if not made:  # we did not see it, and look now what lies there
                with closing(DirectoryJournal(tmp_path / "lineage")) as first:
                    made.append(first.id)
            return super().names(folder)

    with closing(DirectoryJournal(tmp_path / "lineage", files=Overtaken())) as second:
        assert made == [second.id]


@pytest.mark.parametrize("code", [errno.EPERM, errno.EMLINK, errno.ENOSYS, errno.EINVAL])
def test_filesystem_without_hard_links_is_refused(
    tmp_path: Path, files: FaultyFiles, code: int
) -> None:
    files.fail("_link", code, times=100)
    with pytest.raises(StoreUnsuitable, match="without hard links"):
        DirectoryJournal(tmp_path / "lineage", files=files)
    assert not (tmp_path / "lineage" / "journal.json").exists()
    assert os.listdir(tmp_path / "lineage" / "commits") == []


def test_filesystem_that_makes_one_name_twice_is_refused(tmp_path: Path) -> None:
    class Careless(FaultyFiles):
        def _link(self, path: str, name: str) -> None:
            os.replace(path, name)
            Path(path).touch()

    with pytest.raises(StoreUnsuitable, match="makes one name twice"):
        DirectoryJournal(tmp_path / "lineage", files=Careless())


def test_filesystem_whose_rename_fails_is_told(tmp_path: Path, files: FaultyFiles) -> None:
    files.fail("_replace", errno.EXDEV)
    with pytest.raises(StoreUnsuitable, match="another filesystem"):
        DirectoryJournal(tmp_path / "lineage", files=files)


# ------------------------------------------------------------------- names not seen yet


def test_commit_that_is_not_seen_yet_is_looked_for_again(
    tmp_path: Path, files: FaultyFiles
) -> None:
    with Lineage(DirectoryJournal(tmp_path / "lineage", cache=str(tmp_path / "a"))) as store:
        store.commit(publish(path="/1"))
        store.commit(publish(path="/2"))
    late = DirectoryJournal(tmp_path / "lineage", files=files, cache=str(tmp_path / "b"))
    files.fail("read", errno.ENOENT, times=2)
    with Lineage(late) as store:
        assert store.resolve("model").number == 2


# ---------------------------------------------------------------------- permissions


def test_mode_of_a_store_is_kept_by_all_its_writers(tmp_path: Path) -> None:
    group = grp.getgrgid(os.getgid()).gr_name
    DirectoryJournal(tmp_path / "lineage", mode=0o660, group=group).close()
    before = os.umask(0o077)
    try:
        with lineage.open(tmp_path / "lineage") as store:
            for number in range(3):
                store.commit(publish(path=f"/{number}"))
            store.intake_writer(None, run="r").append(publish(path="/hook"))
    finally:
        os.umask(before)
    for path in (tmp_path / "lineage", *(tmp_path / "lineage").rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o2770 if path.is_dir() else 0o660), (path, oct(mode))
    assert json.loads((tmp_path / "lineage" / "journal.json").read_text())["mode"] == "0660"


def test_users_of_a_shared_store_have_caches_of_their_own(tmp_path: Path) -> None:
    journal = DirectoryJournal(tmp_path / "lineage", mode=0o660)
    assert journal.cache is not None
    assert not journal.cache.startswith(str(tmp_path / "lineage"))
    journal.close()


@pytest.mark.root
def test_members_of_the_group_write_and_others_cannot_even_read(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    group = grp.getgrnam("games")
    DirectoryJournal(tmp_path / "lineage", mode=0o660, group=group.gr_name).close()

    def as_user(user: int, groups: list[int]) -> int:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgroups(groups)
                os.setgid(65534)
                os.setuid(user)
                os.environ["LINEAGE_CACHE"] = f"/tmp/lineage-cache-{user}-{os.getpid()}"
                try:
                    with lineage.open(tmp_path / "lineage", create=False) as store:
                        store.commit(publish(path=f"/{user}"))
                    status = 0
                except (OSError, lineage.StoreError):
                    status = 2
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert as_user(4001, [group.gr_gid]) == 0
    assert as_user(4002, [group.gr_gid]) == 0
    assert as_user(4003, []) == 2
    with lineage.open(tmp_path / "lineage") as store:
        assert {version.address for version in store.log("model")} == {"/4001", "/4002"}


def test_pins_and_claims_keep_to_the_mode_of_the_store(tmp_path: Path) -> None:
    """Hooks open no store, and others of the group claim names and pin jobs too."""
    place = tmp_path / "lineage"
    DirectoryJournal(place, mode=0o660).close()
    umask = os.umask(0o077)
    try:
        assert claim_name("sft", "/out/a", store=place) == "/out/a"
        shelf = open_shelf(str(place))
        assert shelf is not None
        shelf.put_new("pins/1.json", b"{}")
    finally:
        os.umask(umask)
    for folder in ("names", "pins"):
        assert stat.S_IMODE((place / folder).stat().st_mode) == 0o2770
        (path,) = (place / folder).iterdir()
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


@pytest.mark.parametrize("name", ["a b", "50%20", "x#y?z"])
def test_address_opens_the_same_folder_whatever_its_name_holds(tmp_path: Path, name: str) -> None:
    with closing(DirectoryJournal(tmp_path / name)) as journal:
        with closing(open_journal(journal.address, create=False)) as again:
            assert again.id == journal.id
        assert folder_beside(journal.address, "pins") == str(tmp_path / name / "pins")
