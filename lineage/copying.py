"""Copies a journal into another one of any kind: the same commits, numbers, hashes and times.

A copy has an id of its own from its first commit of its own on, which says where it comes from.
Either both go on, as a declared fork; or the source ends with a commit that names its successor.
A copy that was cut off goes on when it is run again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .claims import copy_claims
from .clock import Clock, SystemClock, new_id
from .commits import GENESIS, Commit, Entry, Head, Mark
from .errors import Conflict, StoreError, StoreReadOnly, StoreUnsuitable
from .events import Event, ForkedFrom, SucceededBy
from .journal.base import GATE_TIMEOUT, HeadMoved, Journal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Copied", "copy_journal"]

_CHASES = 3  # times that what was written meanwhile is copied before the source ends


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
        Conflict: both are one store, or the target holds something else, or goes on by itself.
        StoreUnsuitable: the target does not last.
        StoreReadOnly: the source is to end and cannot be written.
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
        self._check_pair(end=end)
        declared = self._check_target()
        ended = self._source.successor()
        if ended is not None and ended.journal != self._target.id:
            where = ended.store or f"journal {ended.journal}"
            raise StoreError(f"{self._source.address} ended and goes on as {where}; copy that one")
        if declared is not None:
            return self._open_target(declared, end=end, ended=ended is not None)
        head = self._follow(before_the_end=ended is not None)
        if end and ended is None:
            head = self._end(head)
        copy_claims(self._source.address, self._target.address)
        self._declare(head)
        return Copied(head.number, self._new, head.hash, end or ended is not None)

    # ------------------------------------------------------------------- copying

    def _check_pair(self, *, end: bool) -> None:
        """Make sure that there are two stores, and that the end of one does not end both."""
        if self._source.id == self._target.id:
            raise Conflict(
                f"{self._source.address} and {self._target.address} are one store; name an empty "
                "place for the copy"
            )
        if self._target.kind == "memory":
            raise StoreUnsuitable(
                f"{self._target.address} is gone when this process ends; name a place that stays"
            )
        if end and self._source.read_only:
            raise StoreReadOnly(
                f"{self._source.address} is read-only here and cannot be ended; ask its owner, or "
                "use: lineage copy"
            )

    def _check_target(self) -> ForkedFrom | None:
        """Make sure that what the target holds is the beginning of the source.

        Returns:
            What the target is declared to be; None when it is not declared yet.
        """
        here = self._target.head()
        if here == GENESIS:
            return None
        there = self._source.head()
        if here.number <= there.number:
            (commit,) = self._source.read(here.number - 1, here.number)
            if commit.head == here:
                return None
        (last,) = self._target.read(here.number - 1, here.number)
        forks = [e.event for e in last.entries if isinstance(e.event, ForkedFrom)]
        if forks and self._source.is_ours(forks[0].journal):
            return forks[0]
        raise Conflict(f"{self._target.address} holds another history; name an empty place")

    def _open_target(self, declared: ForkedFrom, *, end: bool, ended: bool) -> Copied:
        """Finish a copy that was cut off between its declaration and its opening to others."""
        was_unfinished = self._target.is_unfinished
        self._target.finish()
        if was_unfinished and (ended or not end):
            return Copied(declared.commit, 0, declared.hash, ended)
        raise Conflict(
            f"{self._target.address} is a copy of commits 1 to {declared.commit} already, and "
            "goes on by itself; to have what is new here too, copy into an empty place"
        )

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

    def _take_in(self) -> None:
        """Have the source take in what waits for it."""
        from .combine import Combiner

        combiner = Combiner(self._source, {}, clock=self._clock)
        combiner.combine()
        combiner.close()

    def _end(self, head: Head) -> Head:
        """End the source, behind the last commit that was copied if its writers leave time for it.

        Returns:
            The last commit that was copied then.
        """
        event = SucceededBy(journal=self._target.id, store=self._target.address)
        for _ in range(_CHASES):
            self._take_in()
            if self._append(self._source, event, head):
                return head
            head = self._follow(before_the_end=False)
        while not self._append(self._source, event):
            pass  # others won, who are many; each try has the chance of one of them
        return self._follow(before_the_end=True)

    def _declare(self, head: Head) -> None:
        event = ForkedFrom(journal=self._source.id, commit=head.number, hash=head.hash)
        while not self._append(self._target, event, head):
            if self._target.head() != head:
                raise Conflict(
                    f"somebody wrote to {self._target.address} while it was made; remove it, and "
                    "copy again"
                )
        self._target.finish()

    def _append(self, journal: Journal, event: Event, after: Head | None = None) -> bool:
        """Append one event, right behind a commit if one is named; False when others were first."""
        try:
            with journal.turn(GATE_TIMEOUT) as turn:
                if after is not None and turn.head.number != after.number:
                    return False
                if turn.ledger.conditions().successor is not None:
                    raise StoreError(f"{journal.address} was ended just now by somebody else")
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
