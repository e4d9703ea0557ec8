"""The tables of the ledger, and how they follow commits. Their form is frozen.

Releases that differ in everything else agree on these tables.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..clock import read_time
from ..events import (
    AliasMoved,
    Deleted,
    Event,
    Found,
    Held,
    Imported,
    JobPinned,
    Missing,
    Published,
    Relocated,
    Replaced,
    RunEnded,
    RunStarted,
    Sealed,
    SucceededBy,
    Unknown,
)
from ..metadata import canonical_json
from ..model import Location, VersionId

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from ..commits import Commit, Entry

__all__ = ["LEDGER_SCHEMA", "LEDGER_TABLES", "LedgerTables", "place_key"]

# No RETURNING, no STRICT: SQLite 3.34 of the RHEL 9 family reads and writes this.
LEDGER_SCHEMA = """
CREATE TABLE IF NOT EXISTS ledger_writer(
    id TEXT PRIMARY KEY, sequence INTEGER NOT NULL, offset INTEGER NOT NULL, outcome TEXT)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger_artifact(
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, type TEXT NOT NULL, next INTEGER NOT NULL,
    origin TEXT, newest TEXT NOT NULL, newest_writer TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS ledger_version(
    artifact INTEGER NOT NULL, number INTEGER NOT NULL, state TEXT NOT NULL, place BLOB, run TEXT,
    fingerprint TEXT, digest TEXT, origin TEXT, held TEXT,
    PRIMARY KEY(artifact, number)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ledger_place ON ledger_version(place);
CREATE TABLE IF NOT EXISTS ledger_orphan(
    place BLOB NOT NULL, event TEXT NOT NULL, occurred TEXT NOT NULL, kind TEXT NOT NULL,
    payload TEXT NOT NULL, PRIMARY KEY(place, event)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger_alias(
    artifact INTEGER NOT NULL, alias TEXT NOT NULL, number INTEGER, revision INTEGER NOT NULL,
    PRIMARY KEY(artifact, alias)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger_once(
    key TEXT PRIMARY KEY, artifact INTEGER NOT NULL, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger_run(
    id TEXT PRIMARY KEY, status TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger_job(id TEXT PRIMARY KEY, pins TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger_state(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
LEDGER_TABLES = (
    "writer", "artifact", "version", "orphan", "alias", "once", "run", "job", "state",
)  # fmt: skip

_AFTER_THE_END = timedelta(hours=1)  # far above what clocks differ and caches of NFS last


class LedgerTables:
    """Applies commits to the tables on one SQLite connection; the caller owns the transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def take(self, commit: Commit) -> None:
        """Apply a whole commit."""
        for entry in commit.entries:
            self.apply(entry)
        self.advance(commit)

    def relearn(self, commits: Iterable[Commit]) -> None:
        """Forget everything and apply commits from the first on."""
        for table in LEDGER_TABLES:
            self._run(f"DELETE FROM ledger_{table}")
        for commit in commits:
            self.take(commit)

    def advance(self, commit: Commit) -> None:
        """Note how far each writer's records were taken by a commit, and to what they came."""
        outcomes = {}
        for entry in commit.entries:
            version = getattr(entry.event, "version", None)
            if entry.is_record and isinstance(version, VersionId):
                outcomes[entry.writer] = str(version)
        self._db.executemany(
            "INSERT INTO ledger_writer VALUES(?,?,?,?) ON CONFLICT(id) DO UPDATE SET"
            " sequence=excluded.sequence, offset=max(offset, excluded.offset),"
            " outcome=excluded.outcome",
            [(writer, *mark, outcomes.get(writer)) for writer, mark in commit.writers.items()],
        )

    def apply(self, entry: Entry) -> None:
        """Apply one closed event."""
        match entry.event:
            case Published() as event:
                self._published(entry, event)
            case Imported() as event:
                self._imported(entry, event)
            case AliasMoved() as event:
                self._run(
                    "INSERT INTO ledger_alias SELECT id,?,?,? FROM ledger_artifact WHERE name=?"
                    " ON CONFLICT(artifact, alias) DO UPDATE SET number=excluded.number,"
                    " revision=excluded.revision",
                    event.alias, event.to, event.revision, event.name,
                )  # fmt: skip
            case RunStarted() as event:
                self._run("INSERT OR IGNORE INTO ledger_run VALUES(?,'running')", event.run)
                if event.intake is not None and not self.is_declared(event.run, event.intake):
                    self._declare(event.run, event.intake)
                self._forget_intakes(entry.occurred)
            case RunEnded() as event:
                self._run(
                    "INSERT INTO ledger_run VALUES(?,?)"
                    " ON CONFLICT(id) DO UPDATE SET status=excluded.status",
                    event.run, event.status,
                )  # fmt: skip
                self._end_intakes(event.run, entry.occurred)
                self._forget_intakes(entry.occurred)
            case JobPinned() as event:
                pins = canonical_json(dict(event.pins))
                self._run("INSERT OR IGNORE INTO ledger_job VALUES(?,?)", event.job, pins)
            case SucceededBy() as event:
                self._run("INSERT INTO ledger_state VALUES('successor',?)", event.journal)
            case Unknown(vital=True) as event:
                self._run("INSERT OR IGNORE INTO ledger_state VALUES('unknown',?)", event.name)
            case event if isinstance(getattr(event, "version", None), Location):
                self._orphan(entry, event)
            case event:
                self._about_version(event)

    def _declare(self, run: str, intake: str) -> None:
        """Have readers look into a folder; a run may record in several."""
        key = f"intake of {run}"
        if self._one("SELECT 1 FROM ledger_state WHERE key=?", key):
            key += f" {intake}"
        self._run("INSERT OR IGNORE INTO ledger_state VALUES(?,?)", key, intake)

    def _end_intakes(self, run: str, moment: str) -> None:
        """Go on looking into the folders of a run that ended for a while.

        Other ranks may end later, and a network filesystem may show their last records late.
        """
        mark = f"intake of {run}"
        for key, intake in self._intakes():
            if key.startswith(mark):
                self._run("DELETE FROM ledger_state WHERE key=?", key)
                ended = f"intake until {moment} of {run} {intake}"
                self._run("INSERT OR IGNORE INTO ledger_state VALUES(?,?)", ended, intake)

    def _forget_intakes(self, moment: str) -> None:
        """Forget folders of runs that ended long before."""
        for key, _ in self._intakes():
            ended = key.removeprefix("intake until ").partition(" ")[0] if "until" in key else None
            if ended and read_time(moment) - read_time(ended) > _AFTER_THE_END:
                self._run("DELETE FROM ledger_state WHERE key=?", key)

    def _intakes(self) -> list[tuple[str, str]]:
        return self._db.execute(
            "SELECT key, value FROM ledger_state WHERE key LIKE 'intake %'"
        ).fetchall()

    def _published(self, entry: Entry, event: Published) -> None:
        assert event.number is not None  # closed
        self._run(
            "INSERT INTO ledger_artifact(name,type,next,newest,newest_writer) VALUES(?,?,?,?,?)"
            " ON CONFLICT(name) DO UPDATE SET next=excluded.next, newest=excluded.newest,"
            " newest_writer=excluded.newest_writer"
            if not event.late
            else "INSERT INTO ledger_artifact(name,type,next,newest,newest_writer)"
            " VALUES(?,?,?,?,?) ON CONFLICT(name) DO UPDATE SET next=excluded.next",
            event.name, event.type, event.number + 1, entry.occurred, entry.writer,
        )  # fmt: skip
        self._settle(event)
        if event.key is not None:
            self._run(
                "INSERT OR IGNORE INTO ledger_once SELECT ?, id, ? FROM ledger_artifact"
                " WHERE name=?",
                event.key, event.number, event.name,
            )  # fmt: skip

    def _imported(self, entry: Entry, event: Imported) -> None:
        self._run(
            "INSERT INTO ledger_artifact(name,type,next,origin,newest,newest_writer)"
            " VALUES(?,?,?,?,?,?) ON CONFLICT(name) DO UPDATE SET next=max(next, excluded.next)",
            event.name, event.type, event.number + 1, str(event.origin.get("system")),
            event.created or entry.occurred, entry.writer,
        )  # fmt: skip
        self._settle(event)

    def _settle(self, event: Published | Imported) -> None:
        imported = isinstance(event, Imported)
        self._run(
            "INSERT OR IGNORE INTO ledger_version SELECT id,?,'live',?,?,?,?,?,NULL"
            " FROM ledger_artifact WHERE name=?",
            event.number, place_key(event.location) if event.location.path else None, event.run,
            event.fingerprint, event.digest,
            canonical_json(dict(event.origin or {})) if imported else None, event.name,
        )  # fmt: skip

    def _orphan(self, entry: Entry, event: Any) -> None:  # any event about a version
        payload = {key: value for key, value in event.payload().items() if key != "version"}
        self._run(
            "INSERT OR IGNORE INTO ledger_orphan VALUES(?,?,?,?,?)",
            place_key(event.version), entry.id, entry.occurred, event.kind, canonical_json(payload),
        )  # fmt: skip

    def _about_version(self, event: Event) -> None:
        version = getattr(event, "version", None)
        if not isinstance(version, VersionId):
            return
        match event:
            case Replaced():
                self._set("state='replaced'", version)
            case Deleted():
                self._set("state='deleted'", version)
            case Missing():
                self._set("state='missing'", version, "AND state='live'")
            case Found():
                self._set("state='live'", version, "AND state='missing'")
            case Sealed():
                self._set("digest=?", version, "", event.digest)
            case Relocated():
                self._set("place=?", version, "", place_key(event.location))
            case Held():
                self._set("held=?", version, "", (event.reason or "held") if event.held else None)
            case _:
                pass

    def _set(self, what: str, version: VersionId, when: str = "", *values: object) -> None:
        self._run(
            f"UPDATE ledger_version SET {what} WHERE number=? {when}"
            " AND artifact=(SELECT id FROM ledger_artifact WHERE name=?)",
            *values, version.number, version.name,
        )  # fmt: skip

    def _one(self, statement: str, *values: object) -> Any:  # a row
        return self._db.execute(statement, values).fetchone()

    def _run(self, statement: str, *values: object) -> None:
        self._db.execute(statement, values)

    def is_declared(self, run: str, intake: str) -> bool:
        """Tell whether readers look into a folder for the records of a run."""
        mark = f"intake of {run}"
        rows = self._db.execute("SELECT key FROM ledger_state WHERE value=?", (intake,))
        return any(key.startswith(mark) for (key,) in rows)


def place_key(location: Location) -> bytes:
    """Return the key of a place: 16 bytes, whatever the path's length."""
    return hashlib.sha256(location.key.encode("utf-8", "surrogateescape")).digest()[:16]
