"""What a mirror has not heard of yet: one row a subject, in a file that may be lost at any time.

The rows follow from the journal: an event makes its subject due, a receipt takes it back. What a
process knows beyond that (attempts, the server's words, what arrived and has no receipt yet) saves
work and is no truth: without it, everything that has no receipt is looked up and delivered anew.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from ..events import Imported, Published, Receipt
from ..journal.projection import Projection, position
from ..metadata import canonical_json
from .base import Due

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from ..commits import Commit
    from ..journal.base import Journal
    from ..model import VersionId
    from .base import Mirror

__all__ = ["Arrived", "Dead", "Deliveries", "Waiting"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS due(
    subject TEXT PRIMARY KEY, run TEXT NOT NULL, place INTEGER NOT NULL, upto INTEGER NOT NULL,
    arrived INTEGER NOT NULL DEFAULT 0, facts TEXT, attempts INTEGER NOT NULL DEFAULT 0,
    next REAL NOT NULL DEFAULT 0, dead INTEGER NOT NULL DEFAULT 0, words TEXT,
    since TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS due_run ON due(run, place);
CREATE TABLE IF NOT EXISTS producer(
    name TEXT NOT NULL, number INTEGER NOT NULL, run TEXT NOT NULL, PRIMARY KEY(name, number))
    WITHOUT ROWID;
"""
_OPEN = "upto>arrived AND dead=0"
_POSITIONS = 20  # bits of a row's place that tell the position in its commit


class Arrived(NamedTuple):
    """A subject that arrived and has no receipt yet."""

    subject: str
    facts: dict[str, Any]


class Waiting(NamedTuple):
    """What is left of one run."""

    run: str
    left: int
    since: str  # when the journal took the oldest of it


class Dead(NamedTuple):
    """A subject that the outside system refused."""

    subject: str
    run: str
    words: str


class Deliveries(Projection):
    """The rows of one mirror.

    Args:
        journal: what is delivered from.
        mirror: says which subjects an event changes.
        private: keep the rows in memory.
        after: number of the commit behind which to begin; only for private rows.
    """

    def __init__(
        self, journal: Journal, mirror: Mirror, *, private: bool = False, after: int = 0
    ) -> None:
        self._mirror = mirror
        self._doubting = False
        super().__init__(journal, f"mirror-{mirror.name}-1", _SCHEMA, private=private)
        if private and after:
            (commit,) = journal.read(after - 1, after)
            with self.writing() as db:
                self.settle(db, commit.head)

    # -------------------------------------------------------------- from the journal

    def _take(self, db: sqlite3.Connection, commit: Commit) -> None:
        def producer(version: VersionId) -> str | None:
            row = db.execute(
                "SELECT run FROM producer WHERE name=? AND number=?", version
            ).fetchone()
            return str(row[0]) if row else None

        for at, entry in enumerate(commit.entries):
            event = entry.event
            if isinstance(event, (Published, Imported)):
                values = (*event.version, event.run or "")
                db.execute("INSERT OR REPLACE INTO producer VALUES(?,?,?)", values)
            if isinstance(event, Receipt):
                if event.mirror == self._mirror.name and not self._doubting:
                    self._receipt(db, event, commit.number)
                continue
            for due in self._mirror.concerns(entry, producer):
                place = commit.number << _POSITIONS | at
                db.execute(
                    "INSERT INTO due(subject, run, place, upto, since) VALUES(?,?,?,?,?)"
                    " ON CONFLICT(subject) DO UPDATE SET upto=excluded.upto, next=0",
                    (due.subject, due.run, place, commit.number, commit.recorded),
                )

    def _receipt(self, db: sqlite3.Connection, event: Receipt, number: int) -> None:
        for subject, facts in event.delivered.items():
            if facts.get("offline"):
                continue  # it has a name there, and nobody there has heard of it
            db.execute(
                "UPDATE due SET arrived=max(arrived, ?), facts=NULL WHERE subject=?",
                (facts.get("upto", number), subject),
            )
            db.execute("DELETE FROM due WHERE subject=? AND upto<=arrived", (subject,))

    # ------------------------------------------------------------------------ asking

    def runs(self) -> list[Waiting]:
        """Return the runs with something left, in the order of the journal."""
        with self.reading() as db:
            rows = db.execute(
                f"SELECT run, count(*), min(since) FROM due WHERE {_OPEN} GROUP BY run"
                " ORDER BY min(place)"
            ).fetchall()
        return [Waiting(*row) for row in rows]

    def of(self, run: str, now: float) -> list[Due]:
        """Return what may be tried now of a run, in the order of the journal."""
        with self.reading() as db:
            rows = db.execute(
                "SELECT subject, run, upto, attempts, place FROM due"
                f" WHERE run=? AND {_OPEN} AND next<=? ORDER BY place",
                (run, now),
            ).fetchall()
        return [
            Due(subject, run, upto, attempts, divmod(place, 1 << _POSITIONS))
            for subject, run, upto, attempts, place in rows
        ]

    def dead(self) -> list[Dead]:
        """Return what was refused, with the outside system's words."""
        with self.reading() as db:
            rows = db.execute("SELECT subject, run, words FROM due WHERE dead=1 ORDER BY place")
            return [Dead(*row) for row in rows.fetchall()]

    def words(self) -> str | None:
        """Return why the last attempt that has to be repeated failed, or None."""
        with self.reading() as db:
            row = db.execute(
                f"SELECT words FROM due WHERE {_OPEN} AND words NOT NULL ORDER BY next DESC LIMIT 1"
            ).fetchone()
        return row[0] if row else None

    def is_trying(self) -> bool:
        """Tell whether something failed and is to be tried again."""
        with self.reading() as db:
            found = db.execute(f"SELECT 1 FROM due WHERE {_OPEN} AND attempts>0 LIMIT 1")
            return found.fetchone() is not None

    def arrived(self) -> list[Arrived]:
        """Return what arrived and has no receipt yet."""
        with self.reading() as db:
            rows = db.execute("SELECT subject, facts FROM due WHERE facts NOT NULL ORDER BY place")
            return [Arrived(subject, json.loads(facts)) for subject, facts in rows.fetchall()]

    def next_try(self, run: str) -> float:
        """Return when the first of what is left of a run may be tried again."""
        with self.reading() as db:
            (found,) = db.execute(
                f"SELECT min(next) FROM due WHERE run=? AND {_OPEN}", (run,)
            ).fetchone()
        return float(found or 0)

    # ----------------------------------------------------------------------- noting

    def note_arrived(self, due: Due, facts: Mapping[str, Any]) -> None:
        """Note that a subject arrived; a receipt is to be written."""
        self._change(
            "INSERT INTO due(subject, run, place, upto, arrived, facts, since)"
            " VALUES(?,?,0,?,?,?,'') ON CONFLICT(subject) DO UPDATE SET"
            " arrived=max(arrived, excluded.arrived), facts=excluded.facts, attempts=0, words=NULL",
            due.subject, due.run, due.upto, due.upto,
            canonical_json({**facts, "upto": due.upto}),
        )  # fmt: skip

    def note_failed(self, due: Due, words: str, next_try: float) -> None:
        """Note a vain attempt, and when to make the next one."""
        self._note("attempts=attempts+1, words=?, next=?", due.subject, words, next_try)

    def note_waiting(self, due: Due, words: str, next_try: float) -> None:
        """Note that a subject waits for another one."""
        self._note("words=?, next=?", due.subject, words, next_try)

    def note_dead(self, due: Due, words: str) -> None:
        """Note that a subject was refused."""
        self._note("dead=1, words=?", due.subject, words)

    def revive(self) -> int:
        """Have everything that was refused, or that waits, tried again now; return how many."""
        return self._change(f"UPDATE due SET dead=0, attempts=0, next=0 WHERE dead=1 OR ({_OPEN})")

    def doubt(self) -> None:
        """Forget what receipts say: everything is looked up again, and what is gone delivered."""
        with self.writing() as db:
            db.execute("DELETE FROM due")
            here = position(db)
            self._doubting = True
            try:
                for commit in self._journal.read(0, here.number):
                    self._take(db, commit)
            finally:
                self._doubting = False
            self.settle(db, here)

    def _note(self, what: str, subject: str, *values: object) -> None:
        self._change(f"UPDATE due SET {what} WHERE subject=?", *values, subject)

    def _change(self, statement: str, *values: object) -> int:
        with self.writing() as db:
            count = db.execute(statement, values).rowcount
            self.settle(db, position(db))
            return count
