"""What a store can be asked: the reading half of its face."""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING, Any

from . import grammar
from .clock import read_time, write_time
from .errors import ArtifactNotFoundError
from .graph import LineageGraph, Reference
from .index import queries
from .index.glance import glance
from .launch import with_fate
from .missed import check_digest, gone, not_found
from .model import Fact, Source, State, Version
from .opened import OpenStore
from .source import SourceURI
from .uri import ArtifactURI

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .model import AliasMove, Artifact, Input, Receipt, RunInfo
    from .run import UseReference

__all__ = ["Moment", "Reader"]

Moment = int | str | datetime  # a commit number or a time; ISO 8601 as text


class Reader(OpenStore):
    """An open store, as far as it can be asked. ``Lineage`` adds runs and writing."""

    # asked for an artifact that the journal does not know; may import it and say where it is
    elsewhere: Callable[[ArtifactURI], ArtifactURI | None] | None = None
    _glanced = False

    # --------------------------------------------------------------- resolving

    def resolve(
        self, reference: str | ArtifactURI | Version, *, at: Moment | None = None
    ) -> Version:
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
        version = self._glance(uri) if at is None else None
        if version is None:
            version = self._find(uri, at)
        if version.state in (State.DELETED, State.REPLACED):
            raise gone(self, version)
        if uri.digest is not None:
            check_digest(version, uri.digest)
        return version if uri.path is None else version.inside(uri.path)

    def _find(self, uri: ArtifactURI, at: Moment | None) -> Version:
        with self.reading() as db:
            number = None if at is None else self._number(at)
            version = queries.version(db, uri, number)
            if version is not None:
                return version
            missing = not_found(self, db, uri, number)
        if at is None and self.elsewhere is not None and type(missing) is ArtifactNotFoundError:
            found = self.elsewhere(uri)
            if found is not None:
                return self._find(found, None)
        raise missing

    def _glance(self, uri: ArtifactURI) -> Version | None:
        """Answer the first question of a host that has no index by a snapshot, if there is one."""
        self._check_open()
        if self._glanced or self.journal.shelf is None:
            return None
        self._glanced = True  # who asks again is better served by an index
        if self._index.head().number:
            return None
        return glance(self.journal, self.journal.head(), uri)

    def refer(self, reference: UseReference) -> Version | Source:
        """Return what a reference to an input means: a version or an outside source.

        Raises: as ``resolve``.
        """
        if isinstance(reference, (Source, Version)):
            return reference
        if isinstance(reference, SourceURI):
            return Source(reference)
        if isinstance(reference, os.PathLike) or (
            isinstance(reference, str) and SourceURI.accepts(reference)
        ):
            source = SourceURI.parse(reference)
            if not source.uri.startswith("file://"):
                return Source(source)
            with self.reading(), self.journal.peek() as ledger:
                version = ledger.within(self.locate(source.file))
            return Source(source) if version is None else self.resolve(version.uri)
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
        with self.reading():
            number = self.journal.head().number if at is None else self._number(at)
        return LineageGraph(self.reading, number, reference)

    def log(self, name: str, *, at: Moment | None = None) -> list[Version]:
        """Return all versions of an artifact, newest first, the gone ones too.

        Raises:
            ArtifactNotFoundError: there is no such artifact.
        """
        uri = ArtifactURI.of(name)
        with self.reading() as db:
            number = None if at is None else self._number(at)
            found = queries.versions(db, uri.identity, number)
            if not found:
                raise not_found(self, db, uri, number)
            return found

    def moves(self, name: str) -> list[AliasMove]:
        """Return every move of an artifact's aliases, oldest first."""
        with self.reading() as db:
            return queries.moves(db, ArtifactURI.of(name).identity)

    def facts(self, reference: str | ArtifactURI | Version) -> list[Fact]:
        """Return the events that concern a version, oldest first."""
        version = self.version(reference)
        with self.reading() as db:
            node = queries.node_of(db, version.id)
            assert node is not None  # it was just found
            return [self._fact(*row) for row in queries.facts(db, node)]

    def version(self, reference: str | ArtifactURI | Version) -> Version:
        """Return a version whatever became of it, for looking at rather than for using.

        Where no version lives any more, the latest is the newest of those that were.

        Raises:
            ArtifactNotFoundError: there is no such version.
            Conflict: it has another digest than the reference says, or none yet to compare with.
        """
        uri = reference.uri if isinstance(reference, Version) else ArtifactURI.of(reference)
        with self.reading() as db:
            version = queries.version(db, uri)
            if version is None and uri.selector == grammar.LATEST:
                version = next(iter(queries.versions(db, uri.identity)), None)
            if version is None:
                raise not_found(self, db, uri, None)
        if uri.digest is not None:
            check_digest(version, uri.digest)
        return version

    def receipts(self, what: str | ArtifactURI | Version) -> list[Receipt]:
        """Return what mirrors call a version, or a run given as ``run:<id>``.

        Raises:
            ArtifactNotFoundError: there is no such version or run.
        """
        if isinstance(what, str) and what.startswith("run:"):
            subject = f"run:{self.run_info(what).id}"
        else:
            subject = str(self.version(what).id)
        with self.reading() as db:
            return queries.receipts(db, subject)

    def inputs(self, what: str | ArtifactURI | Version) -> list[Input]:
        """Return what a version was made from, or a run (``run:<id>``) used so far.

        Raises:
            ArtifactNotFoundError: there is no such version or run.
        """
        if isinstance(what, str) and what.startswith("run:"):
            run = self.run_info(what)
            with self.reading() as db:
                return queries.used_by(db, run.id)
        version = self.version(what)
        with self.reading() as db:
            node = queries.node_of(db, version.id)
            assert node is not None  # it was just found
            return queries.inputs_of(db, node)

    def find(
        self,
        name: str | None = None,
        *,
        type: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        run: str | None = None,
        state: State | None = State.LIVE,
        limit: int | None = None,
    ) -> list[Version]:
        """Return the versions that fit, newest first.

        Args:
            name: a pattern with ``*`` and ``?``.
            type: ``model``, ``dataset``, ...
            metadata: dotted keys and the values they must have, e.g. ``{"optim.lr": 1e-4}``.
            run: id of the producing run.
            state: None takes all.
            limit: how many at the most.
        """
        with self.reading() as db:
            return list(
                queries.find_versions(
                    db, type=type, metadata=metadata, name=name, run=run, state=state, limit=limit
                )
            )

    def artifacts(self) -> list[Artifact]:
        """Return all artifacts, by name."""
        with self.reading() as db:
            return queries.artifacts(db)

    def runs(self, *, name: str | None = None, limit: int | None = None) -> list[RunInfo]:
        """Return runs, newest first."""
        with self.reading() as db:
            return [with_fate(run) for run in queries.runs(db, name=name, limit=limit)]

    def run_info(self, run: str) -> RunInfo:
        """Return one run by its id.

        Raises:
            ArtifactNotFoundError: there is no such run.
        """
        with self.reading() as db:
            found = queries.run(db, run.removeprefix("run:").partition("#")[0])
        if found is None:
            raise ArtifactNotFoundError(run, f"there is no run {run!r}. Try: lineage runs")
        return with_fate(found)

    def pins(self, job: str) -> dict[str, str] | None:
        """Return the pins of a job, or None when it has none."""
        with self.reading(), self.journal.peek() as ledger:
            return ledger.pins(job)

    # --------------------------------------------------------------- internal

    def _number(self, at: Moment) -> int:
        """Turn a moment into a commit number."""
        if isinstance(at, int):
            return at
        try:
            moment = at if isinstance(at, datetime) else read_time(at)
        except ValueError:
            raise ValueError(f"at={at!r} is no commit number and no time in ISO 8601") from None
        return self.journal.number_at(write_time(moment))

    def _fact(self, number: int, position: int, kind: str) -> Fact:
        (commit,) = self.journal.read(number - 1, number)
        entry = commit.entries[position]
        return Fact(kind, entry.id, read_time(commit.recorded), number, entry.event.payload())
