"""A journal in a folder of readable JSON files, for any POSIX filesystem, shared or not.

::

    <root>/journal.json                     id and format
    <root>/commits/000000/000000001.json    256 commits a folder
    <root>/intake/<writer>.jsonl

The commit point is ``link(2)``: it fails when the name is there, and so decides who wrote commit
n. Nothing waits for a lock of another host. A writer that finds itself in a crowd puts its record
into its intake first; whoever commits next takes all that is pending, and the others find theirs
done. Writers of one host queue at a local gate, only to save each other's work.
"""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import time
from collections import deque
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from ..clock import Clock, new_id
from ..commits import GENESIS, Commit, Head
from ..errors import (
    StoreBusy,
    StoreDamaged,
    StoreNotFoundError,
    StoreReadOnly,
    StoreTooNew,
    StoreUnsuitable,
)
from ..files import Files, explain
from ..filesystems import cache_folder
from ..intake import FolderIntakes
from ..metadata import canonical_json
from .base import GATE_TIMEOUT, HeadMoved, Journal, Turn, absent
from .ledger import LEDGER_SCHEMA, Ledger
from .projection import Projection, position

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["DirectoryJournal"]

FORMAT = 1
BUCKET = 256  # commits a folder: listing stays cheap, and so does a folder's fsync
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
_RECENT = 32  # commits kept in memory ...
_SMALL = 1 << 17  # ... of less than so many characters
_LEFTOVER = 3600.0  # seconds after which a temporary file has no writer any more


class DirectoryJournal(Journal):
    """Opens or creates the journal in the folder ``root``.

    Args:
        root: the folder.
        create: make it when it is not there.
        cache: local folder for the ledger and the index, by default one that fits; None keeps
            them in memory.
        files: what stands between this and the disk.
        clock: for records of the intake.

    Raises:
        StoreNotFoundError: not there, and not to be created.
        StoreUnsuitable: a folder with other things in it, or a filesystem without hard links.
    """

    kind = "directory"
    slow = True

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        create: bool = True,
        cache: str | None = "",
        files: Files | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._root = os.path.abspath(root)
        self.address = f"file://{self._root}"
        self._files = files or Files()
        self._commits = os.path.join(self._root, "commits")
        self.id = self._open(create=create)
        self.read_only = not os.access(self._commits, os.W_OK)
        self.cache = cache_folder(self._root, self.id) if cache == "" else cache
        intake = os.path.join(self._root, "intake")
        self.intakes = FolderIntakes(intake, self._files, clock)
        self._recent: deque[Commit] = deque(maxlen=_RECENT)
        self._ledger = _LedgerCache(self, self._recent)
        self._known = GENESIS
        self._checked = False
        self._behind = True  # the ledger's cache may be; an append behind the head is refused

    # -------------------------------------------------------------- life cycle

    def _open(self, *, create: bool) -> str:
        path = os.path.join(self._root, "journal.json")
        try:
            data = self._files.read(path)
        except (FileNotFoundError, NotADirectoryError):
            if not create:
                raise StoreNotFoundError(
                    f"there is no store at {self._root}; check the path"
                ) from None
            data = self._create(path)
        except OSError as error:
            raise explain(error, self._root) from error
        try:
            identity = json.loads(data)
            known = identity["format"] == FORMAT
            journal = str(identity["id"])
        except (ValueError, TypeError, KeyError):
            raise StoreDamaged(f"{path} is damaged; restore it from a copy") from None
        if not known:
            raise StoreTooNew(
                f"{self._root} has journal format {identity['format']}; this release reads format "
                f"{FORMAT}. Upgrade nemotron-lineage"
            )
        return journal

    def _create(self, path: str) -> bytes:
        if set(self._files.names(self._root)) - {"commits", "intake", "cache", "names", "pins"}:
            raise StoreUnsuitable(
                f"{self._root} holds other files; name an empty or a new folder for the store"
            )
        identity = canonical_json({"format": FORMAT, "id": new_id(), "kind": "directory"})
        try:
            self._files.make_folder(self._commits)
            self._files.make_folder(os.path.join(self._root, "intake"))
            with suppress(FileExistsError):  # another process was first: its id counts
                self._files.put_new(path, identity.encode() + b"\n")
            return self._files.read(path)
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise StoreUnsuitable(
                    f"{self._root} is on a filesystem without hard links ({error.strerror}), "
                    "which the journal needs; use another filesystem"
                ) from error
            raise explain(error, self._root) from error

    def close(self) -> None:
        """Give the ledger's cache back."""
        self._ledger.close()

    # ----------------------------------------------------------------- reading

    def head(self) -> Head:
        """Return where the journal stands now, by listing."""
        number = self._last_number(self._known.number)
        if number != self._known.number:
            (commit,) = self.read(number - 1, number)
            self._known = commit.head
        return self._known

    def _last_number(self, known: int) -> int:
        """Find the highest number there is, from one that is known to be there."""
        bucket = known // BUCKET if known else self._last_bucket()
        while True:
            numbers = [_number(name) for name in self._files.names(self._bucket(bucket))]
            last = max(numbers, default=known)
            full = last % BUCKET == BUCKET - 1
            if not full or not self._files.names(self._bucket(bucket + 1)):
                return last
            bucket += 1
            known = last

    def _last_bucket(self) -> int:
        buckets = sorted((int(name) for name in self._files.names(self._commits)), reverse=True)
        for bucket in buckets:  # the last one may be empty: its first commit is being written
            if self._files.names(self._bucket(bucket)):
                return bucket
        return 0

    def texts(self, after: int, upto: int) -> Iterator[tuple[int, str]]:
        """Yield (number, text) of commits."""
        for start in range(after + 1, upto + 1, BUCKET):
            numbers = range(start, min(start + BUCKET, upto + 1))
            found = self._files.read_many([(self._path(number), 0) for number in numbers])
            for number, data in zip(numbers, found, strict=True):
                if data is None:
                    raise absent(number)
                yield number, data.decode("ascii", "replace").rstrip("\n")

    def recent(self, after: int, upto: int) -> Iterator[Commit]:
        """Yield commits, from memory where this process took them just now."""
        known = {commit.number: commit for commit in tuple(self._recent)}
        numbers = range(after + 1, upto + 1)
        if all(number in known for number in numbers):
            return (known[number] for number in numbers)
        return self.read(after, upto)

    def _bucket(self, bucket: int) -> str:
        return os.path.join(self._commits, f"{bucket:06d}")

    def _path(self, number: int) -> str:
        return os.path.join(self._bucket(number // BUCKET), f"{number:09d}.json")

    # ----------------------------------------------------------------- writing

    @contextmanager
    def turn(self, timeout: float = GATE_TIMEOUT) -> Iterator[Turn]:
        """Take a turn to write. It may begin behind the head; the append finds out."""
        if self.read_only:
            raise StoreReadOnly(f"{self._root} is read-only here; ask its owner for write access")
        if self._behind:
            target = None  # the first time the cache may turn out to be of another history
            if self._checked:
                target = Head(self._last_number(self._known.number), "", "")
            self._known = self._ledger.catch_up(target)
            self._behind, self._checked = False, True
        with ExitStack() as stack:
            try:
                db = stack.enter_context(self._ledger.writing(timeout))
            except StoreBusy as error:
                if timeout < GATE_TIMEOUT:
                    raise
                # a stopped process holds the local cache; link(2) decides without it
                self._ledger.go_private(str(error))
                db = stack.enter_context(self._ledger.writing(timeout))
            yield _DirectoryTurn(self, self._ledger, db)

    @contextmanager
    def peek(self) -> Iterator[Ledger]:
        """Look at the ledger without a turn, at the head that was last asked for or written."""
        if self._ledger.head().number < self._known.number:
            self._ledger.catch_up(self._known)
        with self._ledger.reading() as db:
            yield Ledger(db)

    def put(self, commit: Commit) -> None:
        """Create the file of a commit, durably.

        Raises:
            HeadMoved: somebody else wrote this number.
        """
        try:
            self._put(commit)
        except FileExistsError:
            self._behind = True
            raise HeadMoved(f"somebody else wrote commit {commit.number}") from None
        except OSError as error:
            self._behind = True
            raise explain(error, self._root) from error
        self._known = commit.head
        if len(commit.text) < _SMALL:
            self._recent.append(commit)

    def _put(self, commit: Commit) -> None:
        folder = self._bucket(commit.number // BUCKET)
        if commit.number % BUCKET == 0 or commit.number == 1:
            self._files.make_folder(folder)
            if commit.number > 1:
                # the one before may still be on its way to the disk in the hands of its writer
                self._files.sync_folder(self._bucket(commit.number // BUCKET - 1))
            self._sweep(folder)
        self._files.put_new(self._path(commit.number), commit.text.encode("ascii") + b"\n")

    def _sweep(self, folder: str) -> None:
        """Remove what killed writers left behind; nobody ever reads it."""
        with suppress(OSError), os.scandir(os.path.dirname(folder)) as buckets:
            for bucket in buckets:
                for entry in os.scandir(bucket.path):
                    if entry.name.startswith(".new-"):
                        with suppress(OSError):
                            if time.time() - entry.stat().st_mtime > _LEFTOVER:
                                os.unlink(entry.path)

    def blank(self, number: int, event: str, kept: Mapping[str, Any]) -> None:
        """Blank one payload of a commit, on the disk too."""
        path = self._path(number)
        ((_, text),) = self.texts(number - 1, number)
        blanked = Commit.read(text, number=number).blank(event, kept)
        self._files.put_over(path, blanked.text.encode("ascii") + b"\n")
        self.intakes.blank(event)

    def relearn(self) -> None:
        """Make the ledger anew."""
        self._ledger.rebuild()


class _LedgerCache(Projection):
    """The ledger of a directory journal, kept on a local disk."""

    def __init__(self, journal: DirectoryJournal, recent: deque[Commit]) -> None:
        self._recent = recent
        super().__init__(journal, "ledger-1", LEDGER_SCHEMA)

    def _take(self, db: sqlite3.Connection, commit: Commit) -> None:
        Ledger(db).take(commit)
        if len(commit.text) < _SMALL:
            self._recent.append(commit)


class _DirectoryTurn(Turn):
    def __init__(
        self, journal: DirectoryJournal, cache: _LedgerCache, db: sqlite3.Connection
    ) -> None:
        self._journal, self._cache, self._db = journal, cache, db
        self.head = position(db)
        self.ledger = Ledger(db)

    def append(self, commit: Commit) -> None:
        if commit.number != self.head.number + 1 or commit.previous != self.head.hash:
            raise HeadMoved(f"commit {commit.number} does not follow head {self.head.number}")
        self._journal.put(commit)
        # the commit stands, whatever becomes of the cache
        with suppress(sqlite3.Error):
            self._cache.settle(self._db, commit.head)


def _number(name: str) -> int:
    return int(name.removesuffix(".json"))
