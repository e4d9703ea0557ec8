"""What this host has read before: a file whose stamp is the same need not be read again.

It lies in the store's cache folder, belongs to one user, and may be deleted at any time. It is
never trusted to be there: where it cannot be kept, everything is read.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from .digests import Digest
from .files import Files

if TYPE_CHECKING:
    from types import TracebackType

    from .listing import Listing, Stamp

__all__ = ["Remembered"]

_log = logging.getLogger(__name__)

_NAME = "digests-1"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS file(
    path BLOB PRIMARY KEY, stamp TEXT NOT NULL, hash TEXT NOT NULL, used INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tree(
    root BLOB PRIMARY KEY, stamp TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL,
    files INTEGER NOT NULL, used INTEGER NOT NULL) WITHOUT ROWID;
"""
_AGE = 30  # days since an entry was last of use
_DAY = 86400
_SOON = 0.2  # seconds of reading that a killed process may lose
_BIG = 1 << 20  # bytes; such a file is noted at once


class Remembered:
    """The hashes of files and the digests of folders, by their stamps. Use it in a ``with`` block.

    Args:
        folder: where to keep it, or None to remember nothing.
    """

    def __init__(self, folder: str | None) -> None:
        self._today = int(time.time() // _DAY)
        self._noted = 0.0
        self._waiting: list[tuple[object, ...]] = []
        self._db: sqlite3.Connection | None = None
        if folder is not None:
            self._path = os.path.join(folder, f"{_NAME}-{os.getuid()}.db")
            try:
                Files().make_folder(folder)
                self._db = self._open()
            except (OSError, sqlite3.Error) as error:
                _log.info("%s cannot be used (%s): everything is read", self._path, error)

    def _open(self) -> sqlite3.Connection:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self._path, flags, 0o600)
        try:
            if os.fstat(descriptor).st_uid != os.getuid():
                raise PermissionError(f"{self._path} belongs to another user")
        finally:
            os.close(descriptor)
        try:
            return self._prepare()
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            _log.info("%s is damaged (%s) and is made anew", self._path, error)
            for suffix in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.unlink(self._path + suffix)
            return self._prepare()

    def _prepare(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")  # a power cut may cost another reading
            db.executescript(f"BEGIN IMMEDIATE;{_SCHEMA}COMMIT;")
            (swept,) = db.execute("PRAGMA user_version").fetchone()
            if swept != self._today:
                db.execute("DELETE FROM file WHERE used<?", (self._today - _AGE,))
                db.execute("DELETE FROM tree WHERE used<?", (self._today - _AGE,))
                db.execute(f"PRAGMA user_version={self._today}")
        except sqlite3.Error:
            db.close()
            raise
        return db

    # -------------------------------------------------------------- whole folders

    def digest(self, listing: Listing) -> Digest | None:
        """Return the digest of a listing that was read to its end before, or None."""
        rows = self._ask(
            "SELECT digest, size, files, used FROM tree WHERE root=? AND stamp=?",
            os.fsencode(listing.root), listing.stamp,
        )  # fmt: skip
        if not rows:
            return None
        *digest, used = rows[0]
        if used != self._today:
            self._touch(listing)
        return Digest(*digest)

    def keep_digest(self, listing: Listing, digest: Digest) -> None:
        """Note the digest of a listing."""
        self._tell(
            "INSERT OR REPLACE INTO tree VALUES(?,?,?,?,?,?)",
            os.fsencode(listing.root), listing.stamp, digest.text, digest.size, digest.files,
            self._today,
        )  # fmt: skip
        self._note()
        self._touch(listing)

    # --------------------------------------------------------------- single files

    def hashes(self, listing: Listing) -> dict[str, str]:
        """Return the hashes of those files of a listing that were read before, by their names."""
        first, last = self._range(listing)
        found = {}
        cut = len(listing.root) + 1
        for path, stamp, value in self._ask(
            "SELECT path, stamp, hash FROM file WHERE path BETWEEN ? AND ?", first, last
        ):
            name = os.fsdecode(path)[cut:]
            known = listing.files.get(name)
            if known is not None and stamp == _text(known):
                found[name] = value
        return found

    def keep_hash(self, listing: Listing, name: str, value: str) -> None:
        """Note the hash of one file of a listing."""
        known = listing.files[name]
        if known is None:
            return
        self._waiting.append((os.fsencode(listing.path(name)), _text(known), value, self._today))
        if known[0] >= _BIG or time.monotonic() - self._noted > _SOON:
            self._note()

    # ------------------------------------------------------------------- internal

    def _touch(self, listing: Listing) -> None:
        """Keep what is of use from being swept."""
        first, last = self._range(listing)
        self._tell(
            "UPDATE file SET used=? WHERE path BETWEEN ? AND ? AND used<?",
            self._today, first, last, self._today,
        )  # fmt: skip
        self._tell(
            "UPDATE tree SET used=? WHERE root=? AND used<?",
            self._today, os.fsencode(listing.root), self._today,
        )  # fmt: skip

    def _range(self, listing: Listing) -> tuple[bytes, bytes]:
        root = os.fsencode(listing.root)
        return (root, root) if listing.is_file else (root + b"/", root + b"0")  # 0 follows /

    def _note(self) -> None:
        """Write what waits, all at once: the file is never held while bytes are read."""
        if self._waiting:
            self._tell("BEGIN IMMEDIATE")
            for row in self._waiting:
                self._tell("INSERT OR REPLACE INTO file VALUES(?,?,?,?)", *row)
            self._tell("COMMIT")
            self._waiting.clear()
        self._noted = time.monotonic()

    def _ask(self, statement: str, *values: object) -> list[Any]:
        if self._db is None:
            return []
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            self._give_up(error)
            return []

    def _tell(self, statement: str, *values: object) -> None:
        if self._db is None:
            return
        try:
            self._db.execute(statement, values)
        except sqlite3.Error as error:
            self._give_up(error)

    def _give_up(self, error: sqlite3.Error) -> None:
        _log.info("%s cannot be used any more (%s): everything is read", self._path, error)
        if self._db is not None:
            self._db.close()
            self._db = None

    def close(self) -> None:
        """Give the connection back. Closing twice is harmless."""
        self._note()
        if self._db is not None:
            self._db.close()
            self._db = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it; what was read up to an error stays noted."""
        self.close()


def _text(stamp: Stamp) -> str:
    """Write a stamp as text: an inode may be larger than SQLite's integers."""
    return " ".join(map(str, stamp))
