"""A journal in a list: the model of truth that every other journal is compared with."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..clock import Clock, new_id
from ..commits import GENESIS, Commit, Head
from ..errors import StoreBusy
from ..intake import MemoryIntakes
from .base import GATE_TIMEOUT, HeadMoved, Journal, Turn, absent
from .ledger import LEDGER_SCHEMA, Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..intake import Intakes, Pending

__all__ = ["MemoryJournal"]


class MemoryJournal(Journal):
    """Lives and dies with its process; for tests and for trying things out."""

    kind = "memory"
    address = "memory:"
    cache = None

    def __init__(self, *, clock: Clock | None = None) -> None:
        self.id = new_id()
        self.intakes = MemoryIntakes(clock)
        self._commits: list[Commit] = []
        self._lock = threading.Lock()
        self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._db.executescript(LEDGER_SCHEMA)
        weakref.finalize(self, self._db.close)  # closing a store leaves it there to be opened again

    def head(self) -> Head:
        """Return where the journal stands now."""
        return self._commits[-1].head if self._commits else GENESIS

    def texts(self, after: int, upto: int) -> Iterator[tuple[int, str]]:
        """Yield (number, text) of commits."""
        for number in range(after + 1, upto + 1):
            if number > len(self._commits):
                raise absent(number)
            yield number, self._commits[number - 1].text

    @contextmanager
    def turn(self, timeout: float = GATE_TIMEOUT, *, look: bool = True) -> Iterator[Turn]:
        """Take a turn to write."""
        del look  # there is nothing to ask
        if not self._lock.acquire(timeout=timeout):
            raise StoreBusy(f"the memory journal was held for {timeout:g} s by another thread")
        try:
            turn = _MemoryTurn(self._commits, self._db, self.intakes)
            self._db.execute("BEGIN")
            try:
                yield turn
            finally:
                self._db.execute("COMMIT" if turn.done else "ROLLBACK")
        finally:
            self._lock.release()

    @contextmanager
    def peek(self) -> Iterator[Ledger]:
        """Look at the ledger without a turn."""
        with self._lock:
            yield Ledger(self._db)

    def blank(self, number: int, event: str, kept: Mapping[str, Any]) -> None:
        """Blank one payload of a commit."""
        with self._lock:
            self._commits[number - 1] = self._commits[number - 1].blank(event, kept)
        self.intakes.blank(event)

    def relearn(self) -> None:
        """Make the ledger anew."""
        with self._lock:
            Ledger(self._db).relearn(self._commits)

    def close(self) -> None:
        """Nothing to give back: the journal is this object."""


class _MemoryTurn(Turn):
    def __init__(self, commits: list[Commit], db: sqlite3.Connection, intakes: Intakes) -> None:
        self._commits, self._intakes = commits, intakes
        self.head = commits[-1].head if commits else GENESIS
        self.ledger = Ledger(db)
        self.done = False

    def pending(self, folders: Iterable[str] = ()) -> list[Pending]:
        return self._intakes.pending(self.ledger.mark, folders)

    def append(self, commit: Commit) -> None:
        if commit.number != self.head.number + 1 or commit.previous != self.head.hash or self.done:
            raise HeadMoved(f"commit {commit.number} does not follow head {self.head.number}")
        self._commits.append(commit)
        self.done = True
