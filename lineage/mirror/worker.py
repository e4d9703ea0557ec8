"""Brings what is due to one mirror: run by run, with receipts, backing off when it does not answer.

It is the same in the process that owns a live run and in ``lineage sync``. Nothing that goes wrong
here goes further: a fault is noted with its words, and tried again or listed.
"""

from __future__ import annotations

import logging
import random
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from errno import EACCES, EPERM, EROFS
from math import inf
from shlex import quote
from typing import TYPE_CHECKING

from ..errors import ArtifactNotFoundError, MirrorUnready, StoreError, StoreReadOnly
from ..events import Receipt
from ..index import queries
from ..journal.kinds import open_shelf
from ..merging import MERGED_FROM
from .base import Due, Elsewhere, Refused, Retry, Waits
from .deliveries import Dead, Deliveries, Waiting
from .lease import Holder, Lease, leases_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..registry import Lineage
    from .base import Desk, Mirror

__all__ = ["Status", "Worker"]

_log = logging.getLogger(__name__)

_FIRST, _LONGEST = 1.0, 300.0  # seconds between attempts, growing
_BATCH = 200  # receipts in one event
_OFTEN = 5.0  # seconds after which what arrived gets its receipt, in the middle of a run
_HOPELESS = 10  # attempts after which a fault of ours counts as a refusal
_ENOUGH = 3  # runs that fail in one pass: then it is the server
_SOON = 2.0  # seconds after which what waits for another one is looked at again


@dataclass(frozen=True, slots=True)
class _Outage:
    """A server that did not answer or a run that failed, how often, and when it is tried again."""

    attempts: int = 0
    until: float = 0.0


@dataclass(slots=True)
class _Shut:
    """Servers that are left alone for the rest of a pass, and how many of their runs failed."""

    faults: dict[str, MirrorUnready | None] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)

    def failed(self, where: str) -> int:
        """Count a run that failed."""
        self.failures[where] += 1
        return self.failures[where]


@dataclass(slots=True)
class Status:
    """How far a mirror is.

    Attributes:
        mirror: its name.
        left: how many subjects are to be delivered.
        since: when the journal took the oldest of them, or None.
        runs: the runs they belong to.
        dead: what was refused, with the outside system's words.
        held: runs that another process delivers, and which one.
        words: why the last attempt failed, if it did.
        delivered: how many subjects arrived by this worker.
    """

    mirror: str
    left: int = 0
    since: str | None = None
    runs: list[Waiting] = field(default_factory=list)
    dead: list[Dead] = field(default_factory=list)
    held: dict[str, str] = field(default_factory=dict)
    words: str | None = None
    delivered: int = 0


class Worker:
    """Delivers to one mirror.

    Args:
        store: an open store of this worker's own.
        mirror: where to.
        wants: tells whether a run is this worker's business; None takes all that are covered.
        after: for a worker that needs no history: keep the rows in memory, and begin behind this
            commit.
        clock: the time, in seconds.
    """

    def __init__(
        self,
        store: Lineage,
        mirror: Mirror,
        *,
        wants: Callable[[str], bool] | None = None,
        after: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._mirror, self._wants, self._clock = store, mirror, wants, clock
        self.deliveries = Deliveries(
            store.journal, mirror, private=after is not None, after=after or 0
        )
        self._shelf = store.journal.shelf or open_shelf(store.journal.address)
        self._random = random.Random()  # noqa: S311 - the stream that training seeded is left alone
        self._held: dict[str, Holder] = {}
        self._outages: dict[str, _Outage] = {}  # by server, and by run
        self._settled = 0.0
        self.delivered = self.faults = 0
        self._elsewhere: set[str] = set()  # subjects that this process cannot deliver

    # ------------------------------------------------------------------------ working

    def work(self, *, stop: Callable[[], bool] = lambda: False, patient: bool = True) -> int:
        """Deliver what can be delivered now, and return how many subjects arrived.

        Args:
            stop: asked before every delivery; true ends the work.
            patient: leave alone what is to be tried later.

        Raises:
            MirrorUnready: a server cannot be used from here, and what goes to others was delivered;
                or the store ended.
            StoreError: the store cannot be read or written.
        """
        before = self.delivered
        now = self._clock() if patient else inf
        self._catch_up()
        self._must_go_on()
        self._settle()
        self._held.clear()
        shut = _Shut()
        try:
            for waiting in self.deliveries.runs():
                if stop():
                    break
                self._visit(waiting.run, now, shut, stop)
        finally:
            self._settle()
        for fault in filter(None, shut.faults.values()):
            raise MirrorUnready(self._clean(fault)) from fault
        return self.delivered - before

    def _must_go_on(self) -> None:
        """Deliver nothing from a store that ended: it takes no receipts, and all would be twice."""
        journal = self._store.journal
        with journal.peek() as ledger:
            ended = ledger.conditions().successor is not None
        if ended and (successor := journal.successor()) is not None:
            where = successor.store or f"journal {successor.journal}"
            raise MirrorUnready(
                f"{journal.address} ended and goes on as {where}, which feeds {self.name} from now "
                f"on. Try: lineage sync --store {quote(where)}"
            )

    def next_try(self) -> float:
        """Return the seconds until something may be tried again; 0 for now, inf for never."""
        due = [
            max(self._until(each.run), self.deliveries.next_try(each.run))
            for each in self._covered()
        ]
        return max(0.0, min(due, default=inf) - self._clock())

    def _until(self, run: str) -> float:
        """Return when a run, or the server that it goes to, is tried again."""
        places = (run, self._mirror.where(self._link(run)))
        return max(self._outages.get(each, _Outage()).until for each in places)

    def _visit(self, run: str, now: float, shut: _Shut, stop: Callable[[], bool]) -> None:
        """Deliver a run. One that fails holds up no other, a server no other server."""
        if not self._due(run, now):
            return
        where = self._mirror.where(self._link(run))
        if where in shut.faults or now < self._until(run):
            return
        place = where
        try:
            self._mirror.check(self._link(run))
            self._outages.pop(where, None)
            place = run
            self._run(run, now, stop)
            self._outages.pop(run, None)
        except Retry as error:
            self._back_off(place, error)
            if shut.failed(where) >= _ENOUGH or place == where:
                shut.faults[where] = None
        except MirrorUnready as error:
            shut.faults[where] = error
        except Refused as error:  # what was delivered has arrived all the same
            _log.warning("%s refused the end of run:%s: %s", self._mirror.name, run,
                         self._clean(error))  # fmt: skip

    def _back_off(self, place: str, error: Retry) -> None:
        attempts = self._outages.get(place, _Outage()).attempts + 1
        self._outages[place] = _Outage(attempts, self._clock() + self._pause(attempts))
        _log.info("%s does not answer: %s", self._mirror.name, self._clean(error))

    def _run(self, run: str, now: float, stop: Callable[[], bool]) -> None:
        try:
            lease = Lease.take(
                self._shelf, leases_of(self._mirror.name), f"run:{run}",
                helpers=self._mirror.helpers,
            )  # fmt: skip
        except OSError as error:
            if error.errno not in (EROFS, EACCES, EPERM):
                raise
            raise StoreReadOnly(
                f"who delivers cannot be noted beside the journal ({error}); run it where the "
                "store can be written"
            ) from error
        if isinstance(lease, Holder):
            self._held[run] = lease
            return
        with ExitStack() as stack:
            stack.enter_context(lease)
            self._catch_up()  # the one before may just have finished
            dues = self._due(run, now)
            if not dues:
                return
            desk = stack.enter_context(
                self._mirror.opening(run, self._link(run), self._store, lease)
            )
            for due in dues:
                if stop() or not lease.is_mine:
                    return
                self._deliver(desk, due)
                if self._clock() - self._settled > _OFTEN:
                    self._settle()
        self._settle()  # others may wait for it

    def _deliver(self, desk: Desk, due: Due) -> None:
        try:
            arrived = desk.deliver(due)
        except Waits as error:
            if isinstance(error, Elsewhere):
                self._elsewhere.add(due.subject)
            self.deliveries.note_waiting(due, str(error), self._clock() + _SOON)
        except Refused as error:
            self.deliveries.note_dead(due, self._clean(error))
            _log.warning("%s refused %s: %s", self._mirror.name, due.subject, self._clean(error))
        except Retry as error:
            self._failed(due, error)
            raise
        except (MirrorUnready, StoreError):
            raise
        except Exception as error:  # noqa: BLE001 - training, or the other deliveries, go on
            self.faults += 1
            _log.exception("delivering %s to %s failed", due.subject, self._mirror.name)
            if due.attempts + 1 >= _HOPELESS:
                self.deliveries.note_dead(due, self._clean(error))
            else:
                self._failed(due, error)
        else:
            self._note(due, arrived)

    def _note(self, due: Due, arrived: Mapping[str, Mapping[str, object]]) -> None:
        for subject, facts in arrived.items():
            self.deliveries.note_arrived(Due(subject, due.run, due.upto), facts)
            self.delivered += 1

    def _failed(self, due: Due, error: Exception) -> None:
        later = self._clock() + self._pause(due.attempts + 1)
        self.deliveries.note_failed(due, self._clean(error), later)

    def _pause(self, attempts: int) -> float:
        longest = min(_LONGEST, _FIRST * 2 ** min(attempts - 1, 16))
        return self._random.uniform(longest / 2, longest)

    def _clean(self, error: Exception) -> str:
        return self._store.redactor.text(str(error) or type(error).__name__)[:1000]

    # ------------------------------------------------------------------------ receipts

    def _catch_up(self) -> None:
        with self._store.reading():
            pass  # what waits in intakes is in the journal now
        self.deliveries.catch_up()

    def _settle(self) -> None:
        """Write receipts for what arrived."""
        self._settled = self._clock()
        arrived = self.deliveries.arrived()
        for at in range(0, len(arrived), _BATCH):
            delivered = {each.subject: each.facts for each in arrived[at : at + _BATCH]}
            head = self._store.journal.head().hash
            with suppress(StoreError):  # they are written the next time
                self._store.commit(
                    Receipt(mirror=self._mirror.name, delivered=delivered, head=head)
                )
        if arrived:
            self.deliveries.catch_up()

    # -------------------------------------------------------------------------- asking

    @property
    def name(self) -> str:
        """The mirror's name."""
        return self._mirror.name

    @property
    def is_hopeful(self) -> bool:
        """Whether something failed, or was taken, that may work when it is tried again."""
        passing = any(holder.is_passing for holder in self._held.values())
        return passing or bool(self._outages) or self.deliveries.is_trying()

    @property
    def in_vain(self) -> int:
        """How many of the subjects that are left this process cannot deliver."""
        if not self._elsewhere:
            return 0
        dues = (due for each in self._covered() for due in self._due(each.run, inf))
        return sum(due.subject in self._elsewhere for due in dues)

    def revive(self) -> int:
        """Have what was refused tried again, and return how many subjects that are."""
        self._catch_up()
        return self.deliveries.revive()

    def doubt(self) -> None:
        """Have everything looked up again, whatever receipts say."""
        self._catch_up()
        self.deliveries.doubt()

    def _due(self, run: str, now: float) -> list[Due]:
        """Return what is to be delivered of a run: all, or what the mirror knows already."""
        if self._wants is not None and not self._wants(run):
            return []
        dues = self.deliveries.of(run, now)
        if not dues or (self._mirror.covers(run, self._link(run)) and not self._is_merged(run)):
            return dues
        return [due for due in dues if self._receipt(due.subject) is not None]

    def _is_merged(self, run: str) -> bool:
        """Tell whether a run came in by a merge: the store that it came from tells of it."""
        try:
            return MERGED_FROM in self._store.run_info(run).detail
        except ArtifactNotFoundError:
            return False

    def _link(self, run: str) -> Mapping[str, object] | None:
        """Return what receipts say of a run."""
        return self._receipt(f"run:{run}")

    def _receipt(self, subject: str) -> Mapping[str, object] | None:
        with self._store.reading() as db:
            found = queries.receipts(db, subject)
        return next((each.facts for each in found if each.mirror == self._mirror.name), None)

    def _covered(self) -> list[Waiting]:
        """Return the runs with something left that is to be delivered."""
        found = []
        for waiting in self.deliveries.runs():
            dues = self._due(waiting.run, inf)
            if dues:
                found.append(waiting._replace(left=len(dues)))
        return found

    def status(self) -> Status:
        """Say how far the mirror is, as far as this host knows; nothing is sent."""
        self._catch_up()
        runs = self._covered()
        return Status(
            mirror=self._mirror.name, left=sum(each.left for each in runs),
            since=min((each.since for each in runs if each.since), default=None), runs=runs,
            dead=self.deliveries.dead(),
            held={run: holder.who for run, holder in self._held.items()},
            words=self.deliveries.words(), delivered=self.delivered,
        )  # fmt: skip

    def close(self) -> None:
        """Give the rows back; the store stays open."""
        self.deliveries.close()
