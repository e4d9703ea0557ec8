"""A writer's own append-only file: one durable write a record, no lock, no waiting.

After a write that was cut off the writer goes on behind it. Sequence numbers only grow, so a reader
knows by one number per writer what the journal has taken already.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .clock import Clock, SystemClock, new_id
from .commits import Entry, Mark
from .files import Files, explain
from .lines import entries, header_line, is_newer, parse_line, write_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .events import Event

__all__ = [
    "FileWriter",
    "FolderIntakes",
    "Intakes",
    "Pending",
    "Sequence",
    "Waiting",
    "Writer",
    "describe_waiting",
    "in_order",
]

_log = logging.getLogger(__name__)

SUFFIX = ".jsonl"


@dataclass(frozen=True, slots=True)
class Pending:
    """A record that no commit has taken yet, and the mark of its writer once one does."""

    entry: Entry
    mark: Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """Records of one writer that no commit has taken.

    Attributes:
        place: where they lie.
        writer: its id.
        records: how many.
        since: when the oldest of them was made.
        host: where they were written, if known.
        run: the run that they belong to, if known.
        damaged: lines among them that do not verify, and are passed over.
        obstacle: why readers leave them alone; empty when the next one takes them in.
    """

    place: str
    writer: str
    records: int
    since: str
    host: str | None = None
    run: str | None = None
    damaged: int = 0
    obstacle: str = ""


class Writer(Protocol):
    """What takes records, one durable append each."""

    def append(self, event: Event) -> str:
        """Write one record and return its id."""

    def write(self, event: Event) -> Entry:
        """Write one record and return it."""

    def close(self) -> None:
        """Give everything back; the records stay."""


class Intakes(Protocol):
    """All writers' records of one store that may be pending."""

    def writer(self, about: Mapping[str, Any], folder: str | None = None) -> Writer:
        """Return a new writer that waits for no network, for what a training loop records.

        Its records lie in ``folder``, by default in the store's own intake or, where that is
        far away, in a folder of this host. ``about`` says who writes: run, host.
        """

    def crowd(self, about: Mapping[str, Any]) -> Writer:
        """Return a new writer to the store's own intake, where all other writers look."""

    def keep(self, entry: Entry, about: Mapping[str, Any]) -> bool:
        """Keep what may or may not have been committed on this host, under its own id.

        Whoever combines takes it, or finds it taken. The writer it is of writes no more. False
        means that there is no such place.
        """

    def pending(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> list[Pending]:
        """Return the records behind each writer's mark, in the order to take them."""

    def has_pending(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> bool:
        """Tell quickly whether there may be any."""

    def waiting(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> list[Waiting]:
        """Describe what is pending, and what is left alone, by its writers."""

    def blank(self, event: str) -> None:
        """Remove the text of one record for good."""


class Sequence:
    """Ids and times of one writer: both only grow, whatever the clock does."""

    def __init__(self, clock: Clock) -> None:
        self.writer = new_id()
        self._clock = clock
        self._last = 0
        self._time = ""

    def entry(self, event: Event) -> Entry:
        """Give an event its id and time."""
        self._last += 1
        self._time = max(self._time, self._clock.now())
        return Entry(f"{self.writer}-{self._last}", self._time, event)


class FolderIntakes:
    """Intakes as files of one folder, ``<writer>.jsonl``.

    What lies beside checkpoints may be another user's, or on a disk that this host does not have:
    it is passed over, and taken in by who can read it.

    Args:
        folder: where the store's own lie.
        files: what stands between this and the disk.
        clock: for the times of records.
        ours: tells whether the id of a journal means this one. Checkpoints may lie where records
            for another store were written before; those stay.
    """

    def __init__(
        self,
        folder: str,
        files: Files | None = None,
        clock: Clock | None = None,
        *,
        ours: Callable[[str], bool] | None = None,
    ) -> None:
        self.folder = folder
        self._files = files or Files()
        self._clock = clock or SystemClock()
        self._ours = ours or (lambda _: True)
        # what was found wholly taken: path -> size; saves reading a file that did not grow
        self._taken: dict[str, int] = {}

    def writer(self, about: Mapping[str, Any], folder: str | None = None) -> FileWriter:
        """Return a new writer; its file is made with the first record."""
        return FileWriter(folder or self.folder, about, self._files, self._clock)

    def crowd(self, about: Mapping[str, Any]) -> FileWriter:
        """Return a new writer; this folder is where all look."""
        return self.writer(about)

    def keep(self, entry: Entry, about: Mapping[str, Any]) -> bool:
        """Keep what may or may not have been committed, in a file of its own."""
        self._files.make_folder(self.folder)
        path = os.path.join(self.folder, entry.writer + SUFFIX)
        try:
            descriptor = self._files.open_append(path)
            try:
                self._files.append(descriptor, header_line(entry.writer, self._clock, about))
                self._files.append(descriptor, write_line(entry))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise explain(error, "the intake") from error
        return True

    def pending(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> list[Pending]:
        """Return the records behind each writer's mark, ordered by their times."""
        grown: list[tuple[str, Mark]] = []
        for path, writer, size in self._paths(folders):
            if self._taken.get(path) != size:
                taken = mark(writer)
                if taken.offset >= size or not self._files.is_readable(path):
                    self._taken[path] = size  # until it grows
                else:
                    grown.append((path, taken))
        # from the end of the line before, which shows that the mark belongs to this file
        places = [(path, max(0, taken.offset - 1)) for path, taken in grown]
        found: dict[str, Pending] = {}  # a folder may be named twice, or have been copied
        contents = self._files.read_many(places)
        for (path, taken), (_, start), data in zip(grown, places, contents, strict=True):
            for pending in self._records(path, taken, start, data):
                found.setdefault(pending.entry.id, pending)
        return in_order(list(found.values()))

    def has_pending(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> bool:
        """Tell quickly whether a file grew behind its mark, without reading any."""
        return any(
            size != self._taken.get(path) and size > mark(writer).offset
            for path, writer, size in self._paths(folders)
        )

    def waiting(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> list[Waiting]:
        """Describe what is pending, file by file."""
        found: dict[str, Waiting] = {}
        for path, writer, size in self._paths(folders):
            taken = mark(writer)
            if taken.offset < size:
                if not self._files.is_readable(path):
                    _log.warning("%s may not be read by this user; its owner takes it in", path)
                    continue
                lines = self._files.read(path).split(b"\n")[:-1]
                waiting = describe_waiting(path, writer, lines, taken, self._ours)
                if waiting.records and writer not in found:
                    found[writer] = waiting
        return list(found.values())

    def _paths(self, folders: Iterable[str]) -> Iterator[tuple[str, str, int]]:
        """Yield (path, writer, bytes) of all files there are."""
        for folder in dict.fromkeys((self.folder, *folders)):
            try:
                sizes = self._files.sizes(folder)
            except OSError as error:
                if folder == self.folder:
                    raise
                _log.info("%s is passed over: %s", folder, error)
                continue
            for name, size in sizes.items():
                if name.endswith(SUFFIX):
                    yield os.path.join(folder, name), name.removesuffix(SUFFIX), size

    def blank(self, event: str) -> None:
        """Overwrite the record of an event with spaces of the same length."""
        path = os.path.join(self.folder, event.partition("-")[0] + SUFFIX)
        if not os.path.exists(path):
            return
        data = self._files.read(path)
        start = 0
        for line in data.splitlines(keepends=True):
            parsed = parse_line(line.rstrip(b"\n"))
            if parsed is not None and parsed.get("id") == event:
                with open(path, "r+b") as file:
                    file.seek(start)
                    file.write(b" " * (len(line) - 1))
                    file.flush()
                    os.fsync(file.fileno())
            start += len(line)

    def _records(self, path: str, mark: Mark, start: int, data: bytes | None) -> Iterator[Pending]:
        """Yield what is behind the mark in ``data``, which begins at ``start`` of the file."""
        if start and data and data[:1] != b"\n":  # the mark is of another file of that name
            start, data = 0, self._files.read(path)
        data = data or b""
        if start == 0 and (journal := _journal_of(data)) and not self._ours(journal):
            self._taken[path] = len(data)
            return
        last, nothing = mark.sequence, True
        for entry, end in entries(path, data):
            if entry is None:  # of a kind that only a newer release can take
                return
            if entry.sequence > last:
                last, nothing = entry.sequence, False
                yield Pending(entry, Mark(last, start + end))
        if nothing:
            self._taken[path] = start + len(data)


class FileWriter:
    """One writer's file. Safe in threads; after a fork the child writes a file of its own."""

    def __init__(self, folder: str, about: Mapping[str, Any], files: Files, clock: Clock) -> None:
        self._folder, self._about, self._files, self._clock = folder, about, files, clock
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._start()

    def _start(self) -> None:
        self._sequence = Sequence(self._clock)
        self._descriptor: int | None = None
        self._torn = False

    @property
    def path(self) -> str:
        """The file; it exists once a record was written."""
        return os.path.join(self._folder, self._sequence.writer + SUFFIX)

    def append(self, event: Event) -> str:
        """Write one record with one durable append, and return its id; raises as ``write``."""
        return self.write(event).id

    def write(self, event: Event) -> Entry:
        """Write one record with one durable append, and return it.

        Raises:
            StoreFull: no space; nothing that counts was written.
            StoreReadOnly: the folder cannot be written.
        """
        if self._pid != os.getpid():
            # the parent's descriptor is left to the kernel: closing it is the parent's business
            self._begin()
        with self._lock:
            if self._descriptor is not None and self._files.is_unlinked(self._descriptor):
                # somebody deleted the folder of the checkpoints and made it again
                os.close(self._descriptor)
                self._start()
            entry = self._sequence.entry(event)
            data = write_line(entry)
            try:
                if self._descriptor is None:
                    data = self._open() + data
                elif self._torn:
                    data = b"\n" + data
                self._files.append(self._descriptor_or_fail(), data)
            except OSError as error:
                self._torn = True
                raise explain(error, "the intake") from error
            self._torn = False
            return entry

    def close(self) -> None:
        """Give the descriptor back. The file stays until it was combined and beyond."""
        with self._lock:
            if self._descriptor is not None and self._pid == os.getpid():
                os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> bytes:
        self._files.make_folder(self._folder)
        self._descriptor = self._files.open_append(self.path)
        return header_line(self._sequence.writer, self._clock, self._about)

    def _descriptor_or_fail(self) -> int:
        assert self._descriptor is not None  # opened just above
        return self._descriptor


def in_order(found: list[Pending]) -> list[Pending]:
    """Return records in the order to take them; each writer's times grow, so it keeps theirs."""
    return sorted(found, key=lambda pending: (pending.entry.occurred, pending.entry.writer))


def describe_waiting(
    place: str, writer: str, lines: Iterable[bytes], mark: Mark, ours: Callable[[str], bool]
) -> Waiting:
    """Describe what of one writer's lines no commit has taken."""
    about: Mapping[str, Any] = {}
    behind: list[dict[str, Any]] = []
    damaged = 0
    for line in lines:
        record = parse_line(line)
        if record is None:
            damaged += bool(line.strip())
        elif "intake" in record:
            about = record
        elif int(record["id"].partition("-")[2]) > mark.sequence:
            behind.append(record)
    obstacle = ""
    if any(is_newer(record) for record in behind):
        obstacle = "needs a newer release"
    if about.get("journal") and not ours(about["journal"]):
        obstacle = f"belongs to journal {about['journal']}"
    return Waiting(
        place=place, writer=writer, records=len(behind), obstacle=obstacle, damaged=damaged,
        since=behind[0]["occurred"] if behind else "", host=about.get("host"),
        run=about.get("run"),
    )  # fmt: skip


def _journal_of(data: bytes) -> str | None:
    """Return the id of the journal that a file says it was written for."""
    header = parse_line(data[: max(0, data.find(b"\n"))]) or {}
    return header.get("journal") if "intake" in header else None
