"""The intakes of a journal that is far away: in the store where a crowd looks, files for hooks.

A hook waits for no network: its records lie beside the checkpoints, or in a folder of this host.
The same folder takes what cannot reach the store now. Whoever commits reads both.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from ..clock import Clock, SystemClock
from ..commits import Mark
from ..errors import StoreDamaged, StoreUnreachable
from ..filesystems import FLEETING, filesystem
from ..intake import (
    FolderIntakes,
    Pending,
    Sequence,
    Waiting,
    describe_waiting,
    in_order,
)
from ..lines import read_line
from ..process import PerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ..commits import Entry
    from ..events import Event
    from ..intake import Writer

__all__ = ["FarIntakes", "Row"]

_log = logging.getLogger(__name__)

Row = tuple[int, str, bytes]  # sequence, writer, line


class FarIntakes(ABC):
    """Records of one store that may be pending.

    Args:
        folder: of this host, for what must not or cannot go to the store.
        clock: for the times of records.
        ours: tells whether the id of a journal means this one.

    Attributes:
        stale: what lies in the store though it was taken, by its writer.
    """

    def __init__(
        self, folder: str, clock: Clock | None = None, *, ours: Callable[[str], bool] | None = None
    ) -> None:
        self._files = FolderIntakes(folder, clock=clock, ours=ours)
        self._clock = clock or SystemClock()
        self.stale: dict[str, Mark] = {}
        self._warned = False

    @abstractmethod
    def look(self, mark: Callable[[str], Mark]) -> Iterable[Row]:
        """Return what lies in the store now, each writer's in order."""

    @abstractmethod
    def put(self, entry: Entry, about: Mapping[str, Any]) -> None:
        """Put a record into the store durably; putting it again changes nothing."""

    @abstractmethod
    def drop(self, writer: str, sequence: int) -> None:
        """Remove a record from the store."""

    def writer(self, about: Mapping[str, Any], folder: str | None = None) -> Writer:
        """Return a new writer of files."""
        if folder is None:
            self._must_last()
        return self._files.writer(about, folder)

    def crowd(self, about: Mapping[str, Any]) -> Writer:
        """Return a new writer to the store."""
        return _FarWriter(self, about, self._clock)

    def keep(self, entry: Entry, about: Mapping[str, Any]) -> bool:
        """Keep what may or may not have been committed on this host."""
        self._must_last()
        return self._files.keep(entry, about)

    def _must_last(self) -> None:
        """Warn, once, where records that wait on this host are gone with a container."""
        if not self._warned and filesystem(self._files.folder)[0] == FLEETING:
            self._warned = True
            _log.warning(
                "records wait in %s, which is gone with this container; mount a folder that stays "
                "and name it in XDG_DATA_HOME", self._files.folder,
            )  # fmt: skip

    def pending(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> list[Pending]:
        """Return the records behind each writer's mark, in the order to take them."""
        return self.merged(self.look(mark), mark, folders)

    def merged(
        self, waiting: Iterable[Row], mark: Callable[[str], Mark], folders: Iterable[str]
    ) -> list[Pending]:
        """Return the records of a look and of the files, those behind each writer's mark."""
        found = {each.entry.id: each for each in self._files.pending(mark, folders)}
        for each in self._behind(waiting, mark):
            found.setdefault(each.entry.id, each)
        return in_order(list(found.values()))

    def _behind(self, waiting: Iterable[Row], mark: Callable[[str], Mark]) -> Iterator[Pending]:
        marks: dict[str, Mark] = {}
        left = set()  # writers with a record that only a newer release can take
        for sequence, writer, line in waiting:
            if writer not in marks:
                marks[writer] = mark(writer)
            if sequence <= marks[writer].sequence:
                self.stale[writer] = Mark(sequence)
                continue
            if writer in left:
                continue
            try:
                entry = read_line(line, f"the intake of writer {writer}")
            except StoreDamaged as error:
                _log.warning("%s; it is left out", error)
                continue
            if entry is None:
                left.add(writer)
            else:
                yield Pending(entry, Mark(sequence))

    def has_pending(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> bool:
        """Tell whether there may be any, as of the last look at the head."""
        return self._files.has_pending(mark, folders)

    def waiting(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> list[Waiting]:
        """Describe what is pending, by its writers."""
        lines: dict[str, list[bytes]] = {}
        for _, writer, line in self.look(mark):
            lines.setdefault(writer, []).append(line.rstrip())
        found = [
            describe_waiting("in the store", writer, each, mark(writer), lambda _: True)
            for writer, each in lines.items()
        ]
        return [each for each in found if each.records] + self._files.waiting(mark, folders)

    def blank(self, event: str) -> None:
        """Remove the record of an event."""
        writer, _, sequence = event.partition("-")
        if sequence.isdigit():
            self.drop(writer, int(sequence))
        self._files.blank(event)


class _FarWriter(PerProcess):
    """One writer to the store; where that does not answer, to files on this host."""

    def __init__(self, intakes: FarIntakes, about: Mapping[str, Any], clock: Clock) -> None:
        self._intakes, self._about, self._clock = intakes, about, clock
        super().__init__()

    def _begin(self) -> None:
        self._sequence = Sequence(self._clock)

    def append(self, event: Event) -> str:
        """Write one record durably and return its id."""
        return self.write(event).id

    def write(self, event: Event) -> Entry:
        """Write one record durably and return it."""
        self._own()
        entry = self._sequence.entry(event)
        try:
            self._intakes.put(entry, self._about)
        except StoreUnreachable:
            # it may be there or not: under the same id it is taken once
            self._intakes.keep(entry, self._about)
            self._begin()
        return entry

    def close(self) -> None:
        """Nothing to give back."""
