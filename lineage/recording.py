"""What a training loop tells: one durable append a record, no lock, no database.

``Run`` records through an open store. A ``Recorder`` needs none: it is what checkpoint hooks write
with, on whatever rank and host they run.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from . import grammar
from .clock import Clock, SystemClock
from .digests import fingerprint
from .errors import LineageError, PathNotFoundError, PublishRefused, StoreError
from .events import Deleted, Described, Event, Published, Receipt, Used
from .files import Files
from .intake import FileWriter
from .journal.kinds import folder_beside
from .launch import Launch
from .metadata import plain_lenient
from .model import Input, Location, Role
from .places import Outside, Places
from .process import PerProcess
from .redact import Redactor
from .settings import choose_store
from .source import SourceURI
from .starting import describe_start
from .uri import ArtifactURI

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["OWN_FOLDER", "Recorder", "Recording", "identity"]

_log = logging.getLogger(__name__)

OWN_FOLDER = ".lineage"  # the intake beside checkpoints
_KEPT = 1000  # records that wait in memory for a disk that takes them


class Recording(ABC):
    """The records of one run; each is durable when its method returns.

    A version's number follows when the record is combined: by ``Lineage.combine``,
    ``lineage where`` or simply the next reader.

    Attributes:
        id: the run's id.
    """

    id: str

    @property
    @abstractmethod
    def redactor(self) -> Redactor:
        """What takes secrets out of records."""

    def record(  # the facts of one version
        self,
        name: str,
        *,
        path: str | os.PathLike[str],
        type: str,
        metadata: Mapping[str, Any] | None = None,
        inputs: Iterable[Input] | None = None,
        aliases: Iterable[str] = (),
        idempotency_key: str | None = None,
        external: bool = False,
    ) -> str:
        """Record a version from inside a training loop: one durable append, and an id at once.

        It takes no lock and opens no database. NaN and infinity become null and their keys are
        listed: a diverged run must still be recorded. So must a folder with a file in it that
        cannot be read: it has no fingerprint then, and a warning says why.

        Args:
            name: the artifact.
            path: a file or folder, or an address.
            type: ``model``, ``dataset``, ... Where what has the name is of another type, it becomes
                ``<name>?type=<type>``: nobody can be refused here.
            metadata: JSON values, numpy or torch scalars, Path, datetime, Enum; at most 1 MiB.
            inputs: exactly what it was made from; None means what the run used so far.
            aliases: names to move to this version.
            idempotency_key: a record with a key that was used before is about that version again,
                whatever lies at the path by then.
            external: the path is seen by another host only; it is not looked at.

        Returns:
            The id of the record.

        Raises:
            PathNotFoundError: there is nothing at the path.
            MetadataError: metadata that JSON cannot hold, with the key.
            PublishRefused: a name, alias or type that cannot be.
            StoreFull, StoreReadOnly: it could not be written.
        """
        values, non_finite = plain_lenient(metadata)
        draft = self._draft(
            name, path, type, self.redactor.value(values), aliases, external=external,
            inputs=None if inputs is None else tuple(map(_checked, inputs)),
            lenient=True,
        )  # fmt: skip
        if non_finite or idempotency_key is not None:
            draft = replace(draft, non_finite=non_finite, key=idempotency_key)
        return self._append(draft)

    def record_use(
        self,
        target: str | os.PathLike[str] | SourceURI,
        role: str = Role.DATA,
        *,
        weight: float | None = None,
        split: str | None = None,
        tokens: int | None = None,
        revision: str | None = None,
    ) -> str:
        """Record a use from inside a training loop, by the path alone: one durable append.

        The version that lies there, or in whose folder the path is, is found when the record is
        combined; without one, the path is an outside source.

        Args:
            target: a path, or an outside source.
            role: as for ``Run.use``.
            weight: as for ``Run.use``.
            split: as for ``Run.use``.
            tokens: as for ``Run.use``.
            revision: of a source, when its address does not say.
        """
        place: SourceURI | Location
        if isinstance(target, SourceURI):
            place, revision = SourceURI(self.redactor.text(target.uri)), revision or target.revision
        else:
            place = self.locate(target)
        used = Input(
            target=place, role=role, weight=weight, split=split, tokens=tokens, revision=revision
        ).checked()
        return self._append(Used(run=self.id, input=used))

    def record_deleted(self, path: str | os.PathLike[str], reason: str | None = None) -> str:
        """Record that what lay at a path was seen deleted: one durable append."""
        where = self.locate(path)
        shown = None if reason is None else self.redactor.text(reason)
        return self._append(Deleted(version=where, run=self.id, reason=shown, seen=True))

    def record_described(self, path: str | os.PathLike[str], metadata: Mapping[str, Any]) -> str:
        """Record more metadata of what lies at a path: one durable append."""
        values, non_finite = plain_lenient(metadata)
        event = Described(
            version=self.locate(path), run=self.id, non_finite=non_finite,
            metadata=self.redactor.value(values),
        )  # fmt: skip
        return self._append(event)

    @abstractmethod
    def locate(self, path: str | os.PathLike[str], *, external: bool = False) -> Location:
        """Describe where a path lies and which hosts see it."""

    def record_name(self, mirror: str, facts: Mapping[str, Any]) -> str:
        """Record what an outside system calls this run: one durable append.

        Args:
            mirror: which system, e.g. ``wandb``.
            facts: its name there and what else finds it: entity, project, id, url.
        """
        named = {f"run:{self.id}": self.redactor.value(dict(facts))}
        return self._append(Receipt(mirror=mirror, delivered=named))

    @abstractmethod
    def _append(self, event: Event) -> str:
        """Write one record durably and return its id."""

    def _draft(
        self,
        name: str,
        path: str | os.PathLike[str],
        kind: str,
        metadata: Mapping[str, Any],
        aliases: Iterable[str],
        *,
        inputs: tuple[Input, ...] | None,
        external: bool,
        lenient: bool = False,
    ) -> Published:
        """Describe what lies at a path as a version without a number yet.

        What cannot be read is an error, or goes without a fingerprint: ``lenient``.
        """
        called = identity(name)
        if isinstance(aliases, str):
            raise PublishRefused(f"aliases is a list of names, not the text {aliases!r}")
        aliases = tuple(aliases)
        for alias in aliases:
            fault = grammar.alias_fault(alias)
            if fault is not None:
                raise PublishRefused(f"{alias!r} cannot be an alias of art://{called}: {fault}")
        if not kind or not isinstance(kind, str):
            raise PublishRefused(f"the type of art://{called} is a word such as 'model'")
        location = self.locate(path, external=external)
        try:
            found = None if location.external else fingerprint(path)
        except OSError as error:
            if not os.path.lexists(path):
                raise PathNotFoundError(location.path) from None
            if not lenient:
                raise
            found = None
            _log.warning("%s is recorded without a fingerprint: %s", location.path, error)
        return Published(
            name=called, type=kind, run=self.id, location=location, metadata=metadata,
            fingerprint=found, aliases=aliases, inputs=inputs,
        )  # fmt: skip


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


def _checked(used: Input) -> Input:
    if not isinstance(used, Input):
        raise PublishRefused(f"an input of a record is an Input, not {used!r}")
    return used.checked()


@lru_cache
def identity(name: str) -> str:
    """Return the identity that a name to publish under means: no selector, digest or path.

    Raises:
        PublishRefused: it names more than an artifact.
    """
    uri = ArtifactURI.parse(name)
    if uri.identity != name.removeprefix(grammar.SCHEME) and (
        uri.version is not None or uri.alias or uri.digest or uri.path or name.endswith(":latest")
    ):
        raise PublishRefused(
            f"{name!r} names more than an artifact; publish as {uri.identity!r}, "
            "its number is given by the store and aliases by aliases=[...]"
        )
    return uri.identity
