"""Every journal passes the shipped suite."""

from __future__ import annotations

from pathlib import Path

from nemotron.lineage.journal.base import Journal
from nemotron.lineage.journal.directory import DirectoryJournal
from nemotron.lineage.journal.memory import MemoryJournal
from nemotron.lineage.journal.sqlite import SQLiteJournal
from nemotron.lineage.testing import (
    Faults,
    FaultyFiles,
    FaultyJournalSuite,
    JournalSuite,
    LastingJournalSuite,
    store_machine,
)


class TestMemoryJournal(JournalSuite):
    def open_journal(self, place: Path) -> Journal:
        return MemoryJournal()


class TestSQLiteJournal(LastingJournalSuite):
    def open_journal(self, place: Path) -> Journal:
        return SQLiteJournal(place / "lineage.db")


class TestDirectoryJournal(LastingJournalSuite):
    def open_journal(self, place: Path) -> Journal:
        return DirectoryJournal(place / "lineage")


class TestDirectoryJournalInMemory(LastingJournalSuite):
    """As on a host without a local disk."""

    def open_journal(self, place: Path) -> Journal:
        return DirectoryJournal(place / "lineage", cache=None)


class TestDirectoryJournalWithFaults(FaultyJournalSuite):
    def open_journal(self, place: Path, host: str, delay: float) -> tuple[Journal, Faults]:
        files = FaultyFiles(delay)
        journal = DirectoryJournal(place / "lineage", files=files, cache=str(place / host))
        return journal, files


TestMemoryStates = store_machine(lambda _, clock: MemoryJournal(clock=clock))
TestSQLiteStates = store_machine(lambda place, clock: SQLiteJournal(place / "s.db", clock=clock))
TestDirectoryStates = store_machine(lambda place, clock: DirectoryJournal(place / "s", clock=clock))
