"""Copies a journal into another one of any kind: the same commits, numbers, hashes and times.

A copy has an id of its own from its first commit of its own on, which says where it comes from.
Either both go on, as a declared fork; or the source ends with a commit that names its successor.
A copy that was cut off goes on when it is run again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .clock import Clock, SystemClock, new_id
from .commits import GENESIS, Commit, Entry, Head, Mark
from .errors import Conflict, StoreError
from .events import Event, ForkedFrom, SucceededBy
from .journal.base import GATE_TIMEOUT, HeadMoved, Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Copied", "copy_journal"]


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of a copy.

    Attributes:
        commits: how many commits of the source the copy holds.
        new: how many of them were copied now.
        head: the last of them.
        ended: whether the source ended there.
    """

    commits: int
    new: int
    head: str
    ended: bool


def copy_journal(
    source: Journal,
    target: Journal,
    *,
    end: bool = False,
    clock: Clock | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Copied:
    """Copy all commits, and declare what the copy is.

    Records that wait in intakes of the source go along when it ends: they are taken in before.

    Args:
        source: where from; it stays as it is, but for its last commit when it ends.
        target: where to: empty, or a copy of this source that was cut off.
        end: end the source, so that the copy alone goes on.
        clock: for the time of the declaration.
        progress: called with (commits done, commits in all).

    Raises:
        Conflict: the target holds something else, or goes on by itself already.
        StoreError: the source ended before, with another successor.
    """
    work = _Copy(source, target, clock or SystemClock(), progress)
    return work.run(end=end)


class _Copy:
    """One copy under way."""

    def __init__(
        self,
        source: Journal,
        target: Journal,
        clock: Clock,
        progress: Callable[[int, int], object] | None,
    ) -> None:
        self._source, self._target, self._clock = source, target, clock
        self._progress = progress
        self._writer = new_id()
        self._new = 0

    def run(self, *, end: bool) -> Copied:
        self._check_target()
        ended = self._successor()
        if ended is not None and ended.journal != self._target.id:
            where = ended.store or f"journal {ended.journal}"
            raise StoreError(f"{self._source.address} ended and goes on as {where}; copy that one")
        head = self._follow(before_the_end=ended is not None)
        while end and ended is None:
            self._take_in()
            if self._end(head):
                break
            head = self._follow(before_the_end=False)
        self._declare(head)
        return Copied(head.number, self._new, head.hash, end or ended is not None)

    # ------------------------------------------------------------------- copying

    def _check_target(self) -> None:
        """Make sure that what the target holds is the beginning of the source."""
        here = self._target.head()
        if here == GENESIS:
            return
        there = self._source.head()
        if here.number <= there.number:
            (commit,) = self._source.read(here.number - 1, here.number)
            if commit.head == here:
                return
        (last,) = self._target.read(here.number - 1, here.number)
        forks = [e.event for e in last.entries if isinstance(e.event, ForkedFrom)]
        if forks and self._source.is_ours(forks[0].journal):
            raise Conflict(
                f"{self._target.address} is a copy of commits 1 to {forks[0].commit} already, and "
                "goes on by itself; to bring in what is new use: lineage merge"
            )
        raise Conflict(f"{self._target.address} holds another history; name an empty place")

    def _follow(self, *, before_the_end: bool) -> Head:
        """Copy what is new, and return the last commit that was copied."""
        last = self._source.head().number - before_the_end
        here = self._target.head()
        self._target.adopt(self._counted(here.number, last))
        return self._target.head()

    def _counted(self, after: int, last: int) -> Iterator[Commit]:
        for commit in self._source.read(after, last):
            yield commit
            self._new += 1
            if self._progress is not None:
                self._progress(commit.number, last)

    # --------------------------------------------------------- what the copy is

    def _successor(self) -> SucceededBy | None:
        """Return how the source ended, or None when it goes on."""
        number = self._source.head().number
        if number == 0:
            return None
        (commit,) = self._source.read(number - 1, number)
        for entry in commit.entries:
            if isinstance(entry.event, SucceededBy):
                return entry.event
        return None

    def _take_in(self) -> None:
        """Have the source take in what waits for it."""
        from .combine import Combiner

        combiner = Combiner(self._source, {}, clock=self._clock)
        combiner.combine()
        combiner.close()

    def _end(self, head: Head) -> bool:
        """End the source if its head is still the one that was copied."""
        event = SucceededBy(journal=self._target.id, store=self._target.address)
        return self._append(self._source, event, head)

    def _declare(self, head: Head) -> None:
        event = ForkedFrom(journal=self._source.id, commit=head.number, hash=head.hash)
        while not self._append(self._target, event, head):
            if self._target.head() != head:
                raise Conflict(
                    f"somebody wrote to {self._target.address} while it was made; remove it, and "
                    "copy again"
                )
        self._target.finish()

    def _append(self, journal: Journal, event: Event, after: Head) -> bool:
        """Append one event right behind a commit; False when somebody else wrote there."""
        try:
            with journal.turn(GATE_TIMEOUT) as turn:
                if turn.head.number != after.number:
                    return False
                entry = Entry(f"{self._writer}-1", self._clock.now(), event)
                commit = Commit.make(
                    journal.id, turn.head, [entry], writers={self._writer: Mark(1)},
                    recorded=self._clock.now(),
                )  # fmt: skip
                turn.ledger.take(commit)
                turn.append(commit)
        except HeadMoved:
            return False
        return True
