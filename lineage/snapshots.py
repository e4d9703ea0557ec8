"""Snapshots of the index and the ledger: when one is due, and making it from what this host has.

What is made stands on the journal's shelf, where a host with an empty cache finds it: the whole
index, the whole ledger, and the small part that answers ``resolve``.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from .background import start
from .clock import write_time
from .errors import StoreError, StoreUnsuitable
from .events import Redacted
from .files import Files
from .index.pages import LOOKUP_TABLES, write_pages
from .index.project import Index
from .index.schema import NAME as INDEX
from .journal.projection import LEFTOVER, remove_leftovers
from .journal.shared import SharedJournal
from .journal.snapshots import Snapshots

if TYPE_CHECKING:
    from .journal.base import Journal
    from .journal.snapshots import Note

__all__ = ["Notice", "is_due", "make_snapshots"]

_FEWEST = 5000  # commits between snapshots, or ...
_SHARE = 50  # ... one part in so many of the journal, as long as that is more
_UNDER_WAY = timedelta(hours=1)  # after its declaration a redaction may still be at work


def is_due(journal: Journal, number: int) -> bool:
    """Tell whether a journal that stands at a commit is due for a snapshot."""
    if journal.read_only or journal.shelf is None or not isinstance(journal, SharedJournal):
        return False
    return number - Snapshots(journal).number(LOOKUP_TABLES) >= _distance(number)


def _distance(number: int) -> int:
    return max(_FEWEST, number // _SHARE)


class Notice:
    """Notices, where a store is read, that a snapshot is due, and has another process make it."""

    def __init__(self, journal: Journal) -> None:
        self._journal, self._next = journal, _FEWEST

    def look(self, number: int) -> None:
        """Look, if there are so many more commits than last time. Never fails."""
        if number < self._next:
            return
        self._next = number + _distance(number)
        if self._journal.cache is None:
            return
        try:
            if is_due(self._journal, number):
                start("upkeep", self._journal.address)
        except (StoreError, OSError):  # a snapshot is nobody's need
            pass


def make_snapshots(journal: Journal) -> list[Note]:
    """Leave snapshots of the journal as it stands for hosts that come later.

    Writers and readers go on meanwhile. What was redacted is in none: after a redaction the tables
    are made anew from the commits, and within an hour of one nothing is made.

    Returns:
        The notes of the snapshots, none where a redaction may be under way.

    Raises:
        StoreUnsuitable: a journal that only this host sees has no need of them.
        StoreReadOnly, StoreFull, StoreUnreachable, OSError: they could not be written.
    """
    if not isinstance(journal, SharedJournal):
        raise StoreUnsuitable(f"{journal.address} is seen by one host alone; it needs no snapshots")
    parent = journal.cache
    if parent is not None:
        Files().make_folder(parent)
        remove_leftovers(parent)
    snapshots, head = Snapshots(journal), journal.head()
    with tempfile.TemporaryDirectory(prefix=LEFTOVER, dir=parent) as folder:
        with closing(Index(journal)) as index:
            index.catch_up(head)
            anew = _redactions(index)
            if anew and _recent(journal, anew):
                return []
            copy, rows = f"{folder}/index", index.copy_to(f"{folder}/index")
        apart = f"{folder}/apart" if anew else None
        if apart is not None:
            os.unlink(copy)
            with closing(Index(journal, folder=apart)) as index:
                index.catch_up(head)
                rows = index.copy_to(copy)
        tables = journal.ledger_tables(apart)
        tables.catch_up(head)
        told = tables.copy_to(f"{folder}/ledger")
        if apart is not None:
            tables.close()
        with (
            closing(sqlite3.connect(copy)) as index_db,
            closing(sqlite3.connect(f"{folder}/ledger")) as ledger_db,
        ):
            detail = write_pages(index_db, ledger_db, f"{folder}/pages")
        notes = [
            snapshots.put("ledger-1", told, f"{folder}/ledger", {}),
            snapshots.put(INDEX, rows, copy, {}),
            snapshots.put(LOOKUP_TABLES, rows, f"{folder}/pages", detail),
        ]
    later = journal.read(min(rows.number, told.number), journal.head().number)
    if any(isinstance(entry.event, Redacted) for commit in later for entry in commit.entries):
        snapshots.remove_all()
        return []
    return notes


def _redactions(index: Index) -> int:
    """Return the commit of the last redaction, 0 for none."""
    with index.reading() as db:
        row = db.execute("SELECT max(commit_number) FROM fact WHERE kind='redacted'").fetchone()
    return row[0] or 0


def _recent(journal: Journal, number: int) -> bool:
    (commit,) = journal.read(number - 1, number)
    return commit.recorded > write_time(datetime.now(UTC) - _UNDER_WAY)
