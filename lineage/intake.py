"""A writer's own append-only file: one durable write a record, no lock, no waiting.

A line is ``<crc32 of the rest, 8 hex digits> <json>``; the first line says who writes. A write
that was cut off (full disk, power loss) leaves a line that does not verify; readers pass over it
and the writer goes on behind it. Sequence numbers only grow, so a reader knows by one number per
writer what the journal has taken already.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from zlib import crc32

from .clock import Clock, SystemClock, new_id
from .commits import Entry, Mark
from .errors import StoreDamaged
from .events import KINDS, Event, from_payload
from .files import Files, explain
from .metadata import canonical_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = [
    "FileWriter",
    "FolderIntakes",
    "Intakes",
    "MemoryIntakes",
    "Pending",
    "Sequence",
    "Writer",
    "in_order",
    "read_line",
    "write_line",
]

_log = logging.getLogger(__name__)

SUFFIX = ".jsonl"


@dataclass(frozen=True, slots=True)
class Pending:
    """A record that no commit has taken yet, and the mark of its writer once one does."""

    entry: Entry
    mark: Mark


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
    """Intakes as files of one folder, ``<writer>.jsonl``."""

    def __init__(self, folder: str, files: Files | None = None, clock: Clock | None = None) -> None:
        self.folder = folder
        self._files = files or Files()
        self._clock = clock or SystemClock()
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
                self._files.append(descriptor, _header(entry.writer, self._clock, about))
                self._files.append(descriptor, write_line(entry))
            finally:
                os.close(descriptor)
        except OSError as error:
            raise explain(error, "the intake") from error
        return True

    def pending(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> list[Pending]:
        """Return the records behind each writer's mark, ordered by their times."""
        grown: list[tuple[str, Mark]] = []
        for folder in (self.folder, *folders):
            for name, size in self._files.sizes(folder).items():
                if name.endswith(SUFFIX):
                    path = os.path.join(folder, name)
                    if self._taken.get(path) != size:
                        taken = mark(name.removesuffix(SUFFIX))
                        if taken.offset >= size:
                            self._taken[path] = size
                        else:
                            grown.append((path, taken))
        # from the end of the line before, which shows that the mark belongs to this file
        places = [(path, max(0, taken.offset - 1)) for path, taken in grown]
        found = [
            pending
            for (path, taken), (_, start), data in zip(
                grown, places, self._files.read_many(places), strict=True
            )
            for pending in self._records(path, taken, start, data)
        ]
        return in_order(found)

    def has_pending(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> bool:
        """Tell quickly whether a file grew behind its mark, without reading any."""
        return any(
            size != self._taken.get(os.path.join(folder, name))
            and size > mark(name.removesuffix(SUFFIX)).offset
            for folder in (self.folder, *folders)
            for name, size in self._files.sizes(folder).items()
            if name.endswith(SUFFIX)
        )

    def blank(self, event: str) -> None:
        """Overwrite the record of an event with spaces of the same length."""
        path = os.path.join(self.folder, event.partition("-")[0] + SUFFIX)
        if not os.path.exists(path):
            return
        data = self._files.read(path)
        start = 0
        for line in data.splitlines(keepends=True):
            parsed = _parse(line.rstrip(b"\n"))
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
        last, nothing = mark.sequence, True
        for entry, end in _entries(path, data):
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
        return _header(self._sequence.writer, self._clock, self._about)

    def _descriptor_or_fail(self) -> int:
        assert self._descriptor is not None  # opened just above
        return self._descriptor


class MemoryIntakes:
    """Intakes of a memory journal: a list."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._entries: list[Entry] = []
        self._lock = threading.Lock()

    def writer(self, about: Mapping[str, Any], folder: str | None = None) -> MemoryWriter:
        """Return a new writer."""
        del about, folder
        return MemoryWriter(self._entries, self._lock, self._clock)

    def crowd(self, about: Mapping[str, Any]) -> MemoryWriter:
        """Return a new writer."""
        return self.writer(about)

    def keep(self, entry: Entry, about: Mapping[str, Any]) -> bool:
        """Nothing outlives this."""
        del entry, about
        return False

    def pending(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> list[Pending]:
        """Return the records behind each writer's mark, ordered by their times."""
        del folders
        with self._lock:
            entries = [e for e in self._entries if e.sequence > mark(e.writer).sequence]
        return in_order([Pending(entry, Mark(entry.sequence)) for entry in entries])

    def has_pending(self, mark: Callable[[str], Mark], folders: Iterable[str] = ()) -> bool:
        """Tell whether there are any."""
        del folders
        return bool(self.pending(mark))

    def blank(self, event: str) -> None:
        """Forget the record of an event."""
        with self._lock:
            self._entries[:] = [entry for entry in self._entries if entry.id != event]


class MemoryWriter:
    """One writer to a memory journal."""

    def __init__(self, entries: list[Entry], lock: threading.Lock, clock: Clock) -> None:
        self._entries, self._lock = entries, lock
        self._sequence = Sequence(clock)

    def append(self, event: Event) -> str:
        """Note one record and return its id."""
        return self.write(event).id

    def write(self, event: Event) -> Entry:
        """Note one record and return it."""
        with self._lock:
            entry = self._sequence.entry(event)
            self._entries.append(entry)
        return entry

    def close(self) -> None:
        """Nothing to give back."""


def in_order(found: list[Pending]) -> list[Pending]:
    """Return records in the order to take them; each writer's times grow, so it keeps theirs."""
    return sorted(found, key=lambda pending: (pending.entry.occurred, pending.entry.writer))


def write_line(entry: Entry) -> bytes:
    """Write the line of a record."""
    event = entry.event
    return _line({
        "id": entry.id, "kind": event.kind, "form": event.form, "occurred": entry.occurred,
        "payload": event.payload(),
    })  # fmt: skip


def read_line(line: bytes, place: str) -> Entry | None:
    """Read the line of a record; None when only a newer release can.

    Args:
        line: as ``write_line`` wrote it.
        place: where it lies, for the log.

    Raises:
        StoreDamaged: it does not verify.
    """
    record = _parse(line.rstrip(b"\n"))
    if record is None:
        raise StoreDamaged(f"a record in {place} does not verify; see it with: lineage where")
    return _entry(record, place)


def _entry(record: Mapping[str, Any], place: str) -> Entry | None:
    kind = KINDS.get(record["kind"])
    if kind is None or record["form"] > kind.form:
        _log.warning("%s: %s records need a newer release; left for it", place, record["kind"])
        return None
    event = from_payload(record["kind"], record["payload"], form=record["form"])
    return Entry(record["id"], record["occurred"], event)


def _header(writer: str, clock: Clock, about: Mapping[str, Any]) -> bytes:
    return _line({
        "intake": 1, "writer": writer, "pid": os.getpid(), "created": clock.now(), **about,
    })  # fmt: skip


def _line(record: Mapping[str, Any]) -> bytes:
    body = canonical_json(record).encode("ascii")
    return b"%08x %b\n" % (crc32(body), body)


def _parse(line: bytes) -> dict[str, Any] | None:
    """Read one line, or return None when it was cut off or damaged."""
    checksum, _, body = line.partition(b" ")
    try:
        if len(checksum) != 8 or int(checksum, 16) != crc32(body):
            return None
        parsed = json.loads(body)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _entries(path: str, data: bytes) -> Iterator[tuple[Entry | None, int]]:
    """Yield (entry, end of its line); None in place of one that a newer release wrote."""
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        line, start = data[start:end], end + 1
        record = _parse(line)
        if record is None:
            if line.strip():  # spaces are what redaction leaves
                _log.warning("%s: a record was cut off and is left out", path)
            continue
        if "intake" in record:
            continue
        entry = _entry(record, path)
        yield entry, start
        if entry is None:
            return
