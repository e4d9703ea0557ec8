"""Brings records into the journal: all that is pending, in one commit."""

from __future__ import annotations

import logging
import random
import threading
import time
from contextlib import suppress
from dataclasses import replace
from shlex import quote
from typing import TYPE_CHECKING, Any

from .clock import Clock, SystemClock, new_id
from .commits import Commit, Entry, Mark
from .errors import (
    LineageError,
    PublishRefused,
    StoreBusy,
    StoreError,
    StoreTooNew,
    StoreUnreachable,
)
from .events import Event, Published, RunEnded, RunStarted, Used
from .intake import Pending, in_order
from .journal.base import GATE_TIMEOUT, HeadMoved, Journal, Turn
from .journal.decide import ANY, Outcome, decide, refuse
from .process import PerProcess

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .intake import Intakes, Writer
    from .journal.ledger import Conditions

__all__ = ["Combiner"]

_log = logging.getLogger(__name__)

_SHORT = 0.1  # seconds to wait for a turn before the record goes into the intake
_BATCH = 5000  # records a commit: what a reader holds in memory at a time
_PATIENCE = 600.0  # seconds a writer tries on against others who keep winning
_UNREACHABLE = 20.0  # seconds a writer tries to reach the store before its record has to wait
_LONGEST_PAUSE = 0.1
_LOOKS = 2  # more looks for the records of others before a commit


class Combiner(PerProcess):
    """Writes to one journal: commits at once what its caller waits for, and all that is pending.

    Args:
        journal: where to.
        about: what the intake says of this writer (host, user); nothing secret.
        clock: tells when a record occurred.
    """

    def __init__(
        self, journal: Journal, about: Mapping[str, Any], *, clock: Clock | None = None
    ) -> None:
        self._journal, self._about = journal, about
        self._clock = clock or SystemClock()
        # a stream of its own: the one that training seeded is left alone
        self._random = random.Random()  # noqa: S311
        super().__init__()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        # ids of what is committed at once; what goes through the intake counts for itself
        self._writer = new_id()
        self._sequence = 0
        self._intake: Writer | None = None
        self._waiting: list[Entry] = []  # what we put there and did not see taken
        self._crowded = False
        self._company = 1  # writers in the last commit that was seen
        self._has_told = False  # that records are left for others

    def commit(self, event: Event, *, expect: int | None = ANY) -> Outcome:
        """Commit one record with all that is pending, and say what it came to.

        Args:
            event: the record, open where only the ledger can tell.
            expect: for alias moves, the number that the alias must point to now.

        Raises:
            PublishRefused, Conflict, ArtifactVersionNotFoundError: it makes no sense; nothing of
                it was written.
            StoreBusy, StoreTooNew: it waits in the intake; the error carries its id. An alias move
                and the like does not wait: then there is no id, and nothing was written.
            StoreFull, StoreReadOnly: it was not written.
            StoreUnreachable: nothing answers, and it can wait nowhere (an alias is moved now or
                not at all).
        """
        self._own()
        with self._lock:
            if not (self._journal.slow and _may_wait(event)):
                return self._commit_alone(event, expect, timeout=GATE_TIMEOUT)
            if not self._crowded:
                for _ in range(self._journal.tries):
                    try:
                        return self._commit_alone(event, expect, timeout=_SHORT)
                    except HeadMoved:
                        pass
                    except StoreBusy as error:
                        if error.record is not None:  # it waits already
                            raise
            return self._commit_in_crowd(event)

    def combine(self, folders: Iterable[str] = (), intakes: Iterable[Intakes] = ()) -> int:
        """Commit all that is pending, and return how many records that were.

        Where a newer release or a successor has to take them, they are left alone.

        Args:
            folders: where to look besides where readers look anyway.
            intakes: those of stores that this one goes on from.
        """
        folders, intakes = tuple(folders), tuple(intakes)
        self._own()
        taken = 0
        with self._lock:
            while True:
                with suppress(HeadMoved), self._journal.turn(GATE_TIMEOUT) as turn:
                    conditions = turn.ledger.conditions()
                    if conditions.obstacle:
                        level = logging.DEBUG if self._has_told else logging.WARNING
                        _log.log(level, "pending records are left for a newer release or store")
                        self._has_told = True
                        return taken
                    pending = turn.pending((*conditions.intakes, *folders))
                    for each in intakes:
                        pending += each.pending(turn.ledger.mark)
                    pending = in_order(pending)[:_BATCH]
                    if not pending:
                        return taken
                    self._write(turn, pending)
                    taken += len(pending)

    # ------------------------------------------------------------ the two ways

    def _commit_alone(self, event: Event, expect: int | None, *, timeout: float) -> Outcome:
        """Take a turn and commit: the commit itself is the durable write."""
        self._sequence += 1
        entry = Entry(f"{self._writer}-{self._sequence}", self._clock.now(), event)
        began = time.monotonic()
        doubt: StoreUnreachable | None = None  # what was sent may still arrive
        while True:
            patient = doubt is not None or timeout >= GATE_TIMEOUT
            try:
                return self._take_turn(entry, expect, GATE_TIMEOUT if patient else timeout)
            except HeadMoved:
                if not patient or time.monotonic() - began > _PATIENCE:
                    raise
                self._pause()
            except StoreUnreachable as error:
                # the same record again, and at last the intake of this host, always under its id
                doubt = error
                if time.monotonic() - began > _UNREACHABLE:
                    raise self._parked(entry, error) from error
                self._pause()
            except StoreBusy as error:
                if not patient or error.record is not None:  # it waits already
                    raise
                if doubt is not None:
                    raise self._parked(entry, doubt) from error
                raise self._kept(event, StoreBusy, str(error)) from error
            except (OSError, StoreError) as error:
                # the reply may be lost, the record may not
                outcome = None if isinstance(error, StoreTooNew) else self._landed(entry)
                if outcome is None:
                    raise
                return outcome

    def _take_turn(self, entry: Entry, expect: int | None, timeout: float) -> Outcome:
        look = timeout >= GATE_TIMEOUT
        while True:
            with self._journal.turn(timeout, look=look) as turn:
                if _is_taken(turn, entry):  # by an earlier attempt
                    self._journal.confirm(turn.head.number)
                    return Outcome((), turn.ledger.outcome(entry.writer))
                conditions = self._check_conditions(turn, entry.event)
                pending = turn.pending(conditions.intakes)[:_BATCH]
                if len(pending) < _BATCH:
                    outcome = self._write(turn, pending, entry, expect)
                    assert outcome is not None  # there is one for what was asked
                    return outcome
                self._write(turn, pending)  # first what is older

    def _commit_in_crowd(self, event: Event) -> Outcome:
        """Put the record into the intake first: whoever has the next turn takes it along."""
        with self._journal.peek() as ledger:
            refuse(ledger, event)
        own = self._own_intake().write(event)
        record = own.id
        self._waiting.append(own)
        began = time.monotonic()
        after: int | None = None  # a commit that did not hold the record yet
        while time.monotonic() - began < _PATIENCE:
            try:
                with self._journal.turn(GATE_TIMEOUT) as turn:
                    if _is_taken(turn, own):
                        self._journal.confirm(turn.head.number)
                    else:
                        after = turn.head.number
                        conditions = self._check_conditions(turn, event, record)
                        pending = self._gather(turn, conditions.intakes)
                        self._write(turn, pending)
                        self._company = _writers(pending)
                        self._crowded = self._company > 1
                    if _is_taken(turn, own):
                        return self._taken(record, turn, after)
            except HeadMoved:
                # no pause: who won has most likely taken this record along
                self._crowded = True
            except StoreUnreachable as error:
                if time.monotonic() - began > _UNREACHABLE:
                    raise self._kept(event, StoreBusy, str(error), record) from error
                self._pause()
            except (OSError, StoreError) as error:
                if isinstance(error, StoreTooNew) or getattr(error, "record", None) is not None:
                    raise  # it says that the record waits
                # whoever is told that nothing was written would write it again
                outcome = self._landed(own)
                if outcome is None:
                    raise self._kept(event, StoreBusy, str(error), record) from error
                return outcome
        why = f"others won for {_PATIENCE:g} s"
        raise self._kept(event, StoreBusy, why, record)

    def _pending_with_own(self, turn: Turn, folders: Iterable[str]) -> list[Pending]:
        """Return what waits, and what we wrote ourselves even if a listing does not show it yet."""
        pending = turn.pending(folders)
        shown = {each.entry.id for each in pending}
        self._waiting = [entry for entry in self._waiting if not _is_taken(turn, entry)]
        pending += [
            Pending(entry, Mark(entry.sequence)) for entry in self._waiting if entry.id not in shown
        ]
        return in_order(pending)[:_BATCH]

    def _gather(self, turn: Turn, folders: Iterable[str]) -> list[Pending]:
        """Return what is pending, once those have come that came along the last time.

        Looking takes as long as their append: on a far filesystem one more look finds them.
        """
        pending = self._pending_with_own(turn, folders)
        for _ in range(_LOOKS):
            if _writers(pending) >= self._company:
                break
            pending = self._pending_with_own(turn, folders)
        return pending

    def _taken(self, record: str, turn: Turn, after: int | None) -> Outcome:
        """Return what a record came to that was committed after commit ``after``, if known."""
        version = turn.ledger.outcome(record.partition("-")[0])
        if after is not None:
            for commit in self._journal.recent(after, max(after + 1, turn.head.number)):
                entries = tuple(
                    entry for entry in commit.entries if entry.id.partition(".")[0] == record
                )
                if entries:
                    return Outcome(entries, version, commit.head)
        return Outcome((), version)

    # ------------------------------------------------------------------- parts

    def _write(
        self,
        turn: Turn,
        pending: Iterable[Pending],
        asked: Entry | None = None,
        expect: int | None = ANY,
    ) -> Outcome | None:
        """Close records and append them as one commit, last the one whose writer waits."""
        entries: list[Entry] = []
        writers: dict[str, Mark] = {}
        for record in pending:
            try:
                entries += decide(turn.ledger, record.entry, direct=False).entries
            except (LineageError, UnicodeEncodeError):
                # its writer is gone and cannot be told; the others must not wait for it
                _log.exception("record %s makes no sense and is left out", record.entry.id)
            writers[record.entry.writer] = record.mark
        outcome = None
        if asked is not None:
            try:
                outcome = decide(turn.ledger, asked, direct=True, expect=expect)
            except UnicodeEncodeError as error:
                message = f"{error.object!r} is no UTF-8, and no record can hold it; rename it"
                raise PublishRefused(message) from None
            if outcome.entries:
                entries += outcome.entries
                writers[asked.writer] = Mark(asked.sequence)
        if writers:
            commit = Commit.make(
                self._journal.id, turn.head, entries, writers=writers, recorded=self._clock.now()
            )
            turn.ledger.advance(commit)
            turn.append(commit)
            if outcome is not None:
                outcome = replace(outcome, head=commit.head)
        return outcome

    def _check_conditions(self, turn: Turn, event: Event, record: str | None = None) -> Conditions:
        conditions = turn.ledger.conditions()
        if conditions.successor is not None:
            ended, place = self._journal.successor(), self._journal.address
            where = (ended and ended.store) or f"journal {conditions.successor}"
            why = f"{place} ended and goes on as {where}; open that one"
            if not _may_wait(event):
                raise StoreError(why)
            record = record or self._own_intake().write(event).id
            advice = f"lineage recover {quote(place)} --store {quote(where)}"
            message = f"{why}. Record {record} is safe in the intake. Try: {advice}"
            raise StoreBusy(message, record=record)
        if conditions.unknown is not None:
            why = f"the store holds {conditions.unknown!r} events of a newer release"
            raise self._kept(event, StoreTooNew, why, record)
        return conditions

    def _kept(
        self, event: Event, error: type[StoreError], why: str, record: str | None = None
    ) -> StoreError:
        """Put a record that cannot be committed now into the intake, and make the error.

        What is decided by how things stand now is not decided later: nobody would look any more
        whether an alias is where it was expected, or a version held.
        """
        if not _may_wait(event):
            return error(f"{why}; nothing was written, do it again later")
        record = record or self._own_intake().append(event)
        advice = "upgrade nemotron-lineage" if error is StoreTooNew else "it is numbered later"
        message = f"{why}; record {record} is safe in the intake, {advice}. Try: lineage where"
        return StoreBusy(message, record=record) if error is StoreBusy else error(message)

    def _parked(self, entry: Entry, error: StoreUnreachable) -> StoreError:
        """Put a record that may have been committed into the intake of this host, under its id."""
        if not (_may_wait(entry.event) and self._journal.intakes.keep(entry, self._about)):
            return error
        self._writer, self._sequence = new_id(), 0  # so that no later mark can pass over it
        return self._kept(entry.event, StoreBusy, str(error), entry.id)

    def _landed(self, entry: Entry) -> Outcome | None:
        """Look whether a record is in the journal although its writer was told otherwise."""
        with suppress(OSError, StoreError), self._journal.turn(GATE_TIMEOUT) as turn:
            if _is_taken(turn, entry):
                self._journal.confirm(turn.head.number)
                return Outcome((), turn.ledger.outcome(entry.writer))
        return None

    def _own_intake(self) -> Writer:
        if self._intake is None:
            self._intake = self._journal.intakes.crowd(self._about)
        return self._intake

    def _pause(self) -> None:
        time.sleep(self._random.uniform(0, _LONGEST_PAUSE))

    def close(self) -> None:
        """Give the intake's descriptor back."""
        self._own()
        if self._intake is not None:
            self._intake.close()


def _writers(pending: Iterable[Pending]) -> int:
    """Return how many writers' records these are."""
    return len({each.entry.writer for each in pending})


def _is_taken(turn: Turn, entry: Entry) -> bool:
    return turn.ledger.mark(entry.writer).sequence >= entry.sequence


def _may_wait(event: Event) -> bool:
    """Tell whether an event can be committed later by somebody else."""
    return isinstance(event, (Published, Used, RunStarted, RunEnded))
