"""The one face of a store: runs, references, aliases, and the lineage behind them."""

from __future__ import annotations

import logging
import socket
from collections import Counter
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from . import grammar
from .errors import PublishRefused, StoreBusy
from .events import (
    AliasMoved,
    Deleted,
    Described,
    Event,
    Found,
    Held,
    JobPinned,
    Missing,
    Relocated,
    RunEnded,
)
from .index import queries
from .journal.decide import ANY as _ANY
from .journal.kinds import open_journal
from .launch import Launch, user
from .metadata import plain
from .missed import not_found
from .model import RunInfo, RunStatus, State, Version
from .reading import Reader
from .run import Run
from .seals import Verification, seal, verify
from .settings import choose_store
from .uri import ArtifactURI

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping

    from .intake import Intakes, Writer
    from .journal.decide import Outcome
    from .places import Outside

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
    environ: Mapping[str, str] | None = None,
    outside: Outside | None = None,
) -> Lineage:
    """Open a store, and make it where it is not there yet.

    Args:
        store: ``sqlite:///file.db`` or a path that ends in ``.db``; ``file:///folder`` or another
            path, for a directory journal that several hosts may share; ``memory:``. None means
            ``LINEAGE_STORE``, else ``[artifacts] store`` of env.toml, else a file in the user's
            data folder. ``lineage where`` says which one and why.
        create: make it when it is not there.
        environ: the environment, by default that of the process.
        outside: tells what a path is called outside of the container that this process is in, so
            that records name it as all hosts do.

    Raises:
        StoreUnsuitable: a SQLite file on a network filesystem, a folder with other things in it.
        StoreNotFoundError: not there, and ``create`` is false.
    """
    address, why, warning = choose_store(store, environ)
    if warning is not None:
        _log.warning("%s", warning)
    _log.debug("opening the store %s (%s)", address, why)
    return Lineage(open_journal(address, create=create), environ=environ, outside=outside)


class Lineage(Reader):
    """An open store. Close it, or use it in a ``with`` block.

    Safe to use from several threads, and in forked children.

    Args:
        journal: what it is kept in.
        clock: tells when something occurred.
        environ: for the launcher's variables, and for secrets that must not get into records; by
            default that of the process.
        outside: tells what a path is called outside of the container that this process is in.
    """

    # -------------------------------------------------------------------- runs

    def run(
        self,
        name: str,
        *,
        job_type: str | None = None,
        config: Mapping[str, Any] | None = None,
        parent: str | None = None,
        intake: str | os.PathLike[str] | None = None,
        id: str | None = None,
    ) -> Run:
        """Open a run, or join it when another rank of the same launch opened it.

        Records host, user, command line, git commit, the launcher's ids; secrets are removed.

        Args:
            name: what kind of run it is, e.g. ``sft``; need not be unique.
            job_type: e.g. ``data-prep``, ``training``, ``eval``.
            config: settings; keys and values that JSON cannot hold are kept as text.
            parent: id of the run that launched this one.
            intake: folder beside which ``record`` writes (in ``<folder>/.lineage``), such as the
                one of the checkpoints; None means the store's own.
            id: of a run to join; None works it out from what the launcher says.
        """
        if not name or not isinstance(name, str):
            raise PublishRefused(f"a run has a name such as 'sft', not {name!r}")
        launch = Launch.read(self._environ)
        parent = parent or self._environ.get("LINEAGE_PARENT_RUN")
        return Run(
            self, name, id=id or self._next_id(launch, name), launch=launch, job_type=job_type,
            config=config, parent=parent, intake=intake,
        )  # fmt: skip

    @cached_property
    def _occasions(self) -> Counter[str]:
        """How often a name was given an id."""
        return Counter()

    def _next_id(self, launch: Launch, name: str) -> str:
        occasion = self._occasions[name]
        self._occasions[name] += 1
        return launch.run_id(name, occasion)

    def end_run(self, run: str, status: RunStatus | str, *, error: str | None = None) -> RunInfo:
        """End a run in place of its process, which is gone: a launcher saw its job cancelled.

        One that has ended stays as it ended.

        Args:
            run: its id.
            status: failed or aborted.
            error: what is known of the end, secrets removed.

        Raises:
            ArtifactNotFoundError: there is no such run.
            PublishRefused: another status.
        """
        if status not in (RunStatus.FAILED, RunStatus.ABORTED):
            raise PublishRefused(f"a run is ended by others as failed or aborted, not {status!r}")
        found = self.run_info(run)
        if found.ended is None:
            shown = None if error is None else self.redactor.text(error)
            self.commit(RunEnded(run=found.id, status=str(status), error=shown))
        return self.run_info(found.id)

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
        with self.reading() as db:
            if queries.version(db, ArtifactURI.parse(f"{identity}:{alias}")) is None:
                raise not_found(self, db, ArtifactURI.parse(f"{identity}:{alias}"), None)
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
        return self.look(version.uri) if version.state is State.MISSING else self.version(version)

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
        there = self.is_there(version)
        if there is False and version.state is State.LIVE:
            self.commit(Missing(version=version.id, host=socket.gethostname()))
        elif there and version.state is State.MISSING:
            self.commit(Found(version=version.id, host=socket.gethostname()))
        return self.version(version.uri)

    def seal(
        self,
        reference: str | ArtifactURI | Version,
        *,
        rate: float | None = None,
        progress: Callable[[int, int], object] | None = None,
    ) -> Version:
        """Read all bytes of a version and record their digest; a sealed version is left as it is.

        The store is not held while reading. What was read to its end is remembered on this host,
        so that a later call goes on there, however this one ended. Nothing is recorded unless the
        bytes are those whose fingerprint was published and nobody wrote to them meanwhile.

        Args:
            reference: the version.
            rate: bytes a second at the most, or None.
            progress: called with (bytes done, bytes in all).

        Returns:
            The version with its digest.

        Raises:
            ContentChanged: what lies there is not what was published, or changes right now.
            PathNotFoundError: nothing lies there, or this host cannot see it.
            ArtifactGone: the version was deleted or replaced.
            OSError: a file cannot be read.
        """
        return seal(self, reference, rate=rate, progress=progress)

    def verify(
        self,
        reference: str | ArtifactURI | Version,
        progress: Callable[[int, int], object] | None = None,
    ) -> Verification:
        """Look whether a version is still there and unchanged, reading every byte of it.

        A version that is not sealed is compared by its fingerprint alone, and the answer says so.
        Whether it is missing or was found again is recorded, as by ``look``, unless the store is
        read-only; nothing else is.

        Args:
            reference: the version.
            progress: called with (bytes done, bytes in all).

        Raises:
            ArtifactNotFoundError: there is no such version.
            OSError: a file cannot be read.
        """
        return verify(self, reference, progress)

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
            assert known is not None  # by us or by whoever was first
        return known

    def combine(self, folders: Iterable[str] = (), intakes: Iterable[Intakes] = ()) -> int:
        """Bring all pending records into the journal; return how many there were.

        Args:
            folders: intakes (``.../.lineage``) to look into besides those that runs declared.
            intakes: those of stores that this one goes on from.
        """
        self._check_open()
        return self._combiner.combine(folders, intakes)

    def commit(self, event: Event, *, expect: int | None = _ANY) -> Outcome:
        """Commit one event; the runs and the kit write through this."""
        self._check_open()
        return self._combiner.commit(event, expect=expect)

    def tell(self, event: Event) -> None:
        """Commit one event whose outcome nobody needs: it may as well wait in the intake."""
        try:
            self.commit(event)
        except StoreBusy as error:
            if error.record is None:
                raise
            _log.warning("%s", error)

    def intake_writer(self, folder: str | None, *, run: str) -> Writer:
        """Return a writer of records that are combined later, beside ``folder`` or our own."""
        self._check_open()
        about = {"host": socket.gethostname(), "journal": self.journal.id, "run": run}
        return self.journal.intakes.writer(about, folder)


def _number_of(expect: object, name: str) -> int:
    """Return the number of the version that an alias is expected to point to."""
    if isinstance(expect, int):
        return expect
    text = str(expect.uri if isinstance(expect, Version) else expect)
    uri = ArtifactURI.parse(text if "/" in text or ":" in text else f"{name}:{text}")
    if uri.version is None or uri.identity != name:
        raise PublishRefused(
            f"expect={text!r} names no version of art://{name}; give its number, e.g. 'v3'"
        )
    return uri.version
