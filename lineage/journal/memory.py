"""A journal in a list: the model of truth that every other journal is compared with."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..clock import Clock, SystemClock, new_id
from ..commits import GENESIS, Commit, Entry, Head, Mark
from ..errors import StoreBusy
from ..intake import Pending, Sequence, Waiting, describe_waiting, in_order
from ..lines import write_line
from .base import GATE_TIMEOUT, Journal, Turn, absent, must_follow
from .ledger import LEDGER_SCHEMA, Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ..events import Event
    from ..intake import Intakes

__all__ = ["MemoryJournal"]


class MemoryJournal(Journal):
    """Lives and dies with its process; for tests and for trying things out."""

    kind = "memory"
    address = "memory:"
    cache = None

    def __init__(self, *, clock: Clock | None = None) -> None:
        self.id = new_id()
        self.intakes = _MemoryIntakes(clock)
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


class _MemoryIntakes:
    """Waiting records in a list."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    def writer(self, about: Mapping[str, Any], folder: str | None = None) -> _MemoryWriter:
        """Return a new writer."""
        del about, folder
        return _MemoryWriter(self._entries, self._lock, self._clock)

    def crowd(self, about: Mapping[str, Any]) -> _MemoryWriter:
        """Return a new writer."""
        return self.writer(about)

    def keep(self, entry: Entry, about: Mapping[str, Any]) -> bool:
        """Nothing outlives this."""
        del entry, about
        return False

    def pending(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> list[Pending]:
        """Return the records behind each writer's mark, ordered by their times."""
        del folders
        with self._lock:
            entries = [e for e in self._entries if e.sequence > mark(e.writer).sequence]
        return in_order([Pending(entry, Mark(entry.sequence)) for entry in entries])

    def has_pending(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> bool:
        """Tell whether there are any."""
        del folders
        return bool(self.pending(mark))

    def waiting(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> list[Waiting]:
        """Describe what is pending, by its writers."""
        lines: dict[str, list[bytes]] = {}
        for pending in self.pending(mark, folders):
            lines.setdefault(pending.entry.writer, []).append(write_line(pending.entry).rstrip())
        return [
            describe_waiting("in memory", writer, each, mark(writer), lambda _: True)
            for writer, each in lines.items()
        ]

    def blank(self, event: str) -> None:
        """Forget the record of an event."""
        with self._lock:
            self._entries[:] = [entry for entry in self._entries if entry.id != event]


class _MemoryWriter:
    """One writer to a memory journal."""

    def __init__(self, entries: list[Entry], lock: threading.Lock, clock: Clock) -> None:
        self._entries, self._lock = entries, lock
        self._sequence = Sequence(clock)

    def append(self, event: Event) -> str:
        """Note one record and return its id."""
        return self.write(event).id

    def write(self, event: Event) -> Entry:
        """Note one record and return it."""
        with self._lock:
            entry = self._sequence.entry(event)
            self._entries.append(entry)
        return entry

    def close(self) -> None:
        """Nothing to give back."""


class _MemoryTurn(Turn):
    def __init__(self, commits: list[Commit], db: sqlite3.Connection, intakes: Intakes) -> None:
        self._commits, self._intakes = commits, intakes
        self.head = commits[-1].head if commits else GENESIS
        self.ledger = Ledger(db)
        self.done = False

    def pending(self, folders: Iterable[str] = ()) -> list[Pending]:
        return self._intakes.pending(self.ledger.mark, folders)

    def append(self, commit: Commit) -> None:
        must_follow(commit, self._commits[-1].head if self._commits else GENESIS)
        self._commits.append(commit)
        self.done = True
