"""The promises of ``Journal``, each as a test that any journal can be put through."""

from __future__ import annotations

import os
import sqlite3
import threading
from abc import ABC, abstractmethod
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from ..combine import Combiner
from ..commits import GENESIS, Commit, Entry, Mark
from ..errors import Conflict, PublishRefused, StoreDamaged
from ..events import AliasMoved, Deleted, Published, RunStarted, Sealed
from ..journal.base import HeadMoved
from ..journal.ledger import LEDGER_SCHEMA, Ledger
from ..model import Location, VersionId
from .records import publish

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..journal.base import Journal

__all__ = ["JournalSuite", "LastingJournalSuite"]


class JournalSuite(ABC):
    """Subclass it, say how the journal is opened, and pytest runs it all."""

    @abstractmethod
    def open_journal(self, place: Path) -> Journal:
        """Open the journal at a place, and make it when it is not there."""

    @pytest.fixture
    def journal(self, tmp_path: Path) -> Iterator[Journal]:
        """An empty journal."""
        journal = self.open_journal(tmp_path)
        yield journal
        journal.close()

    @pytest.fixture
    def combiner(self, journal: Journal) -> Combiner:
        """What writes to it."""
        return Combiner(journal, {"host": "host"})

    # ------------------------------------------------------------- 1. append

    def test_new_journal_is_empty(self, journal: Journal) -> None:
        assert journal.head() == GENESIS
        assert list(journal.read()) == []

    def test_what_was_appended_is_read_back(self, journal: Journal) -> None:
        commit = self._append(journal, "w", 1)
        assert list(journal.read()) == [commit]
        assert journal.head() == commit.head

    def test_append_behind_the_head_is_refused_and_writes_nothing(self, journal: Journal) -> None:
        stale = Commit.make(
            journal.id, GENESIS, [_entry("a", 1)], writers={"a": Mark(1)}, recorded="2026"
        )
        self._append(journal, "b", 1)
        with pytest.raises(HeadMoved), journal.turn() as turn:
            turn.append(stale)
        assert [entry.id for commit in journal.read() for entry in commit.entries] == ["b-1"]

    def test_turn_without_append_changes_nothing(self, journal: Journal) -> None:
        with journal.turn() as turn:
            turn.ledger.apply(_entry("w", 1, publish(number=1)))
        with journal.turn() as turn:
            assert turn.ledger.artifact("model") is None
        assert journal.head() == GENESIS

    def test_error_inside_a_turn_changes_nothing(self, journal: Journal) -> None:
        def fail() -> None:
            with journal.turn() as turn:
                turn.ledger.apply(_entry("w", 1, publish(number=1)))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        with journal.turn() as turn:
            assert turn.ledger.artifact("model") is None

    # ------------------------------------------------------------- 2. a chain

    def test_commits_are_numbered_and_linked(self, journal: Journal, combiner: Combiner) -> None:
        for at in range(5):
            combiner.commit(publish(path=f"/out/{at}"))
        commits = list(journal.read())
        assert [commit.number for commit in commits] == [1, 2, 3, 4, 5]
        assert [c.previous for c in commits] == ["", *(c.hash for c in commits[:-1])]
        assert [commit.recorded for commit in commits] == sorted(c.recorded for c in commits)

    def test_reading_begins_anywhere(self, journal: Journal, combiner: Combiner) -> None:
        for at in range(5):
            combiner.commit(publish(path=f"/out/{at}"))
        assert [commit.number for commit in journal.read(2, 4)] == [3, 4]

    def test_ledger_equals_a_replay(self, journal: Journal, combiner: Combiner) -> None:
        combiner.commit(RunStarted(run="run", name="train"))
        one = combiner.commit(publish(aliases=("best",))).version
        two = combiner.commit(publish(content="b", key="once")).version
        assert one is not None
        assert two is not None
        combiner.commit(AliasMoved(name="model", alias="best", to=2))
        combiner.commit(Sealed(version=two, digest="blake3:" + "0" * 64))
        combiner.commit(Deleted(version=two))
        combiner.commit(Deleted(version=Location("/nobody/knows"), seen=True))
        with _empty_ledger() as replayed, journal.turn() as turn:
            for commit in journal.read():
                replayed.take(commit)
            assert turn.ledger.dump() == replayed.dump()

    def test_relearned_ledger_is_the_same(self, journal: Journal, combiner: Combiner) -> None:
        combiner.commit(publish(aliases=("best",)))
        with journal.turn() as turn:
            before = turn.ledger.dump()
        journal.relearn()
        with journal.turn() as turn:
            assert turn.ledger.dump() == before

    def test_blank_payload_leaves_the_chain_whole(
        self, journal: Journal, combiner: Combiner
    ) -> None:
        combiner.commit(publish(metadata={"note": "hunter2"}))
        combiner.commit(publish(path="/out/2"))
        (commit,) = journal.read(0, 1)
        journal.blank(1, commit.entries[0].id, commit.entries[0].event.skeleton())
        blanked, following = journal.read()
        assert blanked.is_blank(0)
        assert "hunter2" not in blanked.text
        assert following.previous == blanked.hash == commit.hash
        event = blanked.entries[0].event
        assert isinstance(event, Published)
        assert event.version == VersionId("model", 1)

    def test_missing_commit_is_named(self, journal: Journal) -> None:
        with pytest.raises(StoreDamaged) as caught:
            list(journal.read(0, 1))
        assert caught.value.commit == 1

    # ------------------------------------------------------------ the decisions

    def test_numbers_have_no_gaps(self, combiner: Combiner) -> None:
        versions = [combiner.commit(publish(path=f"/out/{at}")).version for at in range(3)]
        assert versions == [("model", 1), ("model", 2), ("model", 3)]

    def test_refused_record_takes_no_number(self, combiner: Combiner) -> None:
        combiner.commit(publish())
        with pytest.raises(PublishRefused):
            combiner.commit(publish(path="/out/2", type="dataset"))
        assert combiner.commit(publish(path="/out/3")).version == ("model", 2)

    def test_alias_moves_only_from_where_it_was_expected(self, combiner: Combiner) -> None:
        combiner.commit(publish(aliases=("best",)))
        combiner.commit(publish(path="/out/2"))
        with pytest.raises(Conflict):
            combiner.commit(AliasMoved(name="model", alias="best", to=2), expect=2)
        combiner.commit(AliasMoved(name="model", alias="best", to=2), expect=1)

    # ---------------------------------------------------------------- the intake

    def test_pending_record_is_taken_once(self, journal: Journal, combiner: Combiner) -> None:
        writer = journal.intakes.writer({})
        record = writer.append(publish())
        assert combiner.combine() == 1
        assert combiner.combine() == 0
        assert [e.id for commit in journal.read() for e in commit.entries] == [record]

    def test_commit_takes_all_that_is_pending(self, journal: Journal, combiner: Combiner) -> None:
        writers = [journal.intakes.writer({}) for _ in range(3)]
        for at in range(6):
            writers[at % 3].append(publish(path=f"/out/{at}"))
        assert combiner.commit(publish(path="/out/last")).version == ("model", 7)
        (commit,) = journal.read()
        assert len(commit.entries) == 7

    def test_late_record_never_becomes_the_newest(
        self, journal: Journal, combiner: Combiner
    ) -> None:
        # the direct commit does not see this folder, as it would not see another host's
        writer = journal.intakes.writer({})
        event = publish(path="/out/old")
        writer.append(event)
        pending = journal.intakes.pending(lambda _: Mark(0))
        assert pending
        with journal.turn() as turn:
            commit = Commit.make(
                journal.id,
                turn.head,
                [Entry("other-1", "2099-01-01T00:00:00.000000Z", publish(number=1))],
                writers={"other": Mark(1)},
                recorded="2099-01-01T00:00:00.000000Z",
            )
            turn.ledger.take(commit)
            turn.append(commit)
        combiner.combine()
        *_, last = journal.read()
        late = last.entries[0].event
        assert isinstance(late, Published)
        assert late.number == 2
        assert late.late

    # -------------------------------------------------------- 3. many writers

    def test_threads_lose_and_duplicate_nothing(self, journal: Journal, combiner: Combiner) -> None:
        found: list[object] = []

        def work(thread: int) -> None:
            found.extend(
                combiner.commit(publish(path=f"/{thread}/{at}")).version for at in range(20)
            )

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found, key=str) == sorted([("model", n) for n in range(1, 81)], key=str)
        assert len(list(journal.read())) == 80

    # ------------------------------------------------------------------ helpers

    @staticmethod
    def _append(journal: Journal, writer: str, sequence: int) -> Commit:
        with journal.turn() as turn:
            entry = _entry(writer, sequence)
            commit = Commit.make(
                journal.id, turn.head, [entry], writers={writer: Mark(sequence)}, recorded="2026"
            )
            turn.ledger.take(commit)
            try:
                turn.append(commit)
            except HeadMoved:  # a slow journal may begin behind the head, once
                moved = True
            else:
                return commit
        assert moved
        return JournalSuite._append(journal, writer, sequence)


class LastingJournalSuite(JournalSuite):
    """What journals promise beyond that when they outlive their object and their process."""

    def test_reopened_journal_is_the_same(self, tmp_path: Path) -> None:
        first = self.open_journal(tmp_path)
        commits = [self._append(first, "w", 1), self._append(first, "w", 2)]
        first.close()
        second = self.open_journal(tmp_path)
        assert second.id == first.id
        assert list(second.read()) == commits
        second.close()

    def test_journal_opened_twice_shows_both_the_same(self, tmp_path: Path) -> None:
        first, second = self.open_journal(tmp_path), self.open_journal(tmp_path)
        for sequence in (1, 2, 3):
            self._append(first if sequence % 2 else second, "w", sequence)
        assert first.head() == second.head()
        assert list(first.read()) == list(second.read())
        first.close()
        second.close()

    def test_forked_child_and_parent_both_write(self, tmp_path: Path) -> None:
        journal = self.open_journal(tmp_path)
        combiner = Combiner(journal, {})
        combiner.commit(publish())
        child = os.fork()
        if child == 0:  # pragma: no cover - counted in the parent
            status = 1
            try:
                version = combiner.commit(publish(path="/child")).version
                status = 0 if version is not None else 2
            finally:
                os._exit(status)
        version = combiner.commit(publish(path="/parent")).version
        assert os.waitpid(child, 0)[1] == 0
        assert version is not None
        assert len(list(journal.read())) == 3
        assert combiner.commit(publish(path="/after")).version == ("model", 4)
        journal.close()


def _entry(writer: str, sequence: int, event: Published | None = None) -> Entry:
    if event is None:
        event = publish(path=f"/{writer}/{sequence}", number=sequence, name=writer)
    return Entry(f"{writer}-{sequence}", "2026-01-01T00:00:00.000000Z", event)


@contextmanager
def _empty_ledger() -> Iterator[Ledger]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.executescript(LEDGER_SCHEMA)
        yield Ledger(db)
