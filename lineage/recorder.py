"""Records of a run beside its checkpoints, written without opening a store.

It is what checkpoint hooks write with, on whatever rank and host they run.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING

from .clock import Clock, SystemClock
from .errors import LineageError, StoreError
from .files import Files
from .intake import FileWriter
from .journal.kinds import folder_beside
from .launch import Launch
from .places import Outside, Places
from .process import PerProcess
from .recording import OWN_FOLDER, Recording
from .redact import Redactor
from .settings import choose_store
from .starting import describe_start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .events import Event
    from .model import Location

__all__ = ["Recorder"]

_log = logging.getLogger(__name__)

_KEPT = 1000  # records that wait in memory for a disk that takes them


class Recorder(Recording, PerProcess):
    """The records of a run beside its checkpoints, written without opening a store.

    Records go to ``<folder>/.lineage``: as durable as the checkpoints, and seen by every host that
    sees them. Where that cannot be written they go to the store's own intake; where neither can,
    they are kept in memory and tried again with the next record. The first record is led by the
    start of the run, and the store's own intake is told of the folder, so that the next reader
    finds everything.

    Safe in threads; after a fork the child writes files of its own.

    Args:
        name: what kind of run it is.
        run: the run's id, the same on all ranks: ``Launch.run_id``.
        beside: where checkpoints lie, or None for the store's own intake.
        store: the store's address; None as for ``open``.
        job_type: what kind of work it is.
        environ: the environment, by default that of the process.
        clock: tells when something occurred.
        outside: tells what a path is called outside of the container that this process is in.
        on_fault: called with why a record has to wait in memory, whose method then returns an
            empty id; by default that is raised, and the record waits all the same.
    """

    def __init__(  # the facts of one run
        self,
        name: str,
        *,
        run: str,
        beside: str | os.PathLike[str] | None = None,
        store: str | os.PathLike[str] | None = None,
        job_type: str | None = None,
        environ: Mapping[str, str] | None = None,
        clock: Clock | None = None,
        outside: Outside | None = None,
        on_fault: Callable[[Exception], object] | None = None,
    ) -> None:
        environ = os.environ if environ is None else environ
        self.id = run
        self._redactor = Redactor(environ)
        self._places, self._clock = Places(outside), clock or SystemClock()
        self._beside = None if beside is None else os.path.join(os.path.abspath(beside), OWN_FOLDER)
        self._store = _own_intake(store, environ)
        self._on_fault = on_fault
        self._started = describe_start(
            run, name, Launch.read(environ), self._redactor, job_type=job_type, ask_git=False,
            parent=environ.get("LINEAGE_PARENT_RUN"), intake=self._beside,
        )  # fmt: skip
        super().__init__()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._writers: dict[str, FileWriter] = {}
        self._led: set[str] = set()
        self._is_told = self._has_warned = False  # the store, of the folder; the user, of that
        self._waiting: deque[Event] = deque(maxlen=_KEPT)

    @property
    def redactor(self) -> Redactor:
        """What takes secrets out of records."""
        return self._redactor

    @property
    def waiting(self) -> int:
        """How many records are in memory alone, because nothing could be written."""
        return len(self._waiting)

    def locate(self, path: str | os.PathLike[str], *, external: bool = False) -> Location:
        """Describe where a path lies and which hosts see it."""
        return self._places.locate(path, external=external)

    def flush(self) -> None:
        """Try once more to write what is in memory alone.

        Raises:
            StoreFull, StoreReadOnly, OSError: it could not be written.
        """
        self._own()
        with self._lock:
            self._drain()

    def close(self) -> None:
        """Give the descriptors back; what was written stays."""
        self._own()
        with self._lock:
            for writer in self._writers.values():
                writer.close()

    def _append(self, event: Event) -> str:
        self._own()
        with self._lock:
            self._waiting.append(event)
            try:
                return self._drain()
            except (LineageError, OSError) as error:
                if self._on_fault is None:
                    raise
                self._on_fault(error)
                return ""

    def _drain(self) -> str:
        """Write what waits, in order, and return the id of the last record."""
        record = ""
        while self._waiting:
            record = self._write(self._waiting[0])
            self._waiting.popleft()
        return record

    def _write(self, event: Event) -> str:
        """Write to the first place that takes it."""
        fault: Exception | None = None
        for folder in (self._beside, self._store):
            if folder is None:
                continue
            try:
                record = self._writer(folder).append(event)
            except (LineageError, OSError) as error:
                fault = fault or error
                _log.debug("%s takes no records: %s", folder, error)
                continue
            # now that it is on its disk: the store's may hang
            if folder == self._beside and self._store is not None and not self._is_told:
                self._is_told = self._tell_store(self._store, folder)
            return record
        if fault is None:
            raise LineageError("a recorder has no folder to write to; give it one")
        raise fault

    def _writer(self, folder: str) -> FileWriter:
        """Return the writer to a folder; its first record is the start of the run."""
        writer = self._writers.get(folder)
        if writer is None:
            about = {"host": socket.gethostname(), "run": self.id}
            writer = self._writers[folder] = FileWriter(folder, about, Files(), self._clock)
        if folder not in self._led:
            writer.append(self._started)
            self._led.add(folder)
        return writer

    def _tell_store(self, own: str, folder: str) -> bool:
        """Have the next reader of the store look into a folder; return whether it will."""
        try:
            self._writer(own)
        except (LineageError, OSError) as error:
            # the records are safe beside the checkpoints all the same
            level = logging.DEBUG if self._has_warned else logging.WARNING
            self._has_warned = True
            _log.log(
                level, "the store cannot be told of the records in %s (%s); bring them in with: "
                "lineage recover %s", folder, error, os.path.dirname(folder),
            )  # fmt: skip
            return False
        return True


def _own_intake(store: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> str | None:
    """Return the folder of a store's own intake, where it is one that this host can write."""
    try:
        return folder_beside(choose_store(store, environ)[0], "intake")
    except StoreError as error:
        _log.warning("records stay beside the checkpoints alone: %s", error)
        return None
