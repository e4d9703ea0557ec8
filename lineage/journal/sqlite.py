"""A journal in one SQLite file: one host, a local disk, no server.

The commit point is a transaction (WAL, ``synchronous=FULL``) behind a ``Gate``. Beside the file
lies ``<file>.d/`` with the gate, the intake and the projections. Checkpoints happen only behind
the gate: inside a commit, or when the last connection closes (SQLite before 3.51.3 can lose data
when a checkpoint meets another connection's commit: sqlite.org/wal.html#walresetbug).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..clock import Clock, new_id
from ..commits import GENESIS, Commit, Head
from ..errors import (
    LineageError,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreNotFoundError,
    StoreReadOnly,
    StoreTooNew,
    StoreUnsuitable,
)
from ..files import Files, explain
from ..filesystems import FLEETING, LOCAL, filesystem, real_file
from ..intake import FolderIntakes
from ..process import PerProcess
from .base import GATE_TIMEOUT, Journal, Turn, absent, in_batches, must_follow
from .gate import Gate
from .ledger import LEDGER_SCHEMA, Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..intake import Intakes, Pending

__all__ = ["SQLiteJournal"]

FORMAT = "1"
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS journal(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS commits(
    number INTEGER PRIMARY KEY, hash TEXT NOT NULL, recorded TEXT NOT NULL, text TEXT NOT NULL);
{LEDGER_SCHEMA}
"""
_HEAD = "SELECT number, hash, recorded FROM commits ORDER BY number DESC LIMIT 1"
_INSERT = "INSERT INTO commits VALUES(?,?,?,?)"
_CLOSE_TIMEOUT = 1.0


class SQLiteJournal(Journal, PerProcess):
    """Opens or creates the journal at ``path``.

    Args:
        path: the database file.
        create: make it when it is not there.
        clock: for records of the intake.

    Raises:
        StoreNotFoundError: not there, and not to be created.
        StoreUnsuitable: the place is on a network or unknown filesystem, where SQLite's locks
            cannot be trusted.
    """

    kind = "sqlite"

    def __init__(
        self, path: str | os.PathLike[str], *, create: bool = True, clock: Clock | None = None
    ) -> None:
        self._path = real_file(path)
        self.address = f"sqlite:///{self._path}"
        self.cache = self._path + ".d"
        kind, name = filesystem(self._path)
        if kind not in (LOCAL, FLEETING):
            raise StoreUnsuitable(
                f"{self._path} is on {name}, a {kind} filesystem where SQLite's locks do not "
                f"hold; use a directory journal instead: {os.path.splitext(self._path)[0]}/"
            )
        intake = os.path.join(self.cache, "intake")
        self.intakes = FolderIntakes(intake, clock=clock, ours=self.is_ours)
        self._gate = Gate(os.path.join(self.cache, "gate"))
        super().__init__()
        if not os.path.exists(self._path):
            if not create:
                raise StoreNotFoundError(f"there is no store at {self._path}; check the path")
            self._create()
        self.read_only = not (
            os.access(self._path, os.W_OK) and os.access(os.path.dirname(self._path), os.W_OK)
        )
        if not self.read_only and not os.path.isdir(self.cache):  # the file alone was copied here
            with suppress(OSError):  # reading goes on without
                Files().make_folder(self.cache)
        self.id = self._read_identity()
        self._file = self._look()

    # -------------------------------------------------------------- life cycle

    def _begin(self) -> None:
        self._reading = threading.RLock()  # who peeks may also read commits
        self._reader: sqlite3.Connection | None = None
        self._change: tuple[int] | None = None
        self._head = GENESIS
        self._writer: sqlite3.Connection | None = None
        self._copy: tempfile.TemporaryDirectory[str] | None = None

    def _create(self) -> None:
        """Make the file aside and link it to its place: where there is a file, it is whole."""
        try:
            Files().make_folder(self.cache or "")
            with tempfile.TemporaryDirectory(prefix="lineage-") as folder:
                path = os.path.join(folder, "new.db")
                db = _connect(path)
                db.executescript("BEGIN;" + SCHEMA)
                values = [("id", new_id()), ("format", FORMAT)]
                db.executemany("INSERT INTO journal VALUES(?,?)", values)
                db.execute("COMMIT")
                db.close()
                with suppress(FileExistsError):  # another process was first: its id counts
                    Files().put_new(self._path, Files().read(path))
        except OSError as error:
            raise explain(error, self._path) from error

    def _look(self) -> tuple[int, int] | None:
        """Return which file is there: device and inode."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino

    def _read_identity(self) -> str:
        with self._read() as db:
            rows = dict(db.execute("SELECT key, value FROM journal"))
        if rows.get("format") != FORMAT:
            raise StoreTooNew(
                f"{self._path} has journal format {rows.get('format')}; this release reads "
                f"format {FORMAT}. Upgrade nemotron-lineage"
            )
        return str(rows["id"])

    def _connect_to_read(self) -> sqlite3.Connection:
        address = "file:" + quote(self._path)
        if not self.read_only:
            # mode=ro also means that closing this connection never runs a checkpoint
            return _probe(f"{address}?mode=ro")
        wal = self._path + "-wal"
        if not os.path.exists(wal) or os.path.getsize(wal) == 0:
            return _probe(f"{address}?mode=ro&immutable=1")
        try:
            return _probe(f"{address}?mode=ro")
        except sqlite3.OperationalError:
            # commits in the WAL, and no way to make its index here: read a copy of both
            self._copy = tempfile.TemporaryDirectory(prefix="lineage-")
            copy = os.path.join(self._copy.name, "copy.db")
            shutil.copyfile(self._path, copy)
            shutil.copyfile(wal, copy + "-wal")
            return _probe("file:" + quote(copy))

    def close(self) -> None:
        """Close the connections, behind the gate: closing the last one runs a checkpoint."""
        self._own()
        with self._reading:
            if self._reader is not None:
                self._reader.close()
                self._reader = self._change = None
            if self._copy is not None:
                self._copy.cleanup()
                self._copy = None
        if self._writer is not None:
            with suppress(StoreBusy), self._gate.passing(_CLOSE_TIMEOUT):
                self._writer.close()
            # if the gate is shut, the process's end closes it, without a checkpoint
            self._inherited.append({"writer": self._writer})
            self._writer = None
        self._gate.close()

    # ----------------------------------------------------------------- reading

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        self._own()
        with self._reading:
            try:
                if self._reader is None:
                    self._reader = self._connect_to_read()
                yield self._reader
            except sqlite3.Error as error:
                raise _explain(error, self._path) from error

    def head(self) -> Head:
        """Return where the journal stands now."""
        with self._read() as db:
            # a number that changes with every commit of another connection, ours to write included
            change = db.execute("PRAGMA data_version").fetchone()
            if change != self._change:
                row = db.execute(_HEAD).fetchone()
                self._change, self._head = change, Head(*row) if row else GENESIS
            return self._head

    def texts(self, after: int, upto: int) -> Iterator[tuple[int, str]]:
        """Yield (number, text) of commits; a page at a time, so that no reader holds the file."""
        while after < upto:
            with self._read() as db:
                rows = db.execute(
                    "SELECT number, text FROM commits WHERE number>? AND number<=?"
                    " ORDER BY number LIMIT 1000",
                    (after, upto),
                ).fetchall()
            if not rows:
                raise absent(after + 1)
            for expected, (number, text) in enumerate(rows, after + 1):
                if number != expected:
                    raise absent(expected)
                yield number, text
            after = rows[-1][0]

    # ----------------------------------------------------------------- writing

    @contextmanager
    def turn(self, timeout: float = GATE_TIMEOUT, *, look: bool = True) -> Iterator[Turn]:
        """Take a turn to write."""
        del look  # the transaction shows everything
        self._own()
        if self.read_only:
            raise StoreReadOnly(f"{self._path} is read-only here; ask its owner for write access")
        try:
            with self._gate.passing(timeout):
                if self._look() != self._file:
                    raise StoreNotFoundError(
                        f"{self._path} was removed or replaced while it was open, and what is "
                        "committed now would be lost; put it back, or open the store anew"
                    )
                if self._writer is None:
                    self._writer = _connect(self._path)
                db = self._writer
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield _SQLiteTurn(db, self.intakes)
                finally:
                    if self._pid == os.getpid() and db.in_transaction:
                        db.execute("ROLLBACK")
        except OSError as error:
            if isinstance(error, LineageError):
                raise
            raise explain(error, self._path) from error
        except sqlite3.Error as error:
            raise _explain(error, self._path) from error

    def adopt(self, commits: Iterable[Commit]) -> None:
        """Append commits of another journal as they are, many in a transaction."""
        for some in in_batches(commits):
            with self.turn() as turn:
                assert self._writer is not None  # the turn opened it
                head = turn.head
                for commit in some:
                    head = must_follow(commit, head)
                    turn.ledger.take(commit)
                self._writer.executemany(_INSERT, map(_row, some))
                self._writer.execute("COMMIT")

    @contextmanager
    def peek(self) -> Iterator[Ledger]:
        """Look at the ledger without a turn."""
        with self._read() as db:
            yield Ledger(db)

    def blank(self, number: int, event: str, kept: Mapping[str, Any]) -> None:
        """Blank one payload of a commit, on the disk too."""
        with self.turn():
            db = self._writer
            assert db is not None  # the turn opened it
            db.execute("PRAGMA secure_delete=ON")
            (text,) = db.execute("SELECT text FROM commits WHERE number=?", (number,)).fetchone()
            blanked = Commit.read(text, number=number).blank(event, kept)
            db.execute("UPDATE commits SET text=? WHERE number=?", (blanked.text, number))
            db.execute("COMMIT")
            # the old page also stands in the write-ahead log
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.intakes.blank(event)

    def relearn(self) -> None:
        """Make the ledger anew."""
        with self.turn() as turn:
            turn.ledger.relearn(self.read())
            assert self._writer is not None  # the turn opened it
            self._writer.execute("COMMIT")


class _SQLiteTurn(Turn):
    def __init__(self, db: sqlite3.Connection, intakes: Intakes) -> None:
        self._db, self._intakes = db, intakes
        row = db.execute(_HEAD).fetchone()
        self.head = Head(*row) if row else GENESIS
        self.ledger = Ledger(db)

    def pending(self, folders: Iterable[str] = ()) -> list[Pending]:
        return self._intakes.pending(self.ledger.mark, folders)

    def append(self, commit: Commit) -> None:
        must_follow(commit, self.head)
        self._db.execute(_INSERT, _row(commit))
        self._db.execute("COMMIT")


def _row(commit: Commit) -> tuple[int, str, str, str]:
    return commit.number, commit.hash, commit.recorded, commit.text


def _connect(path: str) -> sqlite3.Connection:
    """Connect to write. The waiting is set first: the switch to WAL itself can meet a writer."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
    # small pages: a commit touches several, and all of them are synced
    db.execute("PRAGMA page_size=2048")
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    return db


def _probe(address: str) -> sqlite3.Connection:
    db = sqlite3.connect(
        address, uri=True, isolation_level=None, check_same_thread=False, timeout=5
    )
    try:
        db.execute("SELECT 1 FROM journal")
    except sqlite3.Error:
        db.close()
        raise
    return db


def _explain(error: sqlite3.Error, path: str) -> StoreError:
    """Say in one sentence what SQLite's error means for the store."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return StoreFull(f"no space left to write {path}; nothing was written, free some")
    if code == sqlite3.SQLITE_READONLY:
        return StoreReadOnly(f"{path} is read-only here; ask its owner for write access")
    if code == sqlite3.SQLITE_BUSY:
        return StoreBusy(f"{path} is locked by another program; close it and try again")
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreDamaged(f"{path} is damaged or no lineage store ({error}). Try: lineage fsck")
    if code == sqlite3.SQLITE_CANTOPEN:
        return StoreNotFoundError(f"{path} cannot be opened; check the path and its permissions")
    if "no such table" in str(error):
        return StoreDamaged(f"{path} is a SQLite file but no lineage store; choose another path")
    return StoreError(f"{path}: {error}")
