"""What comes out of one record: the record itself, closed, and the events that follow from it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..events import AliasMoved, Event

if TYPE_CHECKING:
    from ..commits import Entry
    from ..model import VersionId
    from .ledger import Ledger

__all__ = ["Chain"]


class Chain:
    """The entries that come out of one record, applied to the ledger as they are added."""

    def __init__(self, ledger: Ledger, entry: Entry) -> None:
        self._ledger, self._entry = ledger, entry
        self._followers = 0
        self.entries: list[Entry] = []

    def lead(self, event: Event) -> None:
        """Add the record itself, closed; it keeps its id."""
        self._add(replace(self._entry, event=event))

    def follow(self, event: Event) -> None:
        """Add what follows from the record."""
        self._followers += 1
        self._add(self._entry.follow(event, self._followers))

    def _add(self, entry: Entry) -> None:
        self._ledger.apply(entry)
        self.entries.append(entry)

    def aliases(self, version: VersionId, aliases: tuple[str, ...], run: str | None) -> None:
        """Add the moves of those aliases that do not point to a version yet."""
        for alias in aliases:
            was, revision = self._ledger.alias(version.name, alias)
            if was != version.number:
                self.follow(
                    AliasMoved(
                        name=version.name, alias=alias, to=version.number, was=was,
                        revision=revision + 1, run=run,
                    )
                )  # fmt: skip
