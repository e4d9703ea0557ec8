"""What a mirror promises, what it is given, and how a delivery can end.

A mirror is never told what happened but what changed: it looks how a *subject* (a run, a version,
a use) stands in the store now, and makes the outside system say the same. So a delivery that is
repeated, late or out of order never moves the outside system backwards, and a hundred events about
one version are one delivery.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager

    from ..commits import Entry
    from ..model import VersionId
    from ..registry import Lineage
    from .lease import Lease

__all__ = ["Desk", "Due", "Elsewhere", "Mirror", "Refused", "Retry", "Waits"]


class Retry(Exception):
    """It did not work now, and may later: no network, a busy server, a timeout."""


class Refused(Exception):
    """It will not work as it is: a name or a right that the outside system refuses; its words."""


class Waits(Exception):
    """Something else has to arrive first."""


class Elsewhere(Waits):
    """Another process has to deliver it: waiting for it here is in vain."""


@dataclass(frozen=True, slots=True)
class Due:
    """Something about which the outside system does not know all.

    Attributes:
        subject: ``run:<id>``, ``art://name:vN``, or the id of an event.
        run: the run that it belongs to, or "" for none.
        upto: number of the last commit that speaks of it.
        attempts: how often it was tried in vain.
        place: number of the first commit that speaks of it, and the position there.
    """

    subject: str
    run: str
    upto: int = 0
    attempts: int = 0
    place: tuple[int, int] = (0, 0)


class Desk(ABC):
    """Where the deliveries of one run are made, one after the other."""

    @abstractmethod
    def deliver(self, due: Due) -> Mapping[str, Mapping[str, Any]]:
        """Make the outside system say of a subject what the store says now.

        Doing it twice is doing it once: what is there already is looked up first.

        Returns:
            By subject, what the outside system calls it: the one that was due, and others that
            had to be brought along.

        Raises:
            Retry: it may work later. Nothing else of this run is sent until then.
            Refused: it never will as it is. Others go on.
            Waits: it depends on something that has not arrived.
            Elsewhere: this process cannot deliver it.
        """


class Mirror(ABC):
    """An outside system that is fed from the journal.

    Promises:

    1. ``Desk.deliver`` is idempotent: whatever was delivered before, by whatever process that died
       at whatever moment, the outside system ends with each thing once.
    2. Nothing is sent that is not in the journal, whose records passed the redactor.
    3. A fault is one of ``Retry``, ``Refused`` and ``Waits``, or the mirror's own, which the
       worker logs and tries again.

    Attributes:
        name: the word for it in receipts, settings and on the command line.
        helpers: programs that its SDK starts, and that finish what the process began.
    """

    name: str
    helpers: tuple[str, ...] = ()

    @abstractmethod
    def concerns(self, entry: Entry, producer: Callable[[VersionId], str | None]) -> Iterable[Due]:
        """Say which subjects an event changes.

        Args:
            entry: one event of the journal; of what is returned, subject and run are looked at.
            producer: tells the run that published a version.
        """

    @abstractmethod
    def covers(self, run: str, link: Mapping[str, Any] | None) -> bool:
        """Tell whether the subjects of a run are to be delivered.

        Args:
            run: its id, "" for subjects of no run.
            link: what receipts say of the run, or None.
        """

    def where(self, link: Mapping[str, Any] | None) -> str:
        """Return which server a run goes to: one that does not answer holds up no other.

        Args:
            link: what receipts say of the run, or None.
        """
        del link
        return ""

    @abstractmethod
    def check(self, link: Mapping[str, Any] | None) -> None:
        """Look quickly whether the outside system answers at all.

        Args:
            link: what receipts say of the run that is to be delivered, or None.

        Raises:
            Retry: it does not.
            MirrorUnready: it cannot be used from here: not installed, not configured, no login.
        """

    @abstractmethod
    def opening(
        self, run: str, link: Mapping[str, Any] | None, store: Lineage, lease: Lease
    ) -> AbstractContextManager[Desk]:
        """Open the desk of a run; only one process has it open at a time.

        Args:
            run: its id, "" for subjects of no run.
            link: what receipts say of the run, or None.
            store: where to look how things stand.
            lease: that of the run, to mark while an SDK has something in hand.

        Raises: as ``check``.
        """
