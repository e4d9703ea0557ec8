"""The intakes of a PostgreSQL journal: rows where writers in a crowd look, files for hooks.

A hook waits for no server: its records lie beside the checkpoints, or in a folder of this host.
The same folder takes what cannot reach the server now. Whoever commits reads rows and files alike,
and removes the rows it took in the very statement that commits them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..clock import Clock, SystemClock
from ..commits import Mark
from ..errors import StoreDamaged, StoreUnreachable
from ..intake import FolderIntakes, Pending, Sequence, in_order, read_line, write_line
from ..metadata import canonical_json
from ..process import PerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ..commits import Entry
    from ..events import Event
    from ..intake import Writer
    from .database import Rows

    Ask = Callable[..., list[Rows]]

__all__ = ["RowIntakes", "WaitingRow"]

_log = logging.getLogger(__name__)

WaitingRow = tuple[int, str, str]  # sequence, writer, line
_ALL = "SELECT sequence, writer, line FROM {schema}.intake ORDER BY writer, sequence"


class RowIntakes:
    """Records of one store that may be pending.

    Args:
        ask: asks the server.
        folder: of this host, for what must not or cannot go to the server.
        forget: has the journal's next turn look for itself.
        clock: for the times of records.
    """

    def __init__(
        self, ask: Ask, folder: str, *, forget: Callable[[], None], clock: Clock | None = None
    ) -> None:
        self._ask, self._forget, self._clock = ask, forget, clock or SystemClock()
        self._files = FolderIntakes(folder, clock=clock)
        self.any_rows = True  # as the last look at the head showed
        self.stale: dict[str, Mark] = {}  # rows that were written again after they were taken

    def writer(self, about: Mapping[str, Any], folder: str | None = None) -> Writer:
        """Return a new writer of files."""
        return self._files.writer(about, folder)

    def crowd(self, about: Mapping[str, Any]) -> Writer:
        """Return a new writer of rows."""
        return _RowWriter(self, self._ask, self._forget, about, self._clock)

    def keep(self, entry: Entry, about: Mapping[str, Any]) -> bool:
        """Keep what may or may not have been committed on this host."""
        return self._files.keep(entry, about)

    def pending(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> list[Pending]:
        """Return the records behind each writer's mark, in the order to take them."""
        (rows,) = self._ask((_ALL, {}))
        return self.merged(rows, mark, folders)

    def merged(
        self, rows: Iterable[WaitingRow], mark: Callable[[str], Mark], folders: Iterable[str]
    ) -> list[Pending]:
        """Return the records of some rows and of the files, those behind each writer's mark."""
        found = {each.entry.id: each for each in self._files.pending(mark, folders)}
        for each in self._rows(rows, mark):
            found.setdefault(each.entry.id, each)
        return in_order(list(found.values()))

    def _rows(self, rows: Iterable[WaitingRow], mark: Callable[[str], Mark]) -> Iterator[Pending]:
        marks: dict[str, Mark] = {}
        left = set()  # writers with a record that only a newer release can take
        for sequence, writer, line in rows:
            if writer not in marks:
                marks[writer] = mark(writer)
            if sequence <= marks[writer].sequence:
                self.stale[writer] = Mark(sequence)
                continue
            if writer in left:
                continue
            try:
                entry = read_line(line.encode("ascii"), "the table of waiting records")
            except StoreDamaged as error:
                _log.warning("%s; it is left out", error)
                continue
            if entry is None:
                left.add(writer)
            else:
                yield Pending(entry, Mark(sequence))

    def has_pending(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> bool:
        """Tell whether there may be any, as of the last look at the head."""
        return self.any_rows or self._files.has_pending(mark, folders)

    def blank(self, event: str) -> None:
        """Remove the record of an event."""
        writer, _, sequence = event.partition("-")
        if sequence.isdigit():
            row = {"writer": writer, "sequence": int(sequence)}
            delete = "DELETE FROM {schema}.intake WHERE writer=%(writer)s AND sequence=%(sequence)s"
            self._ask((delete, row))
        self._files.blank(event)


class _RowWriter(PerProcess):
    """One writer of rows; where the server does not answer, of files on this host."""

    def __init__(
        self,
        intakes: RowIntakes,
        ask: Ask,
        forget: Callable[[], None],
        about: Mapping[str, Any],
        clock: Clock,
    ) -> None:
        self._intakes, self._ask, self._forget = intakes, ask, forget
        self._about, self._clock = about, clock
        super().__init__()

    def _begin(self) -> None:
        self._sequence = Sequence(self._clock)

    def append(self, event: Event) -> str:
        """Write one record durably and return its id."""
        self._own()
        entry = self._sequence.entry(event)
        row = {
            "writer": entry.writer, "sequence": entry.sequence,
            "about": canonical_json(dict(self._about)), "line": write_line(entry).decode("ascii"),
        }  # fmt: skip
        insert = (
            "INSERT INTO {schema}.intake VALUES(%(writer)s, %(sequence)s, %(about)s, %(line)s)"
            " ON CONFLICT DO NOTHING"
        )
        try:
            self._ask((insert, row))
        except StoreUnreachable:
            # it may be there or not: under the same id it is taken once
            self._intakes.keep(entry, self._about)
            self._begin()
        self._forget()
        return entry.id

    def close(self) -> None:
        """Nothing to give back."""
