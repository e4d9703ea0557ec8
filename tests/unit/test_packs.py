"""Old commits are packed under readers and writers, and nothing of them is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from nemotron import lineage
from nemotron.lineage import Lineage, StoreDamaged, audit, upkeep
from nemotron.lineage.commits import Commit, Entry, Mark
from nemotron.lineage.copying import copy_journal
from nemotron.lineage.journal import base, numbered, packs
from nemotron.lineage.journal.base import HeadMoved
from nemotron.lineage.journal.directory import DirectoryJournal
from nemotron.lineage.journal.kinds import open_journal
from nemotron.lineage.journal.numbered import NumberedJournal
from nemotron.lineage.testing import publish

KINDS = ["directory", "objects"]
TIDY_SOON = NumberedJournal._tidy_soon


@pytest.fixture(autouse=True)
def _small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten commits a pack, and no process that packs by itself."""
    for module in (base, numbered):
        monkeypatch.setattr(module, "BATCH", 10)
    monkeypatch.setattr(NumberedJournal, "_tidy_soon", lambda _: None)


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, address_of: Callable[[str, str], str]) -> Lineage:
    return lineage.open(address_of(request.param, "lineage"))


def _fill(store: Lineage, *numbers: int) -> None:
    for number in numbers:
        store.commit(publish(path=f"/{number}", metadata={"note": f"planted-{number}"}))


def _journal(store: Lineage) -> NumberedJournal:
    assert isinstance(store.journal, NumberedJournal)
    return store.journal


def _alone(store: Lineage) -> list[int]:
    """Return the numbers of the commits that lie alone."""
    journal = _journal(store)
    if isinstance(journal, DirectoryJournal):
        root = Path(journal.address.removeprefix("file://"))
        return sorted(int(path.stem) for path in (root / "commits").rglob("*.json"))
    return [int(name.removesuffix(".json")) for name in journal.shelf.names("commits")]


def _must_be_whole(store: Lineage, versions: int) -> None:
    assert [v.number for v in store.log("model")] == list(range(versions, 0, -1))
    report = audit.fsck(store)
    assert report.is_clean, report.damage
    assert report.commits == versions


def test_old_commits_are_packed_and_read_as_before(store: Lineage) -> None:
    with store:
        _fill(store, *range(1, 36))
        before = [commit.text for commit in store.journal.read()]
        assert _journal(store).tidy(age=0) == 2
        assert _alone(store) == list(range(21, 36))
        assert [commit.text for commit in store.journal.read()] == before
        assert [c.number for c in store.journal.read(7, 23)] == list(range(8, 24))
        assert _journal(store).tidy(age=0) == 0
        _fill(store, 36)
        _must_be_whole(store, 36)
        store.rebuild_index()
        store.journal.relearn()
        _must_be_whole(store, 36)


def test_what_else_lies_among_commits_is_nobodys(store: Lineage) -> None:
    """On NFS a commit that is removed while somebody reads it gets another name."""
    with store:
        _fill(store, *range(1, 36))
        folder = _journal(store)._name(1).rpartition("/")[0]
        for name in (".nfs00000000a1b2", "000000099.json~", "notes.txt", "x.json"):
            _journal(store).shelf.put_new(f"{folder}/{name}", b"?")
        _journal(store).shelf.put_new("data/1.json", b"?")
    with lineage.open(store.journal.address) as again:
        assert _journal(again).tidy(age=0) == 2
        _fill(again, 36)
        _must_be_whole(again, 36)


def test_reader_that_saw_nothing_of_the_packing_finds_everything(store: Lineage) -> None:
    with store, lineage.open(store.journal.address) as reader:
        _fill(store, *range(1, 36))
        assert reader.resolve("model").number == 35
        _journal(store).tidy(age=0)
        assert len(list(reader.journal.read())) == 35
        _fill(store, 36, 37)
        assert reader.resolve("model").number == 37
        _must_be_whole(reader, 37)


def test_reader_that_slept_while_everything_it_knew_was_packed_finds_the_head(
    store: Lineage,
) -> None:
    with store, lineage.open(store.journal.address) as reader:
        _fill(store, 1, 2)
        assert reader.resolve("model").number == 2
        _fill(store, *range(3, 300))
        _journal(store).tidy(age=0)
        assert reader.resolve("model").number == 299
        assert reader.commit(publish(path="/300")).version == ("model", 300)


def test_packed_commits_lie_alone_too_for_an_hour(store: Lineage) -> None:
    with store:
        _fill(store, *range(1, 36))
        assert _journal(store).tidy() == 2
        assert _alone(store) == list(range(1, 36))
        _journal(store).tidy(age=0)
        assert _alone(store) == list(range(21, 36))


def test_writer_that_was_stopped_for_hours_gives_no_number_out_twice(
    store: Lineage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINEAGE_CACHE", str(tmp_path / "another host"))
    with store, lineage.open(store.journal.address) as stopped:
        _fill(store, *range(1, 6))
        journal = _journal(stopped)
        with journal.turn() as turn:
            commit = Commit.make(
                journal.id, turn.head,
                [Entry("w-1", "2026-01-01T00:00:00.000000Z", publish(path="/late", number=6))],
                writers={"w": Mark(1)}, recorded="2099",
            )  # fmt: skip
            # what happens while it is stopped, for longer than an hour
            _fill(store, *range(6, 40))
            _journal(store).tidy(age=0)
            assert 6 not in _alone(store)
            now = numbered.now()
            monkeypatch.setattr(numbered, "now", lambda: now + 7200)
            with pytest.raises(HeadMoved, match="long ago"):
                turn.append(commit)
        assert 6 not in _alone(store)
        assert stopped.commit(publish(path="/late")).version == ("model", 40)
        _must_be_whole(stopped, 40)


def test_two_that_pack_at_once_do_it_once(store: Lineage) -> None:
    with store, lineage.open(store.journal.address) as other:
        _fill(store, *range(1, 56))
        threads = [
            threading.Thread(target=_journal(each).tidy, kwargs={"age": 0})
            for each in (store, other)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert _journal(store).shelf.names("packs") == [
            f"{first:09d}-{first + 9:09d}.jsonl" for first in (1, 11, 21, 31)
        ]
        _must_be_whole(store, 55)


def test_packing_that_was_cut_off_is_finished_by_the_next(
    store: Lineage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store:
        _fill(store, *range(1, 36))
        with monkeypatch.context() as patch:
            patch.setattr(packs.Packs, "unload", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                _journal(store).tidy(age=0)
        _must_be_whole(store, 35)
        _journal(store).shelf.remove([_journal(store)._name(number) for number in (1, 2, 3)])
        _must_be_whole(store, 35)
        _journal(store).tidy(age=0)
        assert _alone(store) == list(range(21, 36))
        _must_be_whole(store, 35)


def test_damaged_commit_is_not_packed_and_named(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "lineage") as store:
        _fill(store, *range(1, 36))
        path = tmp_path / "lineage" / "commits" / "000000" / "000000013.json"
        path.write_text(path.read_text().replace("planted-13", "planted-xx"))
        with pytest.raises(StoreDamaged, match="commit 13"):
            _journal(store).tidy(age=0)
        assert _alone(store) == list(range(11, 36))
        (sentence,) = audit.fsck(store).damage
        assert "commit 13 is damaged" in sentence


def test_flipped_byte_in_a_pack_is_named_with_its_commit(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "lineage") as store:
        _fill(store, *range(1, 36))
        _journal(store).tidy(age=0)
        (path, _) = sorted((tmp_path / "lineage" / "packs").iterdir())
        path.write_text(path.read_text().replace("planted-7", "planted-x"))
    with lineage.open(tmp_path / "lineage") as store:
        (sentence,) = audit.fsck(store).damage
        assert "commit 7 is damaged" in sentence


def test_pack_that_was_cut_off_is_named_from_where_it_ends(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "lineage") as store:
        _fill(store, *range(1, 36))
        _journal(store).tidy(age=0)
        (path, _) = sorted((tmp_path / "lineage" / "packs").iterdir())
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:8]))
    with lineage.open(tmp_path / "lineage") as store:
        damage = audit.fsck(store).damage
        assert [d for d in damage if "commit 9 is not there" in d]
        assert [d for d in damage if "commit 10 is not there" in d]


def test_redaction_reaches_what_is_packed(store: Lineage) -> None:
    with store:
        _fill(store, *range(1, 36))
        _journal(store).tidy(age=0)
        assert audit.redact(store, "model:v5", "leak") == 1
        _must_hold_nowhere(store, b"planted-5")
        report = audit.fsck(store)
        assert report.is_clean, report.damage
        assert report.redacted == 1


def test_redaction_reaches_what_is_packed_and_lies_alone_too(store: Lineage) -> None:
    with store, lineage.open(store.journal.address) as other:
        _fill(store, *range(1, 36))
        _journal(other).tidy()  # which this one knows nothing of
        assert audit.redact(store, "model:v5", "leak") == 1
        _must_hold_nowhere(store, b"planted-5")
        _journal(other).tidy(age=0)
        _must_hold_nowhere(store, b"planted-5")
        assert audit.fsck(store).is_clean


def test_redaction_does_not_undo_that_of_another_host(store: Lineage) -> None:
    with store, lineage.open(store.journal.address) as other:
        _fill(store, *range(1, 36))
        _journal(store).tidy(age=0)
        assert [c.number for c in store.journal.read(0, 10)] == list(range(1, 11))  # held from now
        assert audit.redact(other, "model:v5", "leak") == 1
        assert audit.redact(store, "model:v6", "leak") == 1
        for text in (b"planted-5", b"planted-6"):
            _must_hold_nowhere(store, text)
        assert audit.fsck(store).is_clean


def test_redaction_in_the_middle_of_packing_is_not_undone(
    store: Lineage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store, lineage.open(store.journal.address) as other:
        _fill(store, *range(1, 36))
        real = packs.Packs.make

        def redact_first(self: packs.Packs, commits: list[Commit]) -> packs.Pack:
            if commits[0].number == 1:  # they were read, and are not packed yet
                assert audit.redact(other, "model:v5", "leak") == 1
            return real(self, commits)

        monkeypatch.setattr(packs.Packs, "make", redact_first)
        _journal(store).tidy()  # what lies alone stays for an hour
        _must_hold_nowhere(store, b"planted-5")
        assert audit.fsck(other).is_clean


def test_copy_begins_with_packs(store: Lineage, address_of: Callable[[str, str], str]) -> None:
    with store:
        _fill(store, *range(1, 36))
        _journal(store).tidy(age=0)
        address = address_of("directory" if store.journal.kind == "directory" else "objects", "new")
        with closing(open_journal(address, adopting=True)) as target:
            copy_journal(store.journal, target)
    with lineage.open(address) as copy:
        assert _alone(copy) == list(range(31, 37))
        assert copy.commit(publish(path="/36")).version == ("model", 36)
        report = audit.fsck(copy)
        assert report.is_clean, report.damage


def _must_hold_nowhere(store: Lineage, text: bytes) -> None:
    shelf = _journal(store).shelf
    for name in shelf.names("packs"):
        assert text + b'"' not in shelf.read(f"packs/{name}"), name
    for number in _alone(store):
        assert text + b'"' not in shelf.read(_journal(store)._name(number)), number


def test_writer_has_its_store_packed_and_does_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NumberedJournal, "_tidy_soon", TIDY_SOON)
    monkeypatch.setattr(numbered, "BATCH", 3000)  # when to look; the other process packs 1,000
    folder = tmp_path / "lineage" / "packs"
    with lineage.open(tmp_path / "lineage") as store:
        journal = _journal(store)
        for number in range(1, 3001):
            with journal.turn() as turn:
                entry = Entry(
                    f"w-{number}", "2026-01-01", publish(path=f"/{number}", number=number)
                )
                marks = {"w": Mark(number)}
                turn.append(
                    Commit.make(
                        journal.id, turn.head, [entry], writers=marks, recorded="2026-01-01"
                    )
                )
        deadline = time.monotonic() + 60
        while not (folder.is_dir() and list(folder.iterdir())):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_reading_and_writing_go_on_while_old_commits_are_packed(tmp_path: Path) -> None:
    place = tmp_path / "lineage"
    with lineage.open(place) as store:
        _fill(store, *range(1, 101))
        over = threading.Event()
        faults: list[str] = []

        def tidy() -> None:
            with lineage.open(place) as other:
                while not over.is_set():
                    _journal(other).tidy(age=0)

        def read() -> None:
            with lineage.open(place) as other:
                while not over.is_set():
                    numbers = [commit.number for commit in other.journal.read()]
                    if numbers != list(range(1, len(numbers) + 1)):
                        faults.append(f"{numbers}")

        threads = [threading.Thread(target=act) for act in (tidy, read, read)]
        for thread in threads:
            thread.start()
        _fill(store, *range(101, 301))
        over.set()
        for thread in threads:
            thread.join()
        assert faults == []
        _must_be_whole(store, 300)


def test_writer_starts_a_process_once_in_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str, ...]] = []
    monkeypatch.setattr(NumberedJournal, "_tidy_soon", TIDY_SOON)
    monkeypatch.setattr(numbered, "start", lambda *words: started.append(words))
    with lineage.open(tmp_path / "lineage") as store:
        _fill(store, *range(1, 10))
        assert started == []
        _fill(store, *range(10, 31))
        assert started == [("upkeep", store.journal.address)]


def test_started_process_packs(tmp_path: Path) -> None:
    with lineage.open(tmp_path / "lineage") as store:
        _fill(store, *range(1, 61))
        assert upkeep.main([store.journal.address]) == 0
        assert len(list((tmp_path / "lineage" / "packs").iterdir())) == 5
        _must_be_whole(store, 60)
