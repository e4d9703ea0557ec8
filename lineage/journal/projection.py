"""Tables that follow from a journal, in a SQLite file of their own, never waited for or trusted.

A projection notes the number and hash of the last commit it took. It catches up whenever somebody
asks, and is thrown away and rebuilt when that commit is not the journal's, when its file is
damaged, or when its form is another. An empty one begins with a snapshot that another host left
(snapshots.py). If another process holds its file and does not get on, this process goes on with a
private copy in memory.
"""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import tempfile
import threading
import time
from abc import abstractmethod
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ..commits import GENESIS, Commit, Head
from ..errors import StoreBusy, StoreError
from ..files import Files
from ..process import PerProcess
from .gate import Gate
from .snapshots import Snapshots

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .base import Journal

__all__ = ["LEFTOVER", "Projection", "position", "remove_leftovers"]

_log = logging.getLogger(__name__)

_POSITION = """
CREATE TABLE IF NOT EXISTS position(
    one INTEGER PRIMARY KEY CHECK(one=1), number INTEGER NOT NULL, hash TEXT NOT NULL,
    recorded TEXT NOT NULL);
"""
_CHUNK = 5000  # commits per transaction while catching up
_PATIENCE = 5.0  # seconds to wait for a process that does not get on
LEFTOVER = "snapshot-"  # folders of this name are in nobody's hands after ...
_ABANDONED = 3600.0  # ... so many seconds
_WORTH = 2000  # commits from which on a snapshot is looked for


class Projection(PerProcess):
    """Follows one journal.

    Args:
        journal: what to follow.
        name: name and form of the tables, e.g. ``index-2``; also names the file.
        schema: DDL that can be run again.
        private: keep it in memory.
        folder: where to make tables of commits alone, apart from those that everybody uses.
    """

    def __init__(
        self,
        journal: Journal,
        name: str,
        schema: str,
        *,
        private: bool = False,
        folder: str | None = None,
    ) -> None:
        self._journal, self._name, self._schema = journal, name, schema
        self._apart = folder is not None
        self._path = None
        folder = folder or journal.cache
        if folder is not None and not private:
            self._path = os.path.join(folder, name + ".db")
            self._gate = Gate(self._path + ".gate")
        super().__init__()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None
        self._private = self._path is None
        self._inode: int | None = None
        self._position = GENESIS
        self._looked = self._apart  # for a snapshot

    @abstractmethod
    def _take(self, db: sqlite3.Connection, commit: Commit) -> None:
        """Apply one commit to the tables."""

    @property
    def path(self) -> str | None:
        """The file, or None when it is kept in memory."""
        return None if self._private else self._path

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection for some queries, at whatever commit the tables stand."""
        self._own()
        with self._lock:
            yield self._connection()

    @contextmanager
    def writing(self, timeout: float = _PATIENCE) -> Iterator[sqlite3.Connection]:
        """Hold the connection and, behind the gate, a transaction that is rolled back at the end.

        Commit inside with ``settle``.
        """
        self._own()
        with self._lock:
            db = self._connection()  # opening passes the gate too
            with self._passing(timeout):
                db.execute("BEGIN IMMEDIATE")
                try:
                    yield db
                finally:
                    if db.in_transaction:
                        db.execute("ROLLBACK")

    def settle(self, db: sqlite3.Connection, head: Head) -> None:
        """Commit the open transaction of ``writing`` as the state at ``head``."""
        db.execute("UPDATE position SET number=?, hash=?, recorded=?", head)
        db.execute("COMMIT")

    def head(self) -> Head:
        """Return the commit at which the tables stand."""
        with self.reading() as db:
            return position(db)

    def copy_to(self, path: str) -> Head:
        """Copy the tables as they are now into a file, and return the commit they stand at."""
        with self.reading() as db:
            copy = sqlite3.connect(path)
            db.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, whoever opens it
        head = position(copy)
        copy.close()
        return head

    def catch_up(self, target: Head | None = None) -> Head:
        """Take all commits up to the journal's head (or to ``target``), and return where it is.

        The hash of ``target`` may be empty: the commits prove by their links that they belong here.
        """
        self._own()
        target = self._journal.head() if target is None else target
        with self._lock:
            if self._was_removed():  # by a process that found it damaged
                self._discard()
            if self._position == target and self._db is not None:
                return target
            try:
                return self._catch_up(target)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    self.go_private(str(error))
                    return self._catch_up(target)
                _log.warning("%s is damaged (%s) and is made anew", self._path, error)
                self._remove()
                return self._catch_up(target)

    def rebuild(self) -> Head:
        """Empty the tables, on the disk too, and fill them anew.

        The file stays, so whoever has it open goes on with what is in it then.
        """
        self._own()
        with self._lock:
            self._looked = True  # what is here is to come from the commits
            self._connection().execute("PRAGMA secure_delete=ON")
            with self.writing() as db:
                self.settle(db, self._empty(db))
            self._position = GENESIS
            head = self.catch_up()
            with self._passing(_PATIENCE):
                self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return head

    def go_private(self, why: str) -> None:
        """Go on with a copy in memory, from here on and for this process alone."""
        if self._private:
            raise StoreBusy(f"{self._path} cannot even be kept in memory: {why}")
        _log.warning("%s is not to be had (%s); going on with a copy in memory", self._path, why)
        self._private = True
        source, self._db = self._db, None
        copy = self._connection()
        if source is not None:
            with suppress(sqlite3.Error):
                source.backup(copy)
            self._inherited.append({"db": source})  # closing it would meet the one who holds it

    def close(self) -> None:
        """Give the connection back."""
        self._own()
        with self._lock:
            if self._db is not None:
                with suppress(StoreBusy), self._passing(1.0):
                    self._db.close()
                self._db = None
                self._position = GENESIS
        if self._path is not None:
            self._gate.close()

    # ---------------------------------------------------------------- internal

    @contextmanager
    def _passing(self, timeout: float) -> Iterator[None]:
        if self._private:
            yield
        else:
            with self._gate.passing(timeout):
                yield

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = self._open()
        return self._db

    def _open(self) -> sqlite3.Connection:
        if self._private or self._path is None:
            return self._prepare(":memory:")
        try:
            Files().make_folder(os.path.dirname(self._path))
            with self._gate.passing(_PATIENCE):
                try:
                    db = self._prepare(self._path)
                except sqlite3.DatabaseError as error:
                    if not _is_damage(error):
                        raise
                    _log.warning("%s is damaged (%s) and is made anew", self._path, error)
                    self._unlink(self._path)
                    db = self._prepare(self._path)
                self._inode = os.stat(self._path).st_ino
                return db
        except (OSError, sqlite3.OperationalError, StoreBusy) as error:
            # a read-only place, a full disk or a process that stopped inside the gate
            _log.info("%s is kept in memory: %s", self._path, error)
            self._private = True
            return self._prepare(":memory:")

    def _prepare(self, path: str) -> sqlite3.Connection:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")  # may lose the end, never its order
            db.executescript("BEGIN IMMEDIATE;" + _POSITION + self._schema)
            db.execute("INSERT OR IGNORE INTO position VALUES(1,?,?,?)", GENESIS)
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        return db

    def _catch_up(self, target: Head) -> Head:
        while True:
            db = self._connection()
            here = position(db)
            if self._reaches(here, target):
                self._position = here
                return here
            if here.number == 0 and target.number >= _WORTH and not self._looked:
                self._begin_with_snapshot(target)
                continue
            try:
                with self.writing() as db:
                    self._take_some(db, target)
            except StoreBusy as error:
                if position(db).number == here.number:  # whoever holds it does not get on
                    self.go_private(str(error))

    def _begin_with_snapshot(self, target: Head) -> None:
        """Take over what another host left, where there is such a thing."""
        self._looked = True
        snapshots = Snapshots(self._journal)
        note = snapshots.newest(self._name, target.number)
        if note is None:
            return
        where = None if self._private or self._path is None else os.path.dirname(self._path)
        try:
            remove_leftovers(where)
            with tempfile.TemporaryDirectory(prefix=LEFTOVER, dir=where) as folder:
                path = os.path.join(folder, self._name)
                if snapshots.fetch(note, path) and _position_of(path) == note.head:
                    self._take_over(path)
        except (OSError, StoreError, sqlite3.Error) as error:
            _log.warning("the snapshot of %s is passed over: %s", self._name, error)

    def _take_over(self, path: str) -> None:
        if self._private or self._path is None:
            source = sqlite3.connect(path)
            source.backup(self._connection())
            source.close()
            return
        with self._gate.passing(_PATIENCE):
            if position(self._connection()).number:  # another process was first
                return
            self._discard()
            self._unlink(self._path)
            os.rename(path, self._path)

    def _reaches(self, here: Head, target: Head) -> bool:
        """Tell whether tables that stand at ``here`` hold all of the journal up to ``target``."""
        if here.number == target.number:
            return target.hash in ("", here.hash)
        return here.number > target.number and self._journal.head().number >= here.number

    def _take_some(self, db: sqlite3.Connection, target: Head) -> None:
        """Take the next commits, or begin again when what is here is of another history."""
        last = position(db)
        if last.number >= target.number and not self._reaches(last, target):
            last = self._begin_again(db)
        upto = min(target.number, last.number + _CHUNK)
        for commit in self._journal.read(last.number, upto):
            if commit.previous != last.hash:
                last = self._begin_again(db)
                break
            self._take(db, commit)
            last = commit.head
        self.settle(db, last)

    def _begin_again(self, db: sqlite3.Connection) -> Head:
        _log.warning("%s belongs to another history and is made anew", self._path)
        return self._empty(db)

    def _empty(self, db: sqlite3.Connection) -> Head:
        rows = db.execute(
            "SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite_%'"
            " AND name<>'position'"
        ).fetchall()
        for (table,) in rows:
            db.execute(f"DELETE FROM {table}")
        return GENESIS

    def _was_removed(self) -> bool:
        if self._private or self._path is None or self._db is None:
            return False
        try:
            return os.stat(self._path).st_ino != self._inode
        except OSError:
            return True

    def _discard(self) -> None:
        """Let go of the tables; the next use opens or makes them anew."""
        if self._db is not None:
            self._db.close()
            self._db = None
        self._position = GENESIS

    def _remove(self) -> None:
        """Remove the file, for everybody."""
        self._discard()
        if not self._private and self._path is not None:
            with suppress(StoreBusy), self._gate.passing(_PATIENCE):
                self._unlink(self._path)

    @staticmethod
    def _unlink(path: str) -> None:
        for suffix in ("", "-wal", "-shm"):
            with suppress(OSError):
                os.unlink(path + suffix)


def position(db: sqlite3.Connection) -> Head:
    """Return the commit at which the tables of a projection stand."""
    return Head(*db.execute("SELECT number, hash, recorded FROM position").fetchone())


def remove_leftovers(folder: str | None) -> None:
    """Remove what processes that were killed over a snapshot left in a cache folder."""
    for name in Files().names(folder) if folder is not None else ():
        path = os.path.join(folder or "", name)
        with suppress(OSError):
            if name.startswith(LEFTOVER) and time.time() - os.stat(path).st_mtime > _ABANDONED:
                shutil.rmtree(path)


def _position_of(path: str) -> Head:
    db = sqlite3.connect(path)
    try:
        return position(db)
    finally:
        db.close()


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "no such" in str(error)
