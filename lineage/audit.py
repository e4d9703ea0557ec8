"""Proves that a store is whole (fsck), and blanks what should never have been recorded (redact)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .commits import Commit
from .errors import ArtifactNotFoundError, StoreDamaged, StoreError
from .events import ForkedFrom, Redacted
from .index import queries
from .index.project import Index
from .journal.base import unlinked
from .journal.ledger import LEDGER_SCHEMA, Ledger
from .journal.snapshots import Snapshots
from .launch import user
from .uri import ArtifactURI

if TYPE_CHECKING:
    from .journal.base import Journal
    from .registry import Lineage

__all__ = ["Report", "fsck", "redact"]

Progress = Callable[[int, int], object]


@dataclass(slots=True)
class Report:
    """What fsck found.

    Attributes:
        commits: how many were read.
        head: hash of the last one; kept elsewhere, it proves that nobody rewrote everything.
        damage: sentences, each with the number of the commit where one can be named.
        redacted: how many payloads are blank.
        pending: records that no commit has taken yet.
    """

    commits: int = 0
    head: str = ""
    damage: list[str] = field(default_factory=list)
    redacted: int = 0
    pending: int = 0

    @property
    def is_clean(self) -> bool:
        """Whether nothing is damaged."""
        return not self.damage


def fsck(store: Lineage, progress: Progress | None = None) -> Report:
    """Read the whole journal and check that everything follows from it.

    Checks every hash, link, number and payload; that blank payloads were declared; that the ledger
    and the index say what a replay says. Nothing is changed.

    Args:
        store: an open store.
        progress: called with (commits done, commits in all).
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.executescript(LEDGER_SCHEMA)
        return _check(store.journal, Ledger(db), progress)


def _check(journal: Journal, ledger: Ledger, progress: Progress | None) -> Report:
    """Replay a journal into an empty ledger."""
    report = Report()
    blank: dict[str, object] = {}
    declared: dict[str, object] = {}
    previous: str | None = ""
    owner = ""  # the journal that the last commit was written to
    total = journal.head().number
    for number in range(1, total + 1):
        try:
            commit = _commit(journal, number)
        except StoreError as error:
            report.damage.append(str(error))
            previous = None
            continue
        if previous is not None and commit.previous != previous:
            report.damage.append(str(unlinked(number)))
        if commit.journal != owner and not _goes_on(commit, owner):
            report.damage.append(f"commit {number} belongs to another journal, {commit.journal}")
        owner, previous = commit.journal, commit.hash
        report.commits += 1
        ledger.take(commit)
        for at, entry in enumerate(commit.entries):
            if commit.is_blank(at):
                blank[entry.id] = entry.event.payload()
            if isinstance(entry.event, Redacted):
                declared[entry.event.event] = entry.event.kept
        if progress is not None:
            progress(number, total)
    report.head = previous or ""
    if owner not in ("", journal.id):
        report.damage.append(
            f"the copy of journal {owner} was cut off before it was declared. Try: lineage copy"
        )
    _check_redactions(report, blank, declared)
    if report.is_clean:
        _check_projections(report, journal, ledger)
    with journal.peek() as known:
        report.pending = len(journal.intakes.pending(known.mark, known.conditions().intakes))
    return report


def _goes_on(commit: Commit, owner: str) -> bool:
    """Tell whether a commit is the first of a journal, or of a copy that goes on by itself."""
    if not owner:
        return commit.number == 1
    return any(
        isinstance(entry.event, ForkedFrom) and entry.event.journal == owner
        and (entry.event.commit, entry.event.hash) == (commit.number - 1, commit.previous)
        for entry in commit.entries
    )  # fmt: skip


def _commit(journal: Journal, number: int) -> Commit:
    try:
        ((_, text),) = journal.texts(number - 1, number)
    except StoreDamaged as error:
        if error.commit is None:
            message = f"commit {number} cannot be read: {error}"
            raise StoreDamaged(message, commit=number) from error
        raise
    return Commit.read(text, number=number)


def _check_redactions(
    report: Report, blank: dict[str, object], declared: dict[str, object]
) -> None:
    report.redacted = len(blank)
    report.damage += [
        f"the payload of event {event} is blank, but no redaction declares it"
        for event in blank.keys() - declared.keys()
    ]
    report.damage += [
        f"event {event} was declared redacted, but its payload is still there. "
        f"Try: lineage redact {event}"
        for event in declared.keys() - blank.keys()
    ]


def _check_projections(report: Report, journal: Journal, replayed: Ledger) -> None:
    with journal.peek() as known:
        ours, theirs = known.dump(), replayed.dump()
    report.damage += [
        f"the ledger's table {table!r} differs from a replay of the journal"
        for table in ours
        if ours[table] != theirs[table]
    ]
    kept, fresh = Index(journal), Index(journal, private=True)
    try:
        kept.catch_up()
        fresh.catch_up()
        with kept.reading() as mine, fresh.reading() as yours:
            report.damage += [
                f"the index's table {table!r} differs from a replay. Try: lineage where --rebuild"
                for (table,) in mine.execute("SELECT name FROM sqlite_master WHERE type='table'")
                if _differs(mine, yours, table)
            ]
    finally:
        kept.close()
        fresh.close()


def _differs(mine: sqlite3.Connection, yours: sqlite3.Connection, table: str) -> bool:
    statement = f"SELECT * FROM {table}"
    return sorted(mine.execute(statement), key=repr) != sorted(yours.execute(statement), key=repr)


def redact(store: Lineage, what: str, reason: str) -> int:
    """Blank the free text of some events for good: paths, metadata, config, command lines.

    What stays are names, numbers, runs and edges, so that lineage is whole and fsck still proves
    the rest. Mirrors and exports made before keep what they have.

    Args:
        store: an open store.
        what: a version, ``run:<id>`` or the id of an event.
        reason: why; it is recorded.

    Returns:
        How many payloads were blanked; 0 when they were blank already.

    Raises:
        ArtifactNotFoundError: there is nothing of that name.
        StoreReadOnly: this user may not blank anything; nothing was declared.
    """
    journal = store.journal
    journal.check_blank()
    done = 0
    for number, position in _events(store, what):
        (commit,) = journal.read(number - 1, number)
        if commit.is_blank(position):
            continue
        entry = commit.entries[position]
        kept = entry.event.skeleton()
        # first the declaration: a crash in between leaves what fsck names and a repeat finishes
        declaration = Redacted(
            event=entry.id, kept=kept, by=user(), reason=store.redactor.text(reason)
        )
        store.commit(declaration)
        journal.blank(number, entry.id, kept)
        done += 1
    if done:
        Snapshots(journal).remove_all()
        journal.relearn()
        store.rebuild_index()
    return done


def _events(store: Lineage, what: str) -> list[tuple[int, int]]:
    """Return (commit, position) of the events that hold free text of a version, run or event."""
    run = what.removeprefix("run:").partition("#")[0]
    with store.reading() as db:
        found = db.execute(
            "SELECT f.commit_number, f.position FROM fact f JOIN run r ON r.id=f.run WHERE r.uid=?"
            " AND f.kind IN ('run-started', 'run-ended')",
            (run,),
        ).fetchall()
        found += db.execute(
            "SELECT commit_number, position FROM fact WHERE event=?", (what,)
        ).fetchall()
        if not found and not what.startswith("run:"):
            uri = ArtifactURI.parse(what)
            version = queries.version(db, uri)
            node = version and queries.node_of(db, version.id)
            found = db.execute(
                "SELECT commit_number, position FROM fact WHERE version=? AND kind IN"
                " ('published', 'imported', 'described', 'relocated', 'deleted', 'held')",
                (node,),
            ).fetchall()
    if not found:
        raise ArtifactNotFoundError(
            what, f"there is no version, run or event {what!r}. Try: lineage log NAME"
        )
    return found
