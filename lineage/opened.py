"""An open store: its journal, and an index that is brought up to date before it is read."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

from .clock import Clock, SystemClock
from .combine import Combiner
from .errors import PathNotFoundError, StoreClosed
from .index.project import Index
from .launch import user
from .places import Outside, Places
from .redact import Redactor
from .snapshots import Notice

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager
    from types import TracebackType

    from .commits import Head, Mark
    from .intake import Intakes, Waiting
    from .journal.base import Journal
    from .model import Location, Version

__all__ = ["OpenStore"]


class OpenStore:
    """What a store is made of, while it is open; ``Reader`` asks it questions."""

    def __init__(
        self,
        journal: Journal,
        *,
        clock: Clock | None = None,
        environ: Mapping[str, str] | None = None,
        outside: Outside | None = None,
    ) -> None:
        self.journal = journal
        self._environ = os.environ if environ is None else environ
        self.redactor = Redactor(self._environ)
        self._places = Places(outside)
        about = {"host": self._places.host, "user": user()}
        self._combiner = Combiner(journal, about, clock=clock or SystemClock())
        self._index = Index(journal)
        self._notice = Notice(journal)
        self._seen: Head | None = None
        self._intakes: tuple[str, ...] = ()
        self._is_open = True

    # ------------------------------------------------------------ how it stands

    def pending(self) -> int:
        """Return how many records wait in intakes, without combining them."""
        self._check_open()
        with self.journal.peek() as ledger:
            return len(self.journal.intakes.pending(ledger.mark, ledger.conditions().intakes))

    def waiting(
        self, folders: Iterable[str] = (), intakes: Iterable[Intakes] = ()
    ) -> list[Waiting]:
        """Describe the records that wait in intakes by their writers, without combining them.

        Args:
            folders: intakes (``.../.lineage``) to look into besides those that runs declared.
            intakes: those of stores that this one goes on from.
        """
        self._check_open()
        with self.journal.peek() as ledger:
            conditions = ledger.conditions()
            found = self.journal.intakes.waiting(ledger.mark, (*conditions.intakes, *folders))
            found += [each for one in intakes for each in one.waiting(ledger.mark)]
        obstacle = conditions.obstacle
        return [replace(each, obstacle=each.obstacle or obstacle) for each in found]

    def position(self) -> dict[str, Any]:
        """Return how far the journal and its index are."""
        self._check_open()
        head = self.journal.head()
        return {
            "commits": head.number, "head": head.hash, "index": self._index.head().number,
            "index file": self._index.path or "in memory",
        }  # fmt: skip

    def locate(
        self, path: str | os.PathLike[str], *, external: bool = False, must_exist: bool = False
    ) -> Location:
        """Describe where a path lies and which hosts see it.

        Raises:
            PathNotFoundError: nothing is there, and it must exist.
        """
        location = self._places.locate(path, external=external)
        if must_exist and not location.external and not os.path.exists(path):
            message = f"{location.path} does not exist on this host; check it, or say external"
            raise PathNotFoundError(location.path, message)
        return location

    def is_there(self, version: Version) -> bool | None:
        """Tell whether there is something at a version's place; None when this host cannot know."""
        return self._places.is_there(version.location)

    # ----------------------------------------------------------------- reading

    def reading(self, *, combine: bool = True) -> AbstractContextManager[sqlite3.Connection]:
        """Bring the index up to date with everything that anyone recorded, and read from it.

        Without ``combine``, records that wait go on waiting.
        """
        self._check_open()
        head = self.journal.head()
        combine = combine and not self.journal.read_only and self._has_pending(head)
        if combine and self._combiner.combine():
            head = self.journal.head()
        self._index.catch_up(head)
        self._notice.look(head.number)
        return self._index.reading()

    def rebuild_index(self) -> None:
        """Throw the query tables away and make them anew from the journal."""
        self._check_open()
        self._index.rebuild()

    def _has_pending(self, head: Head) -> bool:
        if head != self._seen:  # what every writer must know changes with commits alone
            with self.journal.peek() as ledger:
                self._seen, self._intakes = head, ledger.conditions().intakes
        return self.journal.intakes.has_pending(self._mark, self._intakes)

    def _mark(self, writer: str) -> Mark:
        with self.journal.peek() as ledger:
            return ledger.mark(writer)

    def _check_open(self) -> None:
        if not self._is_open:
            raise StoreClosed(f"the store {self.journal.address} was closed; open it again")

    def close(self) -> None:
        """Give everything back. Closing twice is harmless."""
        if self._is_open:
            self._is_open = False
            self._combiner.close()
            self._index.close()
            self.journal.close()

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the store."""
        self.close()
