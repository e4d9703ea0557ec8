"""What every journal promises, whatever it is kept in.

The promises are proved for each kind by one suite, ``nemotron.lineage.testing.JournalSuite``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any

from ..commits import GENESIS, Commit, Head
from ..errors import Conflict, StoreDamaged
from ..events import SucceededBy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from ..intake import Intakes, Pending
    from ..shelf import Shelf
    from .ledger import Ledger

__all__ = [
    "BATCH",
    "GATE_TIMEOUT",
    "HeadMoved",
    "Journal",
    "Turn",
    "absent",
    "in_batches",
    "must_follow",
    "unlinked",
]

BATCH = 1000  # commits that are handled together, in packs too ...
_LARGE = 1 << 24  # ... of so many characters at the most, or one
GATE_TIMEOUT = 30.0  # seconds; far above what 128 writers need, far below what a job would notice


class HeadMoved(Conflict):
    """Somebody else appended first."""


class Turn(ABC):
    """One writer's turn: the head, the ledger that belongs to it, and at most one append."""

    head: Head
    ledger: Ledger

    @abstractmethod
    def pending(self, folders: Iterable[str] = ()) -> list[Pending]:
        """Return the records of intakes that no commit has taken yet, in the order to take them.

        Args:
            folders: where to look besides the store's own intake.
        """

    @abstractmethod
    def append(self, commit: Commit) -> None:
        """Append the commit that follows ``head``, durably, with the ledger's changes.

        When this returns, the commit survives ``kill -9`` and power loss.

        Raises:
            HeadMoved: somebody else wrote this number, or there are records that this turn did
                not look for; nothing was written. Take another turn.
            StoreUnreachable, StoreFull, StoreReadOnly, OSError: it may or may not have been
                written. Look for the records' marks in the ledger before you try again.
        """


class Journal(ABC):
    """Ordered, hash-chained commits; the one thing that is kept.

    Promises:

    1. ``Turn.append`` is all or nothing, and fails with ``HeadMoved`` when the head moved.
    2. What it acknowledged survives ``kill -9`` and power loss.
    3. Commits are totally ordered and numbered from 1 without gaps; each carries the hash of the
       one before. Reading verifies every commit that it gives out.
    4. Nobody waits for a dead writer, and there is nothing to clean up by hand. A stopped writer
       is waited for until the timeout of the turn, not longer.
    5. A forked child may use the object: it opens what it needs for itself and never touches what
       its parent holds.

    Attributes:
        kind: what it is kept in, e.g. ``sqlite``.
        id: made once, when the journal was created; every commit carries it.
        address: what opens this journal again.
        intakes: where records wait that no commit has taken.
        cache: a local folder for projections of this journal, or None to keep them in memory.
        slow: a commit costs several round trips, so a writer in a crowd should put its record
            into the intake first, where whoever commits next takes it along.
        tries: how often a writer tries alone before it takes itself to be in a crowd.
        shelf: where what belongs to the journal and is no commit lies for all its hosts, or None.
    """

    kind: str
    id: str
    address: str
    intakes: Intakes
    cache: str | None
    read_only: bool = False
    slow: bool = False
    tries: int = 1
    shelf: Shelf | None = None
    _forebears: frozenset[str] | None = None

    @abstractmethod
    def head(self) -> Head:
        """Return where the journal stands now; ``GENESIS`` when it is empty."""

    @abstractmethod
    def texts(self, after: int, upto: int) -> Iterator[tuple[int, str]]:
        """Yield (number, text) of the commits in ``after < number <= upto``, in order.

        Raises:
            StoreDamaged: one of them is not there.
        """

    @abstractmethod
    def turn(
        self, timeout: float = GATE_TIMEOUT, *, look: bool = True
    ) -> AbstractContextManager[Turn]:
        """Take a turn to write.

        The head and ledger of a turn are consistent, but may be behind on a journal whose
        commit point decides (``slow``): the append finds out.

        Args:
            timeout: seconds to wait for other writers of this host; 0 only tries.
            look: ask what others wrote before. Without it a journal may save that round trip:
                the append finds out that way too.

        Raises:
            StoreBusy: another writer held its turn for longer than ``timeout`` seconds.
            StoreReadOnly: this journal cannot be written from here.
            StoreUnreachable: the place where it is kept does not answer.
        """

    @abstractmethod
    def peek(self) -> AbstractContextManager[Ledger]:
        """Look at the ledger without a turn, at the head that ``head`` last returned or later.

        Only read from it.
        """

    def confirm(self, number: int) -> None:  # noqa: B027 - most show nothing before it lasts
        """Make sure that the commits up to one that was read survive power loss.

        Whoever wrote it may not have come to that yet, and whoever found a record of its own in it
        is about to say that the record is safe.

        Raises:
            OSError: nobody can say whether they do.
        """

    def check_blank(self) -> None:  # noqa: B027 - most journals leave it to the disk
        """Raise ``StoreReadOnly`` when payloads cannot be blanked from here."""

    @abstractmethod
    def blank(self, number: int, event: str, kept: Mapping[str, Any]) -> None:
        """Blank one payload of a commit for good, leaving ``kept`` in its place."""

    @abstractmethod
    def relearn(self) -> None:
        """Throw the ledger away and make it anew from the commits."""

    @abstractmethod
    def close(self) -> None:
        """Give everything back. Closing twice is harmless."""

    def adopt(self, commits: Iterable[Commit]) -> None:
        """Append commits of another journal as they are, in order: its numbers, hashes and times.

        Raises:
            Conflict: they do not follow from what is here.
        """
        for commit in commits:
            with self.turn() as turn:
                turn.ledger.take(commit)
                turn.append(commit)

    @property
    def is_unfinished(self) -> bool:
        """Whether it waits for the rest of what it adopts, closed to all others until then."""
        return False

    def finish(self) -> None:  # noqa: B027 - most journals are whole from the first commit on
        """Say that all that was to be adopted is here."""

    def read(self, after: int = 0, upto: int | None = None) -> Iterator[Commit]:
        """Yield verified commits in order, each linked to the one before it.

        Raises:
            StoreDamaged: a commit does not verify; it is named.
        """
        last = self.head().number if upto is None else upto
        previous: str | None = GENESIS.hash if after == 0 else None
        for number, text in self.texts(after, last):
            commit = Commit.read(text, number=number)
            if previous is not None and commit.previous != previous:
                raise unlinked(number)
            previous = commit.hash
            yield commit

    def recent(self, after: int, upto: int) -> Iterator[Commit]:
        """Yield commits as ``read`` does, from memory where this process took them just now."""
        return self.read(after, upto)

    def is_ours(self, journal: str) -> bool:
        """Tell whether an id is this journal's, or of one that it goes on from."""
        if journal != self.id and self._forebears is None:
            self._forebears = frozenset(owner for _, owner in self.owners())
        return journal == self.id or journal in (self._forebears or ())

    def successor(self) -> SucceededBy | None:
        """Return how this journal ended, or None when it goes on."""
        number = self.head().number
        for commit in self.read(max(0, number - 1), number):
            for entry in commit.entries:
                if isinstance(entry.event, SucceededBy):
                    return entry.event
        return None

    def owners(self) -> list[tuple[int, str]]:
        """Return (first number, id) of the journals that the commits were written to, in order.

        More than one where this journal is a copy of another that goes on by itself.
        """
        owners: list[tuple[int, str]] = []
        first, last = 1, self.head().number
        while first <= last:
            (commit,) = self.read(first - 1, first)
            owners.append((first, commit.journal))
            if commit.journal == self.id:
                break
            first = self._first(first, last, partial(_is_of_another, commit.journal))
        return owners

    def holders(self, number: int) -> list[str]:
        """Return the ids of the journals that hold a commit, from the one it was written to on.

        A journal that was copied and goes on by itself gives the numbers behind to other commits.
        """
        owners = self.owners()
        at = max((k for k, (first, _) in enumerate(owners) if first <= number), default=0)
        return [owner for _, owner in owners[at:]]

    def _first(self, low: int, high: int, fits: Callable[[Commit], bool]) -> int:
        """Return the first number from ``low`` to ``high`` that fits, or one more than ``high``.

        Of two that follow each other the second fits if the first does, so bisection finds it.
        """
        while low <= high:
            middle = (low + high) // 2
            (commit,) = self.read(middle - 1, middle)
            if fits(commit):
                high = middle - 1
            else:
                low = middle + 1
        return low

    def number_at(self, moment: str) -> int:
        """Return the number of the last commit recorded at or before a time, 0 when none was.

        Times never run backwards along the numbers.
        """
        return self._first(1, self.head().number, lambda commit: commit.recorded > moment) - 1


def must_follow(commit: Commit, head: Head) -> Head:
    """Return the head that a commit makes.

    Raises:
        HeadMoved: it does not follow ``head``.
    """
    if commit.number != head.number + 1 or commit.previous != head.hash:
        raise HeadMoved(f"commit {commit.number} does not follow head {head.number}")
    return commit.head


def in_batches(commits: Iterable[Commit]) -> Iterator[list[Commit]]:
    """Yield commits in lists of up to about 1,000, less where they are large."""
    batch: list[Commit] = []
    size = 0
    for commit in commits:
        if batch and (len(batch) == BATCH or size + len(commit.text) > _LARGE):
            yield batch
            batch, size = [], 0
        batch.append(commit)
        size += len(commit.text)
    if batch:
        yield batch


def _is_of_another(journal: str, commit: Commit) -> bool:
    return commit.journal != journal


def absent(number: int) -> StoreDamaged:
    """Return the error for a commit that is not there although later ones are, or should be."""
    return StoreDamaged(f"commit {number} is not there. Try: lineage fsck", commit=number)


def unlinked(number: int) -> StoreDamaged:
    """Return the error for a commit that does not follow from the one before it."""
    message = f"commit {number} does not carry the hash of the commit before it. Try: lineage fsck"
    return StoreDamaged(message, commit=number)
