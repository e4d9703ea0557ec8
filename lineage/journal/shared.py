"""What the journals that many hosts share have in common: the commit point decides, nobody waits.

The ledger lies apart from such a journal, in a cache of each host that follows the commits. A
writer goes by its cache and appends; if somebody else wrote that number, the append says so, the
cache catches up, and the writer tries again. Writers of one host queue at a local gate, only to
save each other's work.
"""

from __future__ import annotations

import sqlite3
from abc import abstractmethod
from collections import deque
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from ..commits import GENESIS, Commit, Head
from ..errors import StoreBusy, StoreReadOnly
from .base import GATE_TIMEOUT, Journal, Turn, must_follow
from .ledger import LEDGER_SCHEMA, Ledger
from .projection import Projection, position

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..intake import Pending

__all__ = ["LedgerCache", "SharedJournal"]

_RECENT = 32  # commits kept in memory ...
_SMALL = 1 << 17  # ... of less than so many characters


class SharedJournal(Journal):
    """A journal whose commit point is in one place and whose ledger follows in another.

    Subclasses say how the head is found (``_newest``) and how a commit is written (``_write``),
    and call ``_begin_sharing`` once ``id`` and ``cache`` are known.
    """

    slow = True

    def _begin_sharing(self) -> None:
        self._recent: deque[Commit] = deque(maxlen=_RECENT)
        self._ledger = LedgerCache(self, self._recent)
        self._known = GENESIS
        self._checked = False
        self._behind = True  # the ledger's cache may be; an append behind the head is refused

    @abstractmethod
    def _newest(self, known: int) -> Head:
        """Find the head, from a number that is known to be there; its hash may be left empty."""

    @abstractmethod
    def _write(self, commit: Commit, *, looked: bool) -> None:
        """Write a commit durably, or raise ``HeadMoved`` if somebody else wrote that number.

        A turn that did not look raises it also when others have records waiting.
        """

    def close(self) -> None:
        """Give the ledger's cache back."""
        self._ledger.close()

    # ----------------------------------------------------------------- reading

    def head(self) -> Head:
        """Return where the journal stands now."""
        return self._find_head()

    def _find_head(self) -> Head:
        head = self._newest(self._known.number)
        if not head.hash and head.number:
            if head.number == self._known.number:
                return self._known
            (commit,) = self.read(head.number - 1, head.number)
            head = commit.head
        self._known = head
        return head

    def recent(self, after: int, upto: int) -> Iterator[Commit]:
        """Yield commits, from memory where this process took them just now."""
        known = {commit.number: commit for commit in tuple(self._recent)}
        numbers = range(after + 1, upto + 1)
        if all(number in known for number in numbers):
            return (known[number] for number in numbers)
        return self.read(after, upto)

    @contextmanager
    def peek(self) -> Iterator[Ledger]:
        """Look at the ledger without a turn, at the head that was last asked for or written."""
        if self._ledger.head().number < self._known.number:
            self._ledger.catch_up(self._known)
        with self._ledger.reading() as db:
            yield Ledger(db)

    # ----------------------------------------------------------------- writing

    @contextmanager
    def turn(self, timeout: float = GATE_TIMEOUT, *, look: bool = True) -> Iterator[Turn]:
        """Take a turn to write. It may begin behind the head; the append finds out."""
        if self.read_only:
            raise StoreReadOnly(f"{self.address} is read-only here; ask its owner for write access")
        looked = self._look(must=look)
        if self._behind:
            # the first time the cache may turn out to be of another history
            target = self._newest(self._known.number) if self._checked else self._find_head()
            self._known = self._ledger.catch_up(target)
            self._behind, self._checked = False, True
        with ExitStack() as stack:
            try:
                db = stack.enter_context(self._ledger.writing(timeout))
            except StoreBusy as error:
                if timeout < GATE_TIMEOUT:
                    raise
                # a stopped process holds the local cache; the commit point decides without it
                self._ledger.go_private(str(error))
                db = stack.enter_context(self._ledger.writing(timeout))
            yield _SharedTurn(self, self._ledger, db, looked=looked)

    def _look(self, *, must: bool) -> bool:
        """Learn of what others wrote, where one question tells of commits and records alike.

        Returns whether it looked; without ``must`` it may leave that to the append.
        """
        del must
        return True

    def pending(self, ledger: Ledger, folders: Iterable[str]) -> list[Pending]:
        """Return the records that wait, for a turn."""
        return self.intakes.pending(ledger.mark, folders)

    def put(self, commit: Commit, *, looked: bool) -> None:
        """Write a commit, for a turn.

        Raises:
            HeadMoved: somebody else wrote this number.
        """
        try:
            self._write(commit, looked=looked)
        except BaseException:
            self._behind = True
            raise
        self._known = commit.head
        if len(commit.text) < _SMALL:
            self._recent.append(commit)

    def relearn(self) -> None:
        """Make the ledger anew."""
        self._ledger.rebuild()

    def ledger_tables(self, folder: str | None = None) -> Projection:
        """Return the tables of the ledger, those of this host or some made in ``folder``."""
        return self._ledger if folder is None else LedgerCache(self, deque(), folder=folder)


class LedgerCache(Projection):
    """The ledger of a shared journal, kept on a local disk."""

    def __init__(
        self, journal: SharedJournal, recent: deque[Commit], *, folder: str | None = None
    ) -> None:
        self._recent = recent
        super().__init__(journal, "ledger-1", LEDGER_SCHEMA, folder=folder)

    def _take(self, db: sqlite3.Connection, commit: Commit) -> None:
        Ledger(db).take(commit)
        if len(commit.text) < _SMALL:
            self._recent.append(commit)


class _SharedTurn(Turn):
    def __init__(
        self, journal: SharedJournal, cache: LedgerCache, db: sqlite3.Connection, *, looked: bool
    ) -> None:
        self._journal, self._cache, self._db, self._looked = journal, cache, db, looked
        self.head = position(db)
        self.ledger = Ledger(db)

    def pending(self, folders: Iterable[str] = ()) -> list[Pending]:
        return self._journal.pending(self.ledger, folders)

    def append(self, commit: Commit) -> None:
        must_follow(commit, self.head)
        self._journal.put(commit, looked=self._looked)
        # the commit stands, whatever becomes of the cache
        with suppress(sqlite3.Error):
            self._cache.settle(self._db, commit.head)
