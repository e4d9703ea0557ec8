"""Brings what another journal holds into a store, under a namespace of its own.

``model`` of the other journal is ``namespace/model`` here, with the numbers it has there, its
inputs, its runs and its times. Doing it again brings in what is new. Nothing that was said here is
overwritten: where the two differ, what is here stays and the difference is reported.
"""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .clock import new_id, write_time
from .commits import Entry
from .errors import PublishRefused, StoreError, StoreTooNew, URIError
from .events import (
    AliasMoved,
    Deleted,
    Described,
    Event,
    Imported,
    RunEnded,
    RunStarted,
    Sealed,
)
from .index import queries
from .lines import write_line
from .metadata import canonical_json
from .model import Input, RunStatus, State, Version, VersionId
from .uri import ArtifactURI

if TYPE_CHECKING:
    from .model import RunInfo
    from .registry import Lineage

__all__ = ["Merged", "merge"]

_RANK = {"run-started": 0, "imported": 1, "alias-moved": 2, "run-ended": 3}
SYSTEM = "lineage"  # in the origin of what was merged
MERGED_FROM = "merged_from"  # in the detail of a run: the journal that told of it
_FINAL = (State.DELETED, State.REPLACED)


@dataclass(slots=True)
class Merged:
    """What became of the versions of another journal.

    Attributes:
        imported: by name, how many versions are new here.
        there: by name, how many were here already.
        changed: how many later changes (deletions, digests, metadata, aliases) were brought in.
        conflicts: a sentence for each thing that differs and stays as it is here.
    """

    imported: Counter[str] = field(default_factory=Counter)
    there: Counter[str] = field(default_factory=Counter)
    changed: int = 0
    conflicts: list[str] = field(default_factory=list)


def merge(store: Lineage, other: Lineage, namespace: str) -> Merged:
    """Bring all that another store holds into a store.

    Args:
        store: where to.
        other: where from; it is only read.
        namespace: what its names stand under here, e.g. ``partner`` or ``teams/vision``.

    Raises:
        PublishRefused: that cannot be a namespace, or both are one journal.
        StoreError: the store ended, or needs a newer release; nothing was brought in.
    """
    try:
        fault = ArtifactURI.parse(f"{namespace}/x").identity != f"{namespace}/x"
    except URIError:
        fault = True
    if fault:
        raise PublishRefused(f"{namespace!r} cannot be a namespace; use names such as 'partner'")
    if store.journal.is_ours(other.journal.id) or other.journal.is_ours(store.journal.id):
        raise PublishRefused(
            f"{other.journal.address} has the same history as this store; there is nothing to merge"
        )
    _must_go_on(store)
    return _Merge(store, other, namespace).run()


def _must_go_on(store: Lineage) -> None:
    """Refuse where what is brought in would wait for another store or release."""
    journal = store.journal
    with store.reading(), journal.peek() as ledger:
        conditions = ledger.conditions()
    if (successor := journal.successor()) is not None:
        where = successor.store or f"journal {successor.journal}"
        raise StoreError(f"{journal.address} ended and goes on as {where}; merge into that one")
    if conditions.unknown is not None:
        raise StoreTooNew(
            f"{journal.address} holds {conditions.unknown!r} events of a newer release; upgrade "
            "nemotron-lineage to merge into it"
        )


class _Merge:
    """One merge under way: what is to be told is collected first, then combined like any record."""

    def __init__(self, store: Lineage, other: Lineage, namespace: str) -> None:
        self._store, self._other, self._namespace = store, other, namespace
        self._owners = other.journal.owners()
        self._by = f"journal {other.journal.id}"
        self._foreign: dict[str, bool] = {}  # names here that cannot be merged into
        self._events: list[tuple[str, Event]] = []
        self.report = Merged()

    def run(self) -> Merged:
        with self._other.reading() as db:
            runs = queries.runs(db)
            names = [artifact.name for artifact in queries.artifacts(db)]
        for run in reversed(runs):
            self._run(run)
        for name in names:
            self._artifact(name)
        self._tell()
        return self.report

    # ---------------------------------------------------------------------- what

    def _run(self, run: RunInfo) -> None:
        with self._store.reading(), self._store.journal.peek() as ledger:
            status = ledger.run(run.id)
        if status is None:
            detail = {k: v for k, v in run.detail.items() if k not in ("argv", "parent")}
            detail.setdefault(MERGED_FROM, self._other.journal.id)
            started = RunStarted(
                run=run.id, name=run.name, job=run.job, job_type=run.job_type,
                parent=run.detail.get("parent"), config=run.config, host=run.host, user=run.user,
                argv=tuple(run.detail.get("argv") or ()), detail=detail,
            )  # fmt: skip
            self._add(write_time(run.started), started)
        if run.ended is not None and status in (None, RunStatus.RUNNING):
            ended = RunEnded(run=run.id, status=run.status, error=run.error)
            self._add(write_time(run.ended), ended)

    def _artifact(self, name: str) -> None:
        here = f"{self._namespace}/{name}"
        with self._store.reading() as db, self._store.journal.peek() as ledger:
            artifact = ledger.artifact(here)
            known = {each.number: each for each in queries.versions(db, here)}
        if artifact is not None and artifact.origin is None:
            self.report.conflicts.append(
                f"art://{here} is published here; {name} of {self._other.journal.address} is left "
                "out. Merge under another namespace"
            )
            return
        taken = {
            version.number
            for version in reversed(self._other.log(name))
            if self._version(version, VersionId(here, version.number), known.get(version.number))
        }
        self._aliases(name, here, taken)

    def _version(self, theirs: Version, ident: VersionId, ours: Version | None) -> bool:
        """Bring in one version, or what is new of it; False when something else is there."""
        origin = {
            "system": SYSTEM, "journal": self._owner(theirs.commit), "version": str(theirs.id),
        }  # fmt: skip
        if ours is None:
            self.report.imported[ident.name] += 1
            self._add(
                write_time(theirs.recorded),
                Imported(
                    name=ident.name, number=ident.number, type=theirs.type, origin=origin,
                    location=theirs.location, run=theirs.run, digest=theirs.digest,
                    fingerprint=theirs.fingerprint, metadata=dict(theirs.metadata),
                    inputs=tuple(map(self._input, self._other.inputs(theirs))),
                    created=write_time(theirs.occurred),
                ),
            )  # fmt: skip
        elif not (origin.items() <= dict(ours.origin or {}).items()):
            self.report.conflicts.append(
                f"{ident} came from {canonical_json(dict(ours.origin or {}))}; {theirs.uri} is "
                "left out. Merge under another namespace"
            )
            return False
        else:
            self.report.there[ident.name] += 1
            self._differences(theirs, ident, ours)
        if theirs.state in _FINAL and (ours is None or ours.state not in _FINAL):
            self._deleted(theirs, ident, ours)
        return True

    def _deleted(self, theirs: Version, ident: VersionId, ours: Version | None) -> None:
        with self._store.journal.peek() as ledger:
            held = ledger.hold(ident)
        if held is not None:
            self._differ(ident, "the state", str(theirs.state), f"held ({held})")
            return
        moment, reason = self._gone(theirs)
        self._change(moment, Deleted(version=ident, reason=reason, by=self._by), ours)

    def _differences(self, theirs: Version, ident: VersionId, ours: Version) -> None:
        """Bring in what they know more, and report what they know otherwise."""
        moment = self._store_time()
        if theirs.digest is not None and ours.digest is None:
            self._change(moment, Sealed(version=ident, digest=theirs.digest), ours)
        elif theirs.digest is not None and theirs.digest != ours.digest:
            self._differ(ident, "digest", theirs.digest, ours.digest)
        more = {}
        for key, value in theirs.metadata.items():
            if key not in ours.metadata:
                more[key] = value
            elif ours.metadata[key] != value:
                self._differ(ident, f"metadata {key!r}", value, ours.metadata[key])
        if more:
            self._change(moment, Described(version=ident, metadata=more), ours)

    def _aliases(self, name: str, here: str, taken: set[int]) -> None:
        """Follow their aliases, but for those that were moved here by somebody else."""
        theirs = {move.alias: move for move in self._other.moves(name)}
        ours = {move.alias: move for move in self._store.moves(here)}
        for alias, move in sorted(theirs.items()):
            mine = ours.get(alias)
            if mine is None and move.version is None:
                continue
            if mine is not None and mine.version == move.version:
                continue
            if move.version is not None and move.version not in taken:
                continue  # said already
            if mine is not None and mine.by != self._by:
                self._differ(f"art://{here}", f"alias {alias!r}", move.version, mine.version)
                continue
            event = AliasMoved(name=here, alias=alias, to=move.version, by=self._by)
            self._change(write_time(move.recorded), event, mine)

    # ----------------------------------------------------------------------- how

    def _owner(self, commit: int) -> str:
        """Return the id of the journal that a commit of theirs was written to."""
        return self._owners[bisect_right(self._owners, (commit, "~")) - 1][1]

    def _input(self, used: Input) -> Input:
        if isinstance(used.target, VersionId):
            there = VersionId(f"{self._namespace}/{used.target.name}", used.target.number)
            return replace(used, target=there)
        return used

    def _gone(self, version: Version) -> tuple[str, str]:
        """Return when and why a version of theirs went."""
        facts = [fact for fact in self._other.facts(version) if fact.kind in _FINAL]
        if not facts:
            return self._store_time(), str(version.state)
        reason = facts[-1].payload.get("reason")
        return write_time(facts[-1].recorded), f"{version.state}{f': {reason}' if reason else ''}"

    def _differ(self, what: object, which: str, theirs: object, ours: object) -> None:
        self.report.conflicts.append(
            f"{which} of {what} is {theirs!r} there and {ours!r} here; it stays"
        )

    def _change(self, moment: str, event: Event, known: object) -> None:
        if known is not None:
            self.report.changed += 1
        self._add(moment, event)

    def _add(self, moment: str, event: Event) -> None:
        self._events.append((moment, event))

    def _store_time(self) -> str:
        head = self._other.journal.head()
        return head.recorded

    def _tell(self) -> None:
        """Write all of it into an intake of its own, and combine that."""
        if not self._events:
            return
        # a version before what happened to it, even where one commit told of both
        self._events.sort(key=lambda pair: (pair[0], _RANK.get(pair[1].kind, 9)))
        with tempfile.TemporaryDirectory(prefix="lineage-merge-") as folder:
            writer = new_id()
            entries = (
                Entry(f"{writer}-{number}", moment, event)
                for number, (moment, event) in enumerate(self._events, 1)
            )
            with open(os.path.join(folder, f"{writer}.jsonl"), "wb") as file:
                file.writelines(map(write_line, entries))
            self._store.combine([folder])
