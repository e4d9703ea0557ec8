"""The one face of a store: runs, references, aliases, and the lineage behind them."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from . import grammar
from .clock import Clock, SystemClock, read_time, write_time
from .combine import Combiner
from .errors import (
    ArtifactGone,
    ArtifactNotFoundError,
    ArtifactVersionNotFoundError,
    Conflict,
    PathNotFoundError,
    PublishRefused,
    StoreClosed,
)
from .events import AliasMoved, Deleted, Described, Event, Found, Held, JobPinned, Missing, Relocated
from .graph import LineageGraph, Reference
from .index import queries
from .index.project import Index
from .journal import open_journal
from .journal.decide import ANY as _ANY
from .launch import Launch, Process, user
from .metadata import plain
from .model import Fact, RunStatus, Source, State, Version
from .places import Places
from .redact import Redactor
from .run import Run
from .settings import choose_store
from .source import SourceURI
from .uri import ArtifactURI

if TYPE_CHECKING:
    import sqlite3

    from .intake import Writer
    from .journal.base import Journal
    from .journal.decide import Outcome
    from .model import AliasMove, Artifact, Input, Location, RunInfo
    from .run import UseReference

__all__ = ["ANY", "Lineage", "open_store"]

_log = logging.getLogger(__name__)


class _Any:
    """Whatever an alias points to now."""

    def __repr__(self) -> str:
        return "ANY"


ANY: Final = _Any()
Moment = int | str | datetime


def open_store(
    store: str | os.PathLike[str] | None = None,
    *,
    create: bool = True,
    environ: Mapping[str, str] = os.environ,
) -> Lineage:
    """Open a store, and make it where it is not there yet.

    Args:
        store: ``sqlite:///file.db`` or a path that ends in ``.db``; ``file:///folder`` or another
            path, for a directory journal that several hosts may share; ``memory:``. None means
            ``LINEAGE_STORE``, else ``[artifacts] store`` of env.toml, else a file in the user's
            data folder. ``lineage where`` says which one and why.
        create: make it when it is not there.
        environ: the environment.

    Raises:
        StoreUnsuitable: a SQLite file on a network filesystem, a folder with other things in it.
        StoreNotFoundError: not there, and ``create`` is false.
    """
    address, why, warning = choose_store(store, environ)
    if warning is not None:
        _log.warning("%s", warning)
    _log.debug("opening the store %s (%s)", address, why)
    return Lineage(open_journal(address, create=create), environ=environ)


class Lineage:
    """An open store. Close it, or use it in a ``with`` block.

    Safe to use from several threads, and in forked children.

    Args:
        journal: what it is kept in.
        clock: tells when something occurred.
        environ: for the launcher's variables, and for secrets that must not get into records.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        clock: Clock | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.journal = journal
        self.redactor = Redactor(environ)
        self._environ = environ
        about = {"host": socket.gethostname(), "user": user()}
        self._combiner = Combiner(journal, about, clock=clock or SystemClock())
        self._index = Index(journal)
        self._places = Places()
        self._occasions: dict[str, int] = {}
        self._is_open = True

    # -------------------------------------------------------------------- runs

    def run(
        self,
        name: str,
        *,
        job_type: str | None = None,
        config: Mapping[str, Any] | None = None,
        parent: str | None = None,
        intake: str | os.PathLike[str] | None = None,
    ) -> Run:
        """Open a run, or join it when another rank of the same launch opened it.

        Records host, user, command line, git commit, the launcher's ids; secrets are removed.

        Args:
            name: what kind of run it is, e.g. ``sft``; need not be unique.
            job_type: e.g. ``data-prep``, ``training``, ``eval``.
            config: settings; values that JSON cannot hold are kept as text.
            parent: id of the run that launched this one.
            intake: folder beside which ``record`` writes (in ``<folder>/.lineage``), such as the
                one of the checkpoints; None means the store's own.
        """
        if not name or not isinstance(name, str):
            raise PublishRefused(f"a run has a name such as 'sft', not {name!r}")
        occasion = self._occasions.get(name, 0)
        self._occasions[name] = occasion + 1
        parent = parent or self._environ.get("LINEAGE_PARENT_RUN")
        return Run(
            self, name, launch=Launch.read(self._environ), occasion=occasion, job_type=job_type,
            config=config, parent=parent, intake=intake,
        )  # fmt: skip

    # --------------------------------------------------------------- resolving

    def resolve(self, reference: str | ArtifactURI | Version, *, at: Moment | None = None) -> Version:
        """Return the version that a reference means.

        Args:
            reference: ``art://name[:selector][@digest][#path]`` or the bare form.
            at: as of a commit number or a time (when the journal took it, not when it occurred).

        Returns:
            The version, its uri pinned. With ``#path``, its path is that of the file inside.

        Raises:
            URIError: it is no reference.
            ArtifactNotFoundError: no such artifact, version or alias; near misses are named.
            ArtifactGone: it was deleted or replaced; the nearest live versions are named.
            Conflict: it has another digest, or none yet to compare with.
        """
        uri = reference.uri if isinstance(reference, Version) else ArtifactURI.of(reference)
        with self._reading() as db:
            number = None if at is None else self._number(at)
            version = queries.version(db, uri, number)
            if version is None:
                raise self._not_found(db, uri, number)
        if version.state in (State.DELETED, State.REPLACED):
            raise self._gone(version)
        if uri.digest is not None:
            _check_digest(version, uri.digest)
        return version if uri.path is None else _inside(version, uri.path)

    def refer(self, reference: UseReference) -> Version | Source:
        """Return what a reference to an input means: a version or an outside source.

        Raises: as ``resolve``.
        """
        if isinstance(reference, Source):
            return reference
        if isinstance(reference, SourceURI):
            return Source(reference)
        if isinstance(reference, os.PathLike) or (
            isinstance(reference, str) and SourceURI.accepts(reference)
        ):
            source = SourceURI.parse(reference)
            if not source.uri.startswith("file://"):
                return Source(source)
            with self.journal.peek() as ledger:
                occupants = ledger.at(self.locate(source.file))
            return self.resolve(occupants[-1].version.uri) if occupants else Source(source)
        return self.resolve(reference)

    def lineage(
        self, reference: Reference | None = None, *, at: Moment | None = None
    ) -> LineageGraph:
        """Return the lineage around a version or source, or the whole store's.

        Args:
            reference: ``art://...`` or a source such as ``hf://org/name`` (all its revisions).
            at: as of a commit number or a time.

        Raises:
            ArtifactNotFoundError: it is not in this store (as of then).
        """
        with self._reading():
            number = self.journal.head().number if at is None else self._number(at)
        return LineageGraph(self._reading, number, reference)

    def log(self, name: str, *, at: Moment | None = None) -> list[Version]:
        """Return all versions of an artifact, newest first, the gone ones too.

        Raises:
            ArtifactNotFoundError: there is no such artifact.
        """
        uri = ArtifactURI.of(name)
        with self._reading() as db:
            found = queries.versions(db, uri.identity, None if at is None else self._number(at))
            if not found:
                raise self._not_found(db, uri, None)
            return found

    def moves(self, name: str) -> list[AliasMove]:
        """Return every move of an artifact's aliases, oldest first."""
        with self._reading() as db:
            return queries.moves(db, ArtifactURI.of(name).identity)

    def facts(self, reference: str | ArtifactURI | Version) -> list[Fact]:
        """Return the events that concern a version, oldest first."""
        version = self.version(reference)
        with self._reading() as db:
            node = queries.node_of(db, version.id)
            assert node is not None  # noqa: S101 - it was just found
            return [self._fact(*row) for row in queries.facts(db, node)]

    def version(self, reference: str | ArtifactURI | Version) -> Version:
        """Return a version whatever became of it, for looking at rather than for using."""
        uri = reference.uri if isinstance(reference, Version) else ArtifactURI.of(reference)
        with self._reading() as db:
            version = queries.version(db, uri)
            if version is None:
                raise self._not_found(db, uri, None)
            return version

    def inputs(self, reference: str | ArtifactURI | Version) -> list[Input]:
        """Return what a version was made from, with roles and weights."""
        version = self.version(reference)
        with self._reading() as db:
            node = queries.node_of(db, version.id)
            assert node is not None  # noqa: S101 - it was just found
            return queries.inputs_of(db, node)

    def find(
        self,
        name: str | None = None,
        *,
        type: str | None = None,  # noqa: A002 - the field's word
        metadata: Mapping[str, Any] | None = None,
        run: str | None = None,
        state: State | None = State.LIVE,
        limit: int | None = None,
    ) -> list[Version]:
        """Return the versions that fit, newest first.

        Args:
            name: a pattern with ``*`` and ``?``.
            type: ``model``, ``dataset``, ...
            metadata: dotted keys and the values they must have, e.g. ``{"step": 100}``.
            run: id of the producing run.
            state: None takes all.
            limit: how many at the most.
        """
        with self._reading() as db:
            return list(
                queries.find_versions(
                    db, type=type, metadata=metadata, name=name, run=run, state=state, limit=limit
                )
            )

    def artifacts(self) -> list[Artifact]:
        """Return all artifacts, by name."""
        with self._reading() as db:
            return queries.artifacts(db)

    def runs(self, *, name: str | None = None, limit: int | None = None) -> list[RunInfo]:
        """Return runs, newest first."""
        with self._reading() as db:
            return [_with_fate(run) for run in queries.runs(db, name=name, limit=limit)]

    def run_info(self, run: str) -> RunInfo:
        """Return one run by its id.

        Raises:
            ArtifactNotFoundError: there is no such run.
        """
        with self._reading() as db:
            found = queries.run(db, run.removeprefix("run:").partition("#")[0])
        if found is None:
            raise ArtifactNotFoundError(run, f"there is no run {run!r}. Try: lineage runs")
        return _with_fate(found)

    # ----------------------------------------------------------------- writing

    def alias(
        self,
        reference: str | ArtifactURI | Version,
        alias: str,
        *,
        expect: _Any | Version | ArtifactURI | str | int | None = ANY,
    ) -> Version:
        """Point an alias at a version, and return the version.

        Args:
            reference: the version.
            alias: the name; not ``latest`` and not one that reads as a number.
            expect: what it must point to now: a version, its number, None for nothing yet, ANY.

        Raises:
            Conflict: it points to something else.
            PublishRefused: that cannot be an alias.
        """
        version = self.resolve(reference)
        self._move(version.name, alias, version.number, expect)
        return self.version(version)

    def unalias(
        self,
        name: str,
        alias: str,
        *,
        expect: _Any | Version | ArtifactURI | str | int | None = ANY,
    ) -> None:
        """Remove an alias of an artifact.

        Raises:
            ArtifactVersionNotFoundError: there is no such alias.
            Conflict: it points to something else than expected.
        """
        identity = ArtifactURI.of(name).identity
        with self._reading() as db:
            if queries.version(db, ArtifactURI.parse(f"{identity}:{alias}")) is None:
                raise self._not_found(db, ArtifactURI.parse(f"{identity}:{alias}"), None)
        self._move(identity, alias, None, expect)

    def _move(self, name: str, alias: str, to: int | None, expect: object) -> None:
        fault = grammar.alias_fault(alias)
        if fault is not None:
            raise PublishRefused(f"{alias!r} cannot be an alias of art://{name}: {fault}")
        number: int | None = _ANY
        if expect is not ANY:
            number = None if expect is None else _number_of(expect, name)
        event = AliasMoved(name=name, alias=alias, to=to, by=user())
        self.commit(event, expect=number)

    def retire(self, reference: str | ArtifactURI | Version, reason: str) -> Version:
        """Declare a version gone for good. Its lineage stays; its bytes are not touched.

        Raises:
            PublishRefused: it is held.
        """
        version = self.version(reference)
        self.commit(
            Deleted(version=version.id, reason=self.redactor.text(reason), by=user(), seen=False)
        )
        return self.version(version.uri)

    def relocate(
        self,
        reference: str | ArtifactURI | Version,
        path: str | os.PathLike[str],
        *,
        external: bool = False,
    ) -> Version:
        """Say that a version's bytes lie elsewhere now.

        Raises:
            PathNotFoundError: nothing is there (unless ``external``).
        """
        version = self.resolve(reference)
        location = self.locate(path, external=external, must_exist=True)
        self.commit(Relocated(version=version.id, location=location))
        return self.version(version.uri)

    def describe(
        self, reference: str | ArtifactURI | Version, metadata: Mapping[str, Any]
    ) -> Version:
        """Add metadata to a version; keys replace those of before, None removes one."""
        version = self.version(reference)
        values = self.redactor.value(plain(metadata))
        self.commit(Described(version=version.id, metadata=values))
        return self.version(version.uri)

    def hold(self, reference: str | ArtifactURI | Version, reason: str) -> None:
        """Keep a version from being retired until it is released."""
        version = self.resolve(reference)
        self.commit(Held(version=version.id, reason=self.redactor.text(reason), by=user()))

    def release(self, reference: str | ArtifactURI | Version) -> None:
        """Let a held version be retired again."""
        version = self.version(reference)
        self.commit(Held(version=version.id, held=False, by=user()))

    def look(self, reference: str | ArtifactURI | Version) -> Version:
        """Look whether a version's bytes are there, and record a change: missing or found.

        A path of another host, an address or a folder that cannot be read is not judged.
        """
        version = self.version(reference)
        there = self._places.is_there(version.location)
        if there is False and version.state is State.LIVE:
            self.commit(Missing(version=version.id, host=socket.gethostname()))
        elif there and version.state is State.MISSING:
            self.commit(Found(version=version.id, host=socket.gethostname()))
        return self.version(version.uri)

    def pin(self, references: Iterable[str], *, job: str) -> dict[str, str]:
        """Resolve all references of a job once; whoever asks later gets the same answer.

        Returns:
            Each reference with the pinned one.
        """
        known = self.pins(job)
        if known is None:
            pins = {each: str(self.resolve(each).uri) for each in references}
            self.commit(JobPinned(job=job, pins=pins))
            known = self.pins(job)
            assert known is not None  # noqa: S101 - by us or by whoever was first
        return known

    def pins(self, job: str) -> dict[str, str] | None:
        """Return the pins of a job, or None when it has none."""
        with self._reading(), self.journal.peek() as ledger:
            return ledger.pins(job)

    def combine(self) -> int:
        """Bring all pending records into the journal; return how many there were."""
        self._check_open()
        return self._combiner.combine()

    def commit(self, event: Event, *, expect: int | None = _ANY) -> Outcome:
        """Commit one event; the runs and the kit write through this."""
        self._check_open()
        return self._combiner.commit(event, expect=expect)

    def intake_writer(self, folder: str | None, *, run: str) -> Writer:
        """Return a writer of records that are combined later, beside ``folder`` or our own."""
        self._check_open()
        about = {"host": socket.gethostname(), "journal": self.journal.id, "run": run}
        return self.journal.intakes.writer(about, folder)

    def locate(
        self, path: str | os.PathLike[str], *, external: bool = False, must_exist: bool = False
    ) -> Location:
        """Describe where a path lies and which hosts see it."""
        location = self._places.locate(path, external=external)
        if must_exist and not location.external and not os.path.exists(location.path):  # noqa: PTH110
            raise PathNotFoundError(location.path)
        return location

    # --------------------------------------------------------------- internal

    def _reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """Bring the index up to date with everything that anyone recorded, and read from it."""
        self._check_open()
        if not self.journal.read_only and self._has_pending():
            self._combiner.combine()
        self._index.catch_up()
        return self._index.reading()

    def _has_pending(self) -> bool:
        with self.journal.peek() as ledger:
            return self.journal.intakes.has_pending(ledger.mark, ledger.conditions().intakes)

    def _number(self, at: Moment) -> int:
        """Turn a moment into a commit number."""
        if isinstance(at, int):
            return at
        moment = at if isinstance(at, datetime) else read_time(at)
        return self.journal.number_at(write_time(moment))

    def _not_found(
        self, db: sqlite3.Connection, uri: ArtifactURI, at: int | None
    ) -> ArtifactNotFoundError | ArtifactGone:
        name = uri.identity
        known = queries.versions(db, name, at)
        if not known:
            return ArtifactNotFoundError(name, near=queries.near_names(db, name))
        asked = f"art://{name}:{uri.selector}"
        if uri.version is not None:
            numbers = f"newest is v{known[0].number}"
            message = f"{asked} does not exist; {numbers}. Try: lineage log {name}"
            return ArtifactVersionNotFoundError(name, uri.version, message)
        if uri.alias is None:
            return self._gone(known[0])
        near = queries.near_selectors(db, name, uri.alias)
        hint = f"did you mean {near[0]}?" if near else f"newest is v{known[0].number}."
        message = f"{asked} does not exist; {hint} Try: lineage log {name}"
        return ArtifactVersionNotFoundError(name, uri.alias, message, near=near)

    def _gone(self, version: Version) -> ArtifactGone:
        facts = [fact for fact in self.facts(version.uri) if fact.kind in ("deleted", "replaced")]
        payload = facts[-1].payload if facts else {}
        with self._index.reading() as db:
            nearest = queries.live_near(db, version.name, version.number)
        successor = payload.get("by") if version.state is State.REPLACED else None
        if successor and successor not in nearest:
            nearest = (successor, *nearest)
        when = facts[-1].recorded if facts else version.recorded
        return ArtifactGone(
            str(version.uri), str(version.state), when=when.strftime("%Y-%m-%d %H:%M:%S UTC"),
            by=payload.get("run") or (None if successor else payload.get("by")),
            reason=payload.get("reason"), nearest=nearest,
        )  # fmt: skip

    def _fact(self, number: int, position: int, kind: str) -> Fact:
        (commit,) = self.journal.read(number - 1, number)
        entry = commit.entries[position]
        return Fact(kind, entry.id, read_time(commit.recorded), number, entry.event.payload())

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


def _check_digest(version: Version, wanted: str) -> None:
    if version.digest is None:
        raise Conflict(
            f"{version.uri} has no digest yet to compare with {wanted}; leave @{wanted} out, or "
            "publish it with digest='now'"
        )
    if not version.digest.startswith(wanted):
        raise Conflict(f"{version.uri} has digest {version.digest}, not {wanted}")


def _inside(version: Version, path: str) -> Version:
    """Return a version whose path is that of a file inside it."""
    separator = "" if version.address.endswith("/") else "/"
    location = replace(version.location, path=f"{version.address}{separator}{path}")
    return replace(version, uri=replace(version.uri, path=path), location=location)


def _number_of(expect: object, name: str) -> int:
    """Return the number of the version that an alias is expected to point to."""
    if isinstance(expect, int):
        return expect
    if isinstance(expect, Version):
        return expect.number
    text = str(expect)
    uri = ArtifactURI.parse(text if "/" in text or ":" in text else f"{name}:{text}")
    if uri.version is None or uri.identity != name:
        raise PublishRefused(
            f"expect={text!r} names no version of art://{name}; give its number, e.g. 'v3'"
        )
    return uri.version


def _with_fate(run: RunInfo) -> RunInfo:
    """Show a run as lost when nothing ended it and its process is known to be gone."""
    process = run.detail.get("process") or {}
    if run.status is RunStatus.RUNNING and run.host and process.get("pid"):
        known = Process(run.host, process["pid"], process.get("boot"), process.get("started"))
        if known.is_gone():
            return replace(run, status=RunStatus.LOST)
    return run
