"""Full disks, read-only stores, lost replies, flipped bytes, other releases."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from nemotron import lineage
from nemotron.lineage import (
    Lineage,
    StoreBusy,
    StoreDamaged,
    StoreFull,
    StoreNotFoundError,
    StoreReadOnly,
    StoreTooNew,
    audit,
)
from nemotron.lineage import events as ev
from nemotron.lineage.commits import Commit, Entry, Mark
from nemotron.lineage.journal.directory import DirectoryJournal
from nemotron.lineage.journal.sqlite import SQLiteJournal
from nemotron.lineage.testing import FaultyFiles, publish

from .conftest import Start

KINDS = ["lineage.db", "lineage"]


@pytest.fixture
def files() -> FaultyFiles:
    return FaultyFiles()


@pytest.fixture
def directory(tmp_path: Path, files: FaultyFiles) -> Iterator[Lineage]:
    with Lineage(DirectoryJournal(tmp_path / "lineage", files=files)) as store:
        yield store


def _all_is_well(store: Lineage, versions: int) -> None:
    assert [v.number for v in store.log("model")] == list(range(versions, 0, -1))
    report = audit.fsck(store)
    assert report.is_clean, report.damage


# -------------------------------------------------------------------------- full


def test_full_disk_during_a_directory_commit(directory: Lineage, files: FaultyFiles) -> None:
    directory.commit(publish(path="/1"))
    files.fail("put_new", errno.ENOSPC)
    with pytest.raises(StoreFull, match="no space left to write"):
        directory.commit(publish(path="/2"))
    assert directory.commit(publish(path="/3")).version == ("model", 2)
    _all_is_well(directory, 2)


def test_full_disk_in_a_crowd_leaves_the_record_waiting_and_says_so(
    directory: Lineage, files: FaultyFiles
) -> None:
    directory.commit(publish(path="/1"))
    directory._combiner._crowded = True  # others write all the time
    files.fail("put_new", errno.ENOSPC)
    with pytest.raises(StoreBusy, match=r"no space left .* is safe in the intake") as told:
        directory.commit(publish(path="/2"))
    assert told.value.record is not None
    assert [v.address for v in directory.log("model")] == ["/2", "/1"]
    _all_is_well(directory, 2)


def test_lost_reply_in_a_crowd_is_found_out(directory: Lineage, files: FaultyFiles) -> None:
    directory.commit(publish(path="/1"))
    directory._combiner._crowded = True
    files.lose_reply("put_new")
    assert directory.commit(publish(path="/2")).version == ("model", 2)
    _all_is_well(directory, 2)


def test_full_disk_during_a_sqlite_commit(tmp_path: Path) -> None:
    journal = SQLiteJournal(tmp_path / "lineage.db")
    with Lineage(journal) as store:
        store.commit(publish(path="/1"))
        assert journal._writer is not None
        (pages,) = journal._writer.execute("PRAGMA page_count").fetchone()
        journal._writer.execute(f"PRAGMA max_page_count={pages}")
        big = publish(path="/2", metadata={"text": "x" * 100_000})
        with pytest.raises(StoreFull, match="no space left to write"):
            store.commit(big)
        journal._writer.execute("PRAGMA max_page_count=1000000")
        assert store.commit(publish(path="/3")).version == ("model", 2)
        _all_is_well(store, 2)


def test_full_disk_during_a_record(directory: Lineage, files: FaultyFiles) -> None:
    writer = directory.intake_writer(None, run="r")
    writer.append(publish(path="/1"))
    files.fail("append", errno.ENOSPC)
    with pytest.raises(StoreFull, match="the intake"):
        writer.append(publish(path="/2"))
    writer.append(publish(path="/3"))
    directory.combine()
    _all_is_well(directory, 2)


@pytest.mark.root
@pytest.mark.parametrize("address", KINDS)
def test_really_full_disk_is_survived(tmp_path: Path, address: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    os.system(f"mount -t tmpfs -o size=2m tmpfs {disk}")
    try:
        with lineage.open(disk / address) as store:
            published = 0

            def fill() -> None:
                nonlocal published
                while True:
                    text = {"text": "x" * 20_000}
                    store.commit(publish(path=f"/{published}", metadata=text))
                    published += 1

            with pytest.raises(StoreFull):
                fill()
            os.system(f"mount -o remount,size=8m {disk}")
            version = store.commit(publish(path="/after")).version
            assert version is not None
            assert version.number in (published + 1, published + 2)
            _all_is_well(store, version.number)
    finally:
        os.system(f"umount -l {disk}")


# -------------------------------------------------------------------- lost replies


def test_lost_reply_of_a_directory_commit_is_found_out(
    directory: Lineage, files: FaultyFiles
) -> None:
    directory.commit(publish(path="/1"))
    files.lose_reply("put_new")
    assert directory.commit(publish(path="/2")).version == ("model", 2)
    _all_is_well(directory, 2)


def test_sqlite_file_that_was_removed_takes_no_more_commits(tmp_path: Path) -> None:
    path = tmp_path / "lineage.db"
    with lineage.open(path, environ={}) as store, store.run("train") as run:
        run.publish("m", path="s3://bucket/1", type="model")
        path.rename(tmp_path / "aside.db")
        with pytest.raises(StoreNotFoundError, match="was removed or replaced while it was open"):
            run.publish("m", path="s3://bucket/2", type="model")
        assert not path.exists()
        (tmp_path / "aside.db").rename(path)
        assert run.publish("m", path="s3://bucket/2", type="model").number == 2


def test_lost_reply_of_a_sqlite_commit_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nemotron.lineage.journal import sqlite

    real = sqlite._SQLiteTurn.append

    def append_and_fail(self: sqlite._SQLiteTurn, commit: Commit) -> None:
        real(self, commit)
        monkeypatch.undo()
        raise OSError(errno.EIO, "the reply was lost")

    with lineage.open(tmp_path / "lineage.db") as store:
        store.commit(publish(path="/1"))
        monkeypatch.setattr(sqlite._SQLiteTurn, "append", append_and_fail)
        assert store.commit(publish(path="/2")).version == ("model", 2)
        _all_is_well(store, 2)


def test_commit_that_really_failed_is_an_error(directory: Lineage, files: FaultyFiles) -> None:
    files.fail("put_new", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        directory.commit(publish())
    assert directory.artifacts() == []


# ---------------------------------------------------------------------- read-only

READ = """
import sys
import nemotron.lineage as lineage
from nemotron.lineage import StoreReadOnly
from nemotron.lineage.testing import publish
with lineage.open(sys.argv[1], create=False) as store:
    print(store.resolve("model:v2").address, len(store.lineage().nodes()), store.journal.read_only)
    try:
        store.commit(publish(path="/3"))
    except StoreReadOnly as error:
        print("refused:", error)
"""


@pytest.mark.root
@pytest.mark.parametrize("address", KINDS)
@pytest.mark.parametrize("state", ["closed", "in use"])
def test_store_on_a_read_only_filesystem_is_read(
    tmp_path: Path, address: str, state: str, start: Start
) -> None:
    place, frozen = tmp_path / "shared", tmp_path / "frozen"
    place.mkdir()
    frozen.mkdir()
    store = lineage.open(place / address)
    store.commit(publish(path="/1"))
    store.commit(publish(path="/2"))
    if state == "closed":
        store.close()
    os.system(f"mount --bind {place} {frozen} && mount -o remount,bind,ro {frozen}")
    try:
        answer, error = start(READ, frozen / address).communicate()
    finally:
        os.system(f"umount {frozen}")
        store.close()
    assert answer.splitlines()[0] == "/2 3 True", error
    assert "refused:" in answer
    assert "is read-only here; ask its owner" in answer


def test_read_only_sqlite_store_with_commits_in_its_log_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lineage.open(tmp_path / "lineage.db") as store:
        store.commit(publish(path="/1"))
        assert (tmp_path / "lineage.db-wal").stat().st_size
        shutil.copytree(tmp_path, tmp_path / "copy", ignore=shutil.ignore_patterns("copy", "*shm"))
        monkeypatch.setattr(os, "access", lambda *_: False)
        with lineage.open(tmp_path / "copy" / "lineage.db") as frozen:
            assert frozen.journal.read_only
            assert frozen.resolve("model").address == "/1"
            with pytest.raises(StoreReadOnly):
                frozen.commit(publish(path="/2"))


# ------------------------------------------------------------------------- damage


def _flip(path: Path, what: bytes) -> None:
    data = bytearray(path.read_bytes())
    at = data.index(what)
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("address", KINDS)
def test_flipped_byte_is_named_with_its_commit(tmp_path: Path, address: str) -> None:
    place = tmp_path / address
    with lineage.open(place) as store:
        for number in range(1, 6):
            store.commit(publish(path=f"/planted-{number}"))
    if address == "lineage":
        _flip(place / "commits" / "000000" / "000000003.json", b"planted-3")
    else:
        _flip(place, b"planted-3")
    with lineage.open(place) as store:
        report = audit.fsck(store)
        assert len(report.damage) == 1
        assert "commit 3 is damaged: the payload of event" in report.damage[0]
        with pytest.raises(StoreDamaged, match="commit 3"):
            store.rebuild_index()


@pytest.mark.parametrize("address", KINDS)
def test_missing_commit_is_named(tmp_path: Path, address: str) -> None:
    place = tmp_path / address
    with lineage.open(place) as store:
        for number in range(1, 6):
            store.commit(publish(path=f"/{number}"))
    if address == "lineage":
        (place / "commits" / "000000" / "000000002.json").unlink()
    else:
        db = sqlite3.connect(place)
        db.execute("DELETE FROM commits WHERE number=2")
        db.commit()
        db.close()
    with lineage.open(place) as store:
        assert [d for d in audit.fsck(store).damage if "commit 2 is not there" in d]


def test_rewritten_history_is_found_by_the_link(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "lineage") as store:
        for number in range(1, 4):
            store.commit(publish(path=f"/{number}"))
        first, second, _ = store.journal.read()
        forged = Commit.make(
            store.journal.id, first.head,
            [Entry("w-9", second.entries[0].occurred, publish(number=2))],
            writers=second.writers, recorded=second.recorded,
        )  # fmt: skip
        path = tmp_path / "lineage" / "commits" / "000000" / "000000002.json"
        path.write_text(forged.text + "\n")
        report = audit.fsck(store)
    assert report.damage == [
        "commit 3 does not carry the hash of the commit before it. Try: lineage fsck"
    ]


def test_tampered_ledger_and_index_are_found(tmp_path: Path) -> None:
    place = tmp_path / "lineage.db"
    with lineage.open(place) as store:
        store.commit(publish())
        store.resolve("model")
    for file, change in (
        (place, "UPDATE ledger_artifact SET next=9"),
        (tmp_path / "lineage.db.d" / "index-2.db", "UPDATE version SET path='/elsewhere'"),
    ):
        db = sqlite3.connect(file)
        db.execute(change)
        db.commit()
        db.close()
    with lineage.open(place) as store:
        damage = audit.fsck(store).damage
        assert any("ledger's table 'artifact' differs" in sentence for sentence in damage)
        assert any("index's table 'version' differs" in sentence for sentence in damage)
        store.rebuild_index()
        assert store.resolve("model").address == "/out/1"


@pytest.mark.parametrize("address", KINDS)
@pytest.mark.parametrize("damage", ["garbage", "empty", "another journal", "ahead"])
def test_bad_index_is_thrown_away(tmp_path: Path, address: str, damage: str) -> None:
    place = tmp_path / address
    with lineage.open(place) as store:
        for number in range(1, 4):
            store.commit(publish(path=f"/{number}"))
        assert store.resolve("model").number == 3
        cache = Path(store.journal.cache or "")
    for file in (*cache.glob("ledger-*.db"), *cache.glob("index-*.db")):
        if damage == "garbage":
            file.write_bytes(b"garbage" * 1000)
        elif damage == "empty":
            file.write_bytes(b"")
        else:
            db = sqlite3.connect(file)
            number = "number" if damage == "another journal" else "number+5"
            db.execute(f"UPDATE position SET number={number}, hash='x'")
            db.commit()
            db.close()
    with lineage.open(place) as store:
        assert store.resolve("model").address == "/3"
        assert store.commit(publish(path="/4")).version == ("model", 4)
        _all_is_well(store, 4)


# ------------------------------------------------------------------ other releases


@pytest.mark.parametrize("address", KINDS)
def test_two_releases_with_other_indexes_share_a_store(
    tmp_path: Path, address: str, start: Start
) -> None:
    newer = """
import sys
import nemotron.lineage as lineage
from nemotron.lineage.index import project
from nemotron.lineage.testing import publish
project.NAME, project.SCHEMA = "index-n", project.SCHEMA + "CREATE TABLE IF NOT EXISTS extra(a);"
with lineage.open(sys.argv[1]) as store:
    print(store.commit(publish(path=sys.argv[2])).version, len(store.log("model")))
"""
    with lineage.open(tmp_path / address) as store:
        store.commit(publish(path="/old"))
        assert store.resolve("model").number == 1
        assert start(newer, tmp_path / address, "/new").communicate()[0] == "art://model:v2 2\n"
        assert store.resolve("model").address == "/new"
        assert store.commit(publish(path="/old-again")).version == ("model", 3)
        assert start(newer, tmp_path / address, "/newer").communicate()[0] == "art://model:v4 4\n"
        _all_is_well(store, 4)


def _append_unknown(store: Lineage, *, vital: bool) -> None:
    event = ev.Unknown(name="teleported", vital=vital, content={"where": "mars"})
    with store.journal.turn() as turn:
        commit = Commit.make(
            store.journal.id, turn.head, [Entry("newer-1", "2026", event)],
            writers={"newer": Mark(1)}, recorded="2026",
        )  # fmt: skip
        turn.ledger.take(commit)
        turn.append(commit)


@pytest.mark.parametrize("address", KINDS)
def test_unknown_critical_event_is_read_over_and_writes_go_to_the_intake(
    tmp_path: Path, address: str
) -> None:
    with lineage.open(tmp_path / address) as store:
        store.commit(publish(path="/1"))
        _append_unknown(store, vital=True)
        assert store.resolve("model").address == "/1"
        with pytest.raises(StoreTooNew, match=r"'teleported'.*safe in the intake, upgrade"):
            store.commit(publish(path="/2"))
        assert store.pending() == 1
        assert store.resolve("model").address == "/1"
        assert audit.fsck(store).is_clean


@pytest.mark.parametrize("address", KINDS)
def test_unknown_event_that_is_not_critical_is_kept_and_passed_over(
    tmp_path: Path, address: str
) -> None:
    with lineage.open(tmp_path / address) as store:
        store.commit(publish(path="/1"))
        _append_unknown(store, vital=False)
        assert store.commit(publish(path="/2")).version == ("model", 2)
        assert list(store.journal.read())[1].entries[0].event.payload() == {"where": "mars"}
        _all_is_well(store, 2)


# ----------------------------------------------------------------------- redaction


@pytest.mark.parametrize("address", KINDS)
def test_redacted_text_is_nowhere_and_the_rest_is_proved(tmp_path: Path, address: str) -> None:
    place = tmp_path / address
    with lineage.open(place) as store:
        with store.run("prep", config={"note": "planted-config"}) as run:
            run.use("hf://org/raw")
            event = publish(path="/planted-path", metadata={"note": "planted-note"}, run=run.id)
            store.intake_writer(None, run=run.id).append(event)
            store.describe("model", {"more": "planted-more"})
        with store.run("next") as run:
            run.use("model")
            store.commit(publish(name="child", path="/2", run=run.id))
        assert audit.redact(store, "model:v1", "leak") == 2
        assert audit.redact(store, f"run:{store.runs()[-1].id}", "leak") >= 1
        assert audit.redact(store, "model:v1", "leak") == 0
        version = store.version("model:v1")
        assert (dict(version.metadata), version.address) == ({}, "")
        assert [str(i.target) for i in store.inputs("child")] == ["art://model:v1"]
        report = audit.fsck(store)
        assert report.is_clean, report.damage
        assert report.redacted >= 3
        assert store.commit(publish(path="/3")).version == ("model", 2)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"planted" not in path.read_bytes(), path


def test_redaction_that_was_cut_off_is_named_and_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lineage.open(tmp_path / "lineage") as store:
        store.commit(publish(metadata={"note": "planted"}))
        with monkeypatch.context() as patch:
            patch.setattr(store.journal, "blank", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                audit.redact(store, "model", "leak")
        (sentence,) = audit.fsck(store).damage
        assert "was declared redacted, but its payload is still there" in sentence
        event = sentence.partition("lineage redact ")[2]
        assert audit.redact(store, event, "leak") == 1
        assert audit.fsck(store).is_clean


# -------------------------------------------------------------------- training

TRAINER = """
import sys
from pathlib import Path
from nemotron import kit
from nemotron.kit import session

saves, store, step = Path(sys.argv[1]), sys.argv[2], 0
kit.init(root=store)
kit.track(name="train")
hooks = session.hooks()
for line in sys.stdin:
    step += 1
    path = saves / f"iter_{step:07d}"
    if not path.exists():
        path = Path(sys.argv[3]) / f"iter_{step:07d}"
        path.mkdir(parents=True)
    hooks.write(str(saves), lambda each: each.record("m", path=path, type="model"))
    print(step, flush=True)
session.end_run()
print("ended", flush=True)
"""


@pytest.mark.root
@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_disk_that_takes_no_records_leaves_training_alone(
    tmp_path: Path, start: Start, fault: str
) -> None:
    """Store and checkpoints are on it; what was seen meanwhile is recorded once it is well."""
    disk, beside = tmp_path / "disk", tmp_path / "beside"
    disk.mkdir()
    os.system(f"mount -t tmpfs -o size=2m tmpfs {disk}")
    try:
        lineage.open(disk / "lineage").close()
        trainer = start(TRAINER, disk / "ckpts", disk / "lineage", beside)
        assert trainer.stdin is not None
        assert trainer.stdout is not None

        def save() -> int:
            trainer.stdin.write("\n")  # type: ignore[union-attr]  # it has one
            trainer.stdin.flush()  # type: ignore[union-attr]
            return int(trainer.stdout.readline())  # type: ignore[union-attr]

        assert save() == 1
        if fault == "full":
            filler = disk / "filler"
            os.system(f"dd if=/dev/zero of={filler} bs=4k 2>/dev/null")  # until it is full
        else:
            os.system(f"mount -o remount,ro {disk}")
        assert [save(), save()] == [2, 3]
        if fault == "full":
            filler.unlink()
        else:
            os.system(f"mount -o remount,rw {disk}")
        assert save() == 4
        trainer.stdin.close()
        assert trainer.stdout.readline() == "ended\n"
        assert trainer.wait() == 0
        with lineage.open(disk / "lineage") as store:
            assert sorted(v.path.name for v in store.log("m")) == [
                f"iter_{step:07d}" for step in (1, 2, 3, 4)
            ]
            assert audit.fsck(store).is_clean
    finally:
        os.system(f"umount -l {disk}")
