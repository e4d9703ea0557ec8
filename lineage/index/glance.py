"""Answers one reference on a host that has no index yet, from a snapshot and the commits behind it.

The rows that matter go into tables of their own in memory, and the later commits are taken there
as the index would take them: so the answer is the one that the index would give.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from ..commits import Commit, Front, Mark
from ..events import (
    KINDS,
    AliasMoved,
    Deleted,
    Replaced,
    RunEnded,
    RunStarted,
    SucceededBy,
    Unknown,
)
from ..journal.base import unlinked
from ..journal.ledger import LEDGER_SCHEMA, Ledger
from ..journal.snapshots import Snapshots
from ..metadata import canonical_json
from ..model import RunStatus, VersionId
from . import queries
from .lookup import GONE
from .pages import (
    LOOKUP_TABLES,
    VERSION_COLUMNS,
    Pages,
    artifact_key,
    version_key,
    writer_key,
)
from .project import take_entry
from .schema import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..commits import Entry, Head
    from ..journal.base import Journal
    from ..journal.snapshots import Note
    from ..model import Version
    from ..uri import ArtifactURI

__all__ = ["glance"]

_WORTH = 2000  # commits from which on a snapshot is looked for
_PAGES = 200  # beyond that many, the whole index costs little more
_DECIDING = (RunStarted, RunEnded, SucceededBy, Unknown)  # for what every writer must know
_DECIDING_KINDS = {RunStarted.kind, RunEnded.kind, SucceededBy.kind}


def glance(journal: Journal, head: Head, uri: ArtifactURI) -> Version | None:
    """Return the live version that a reference selects, where a snapshot can tell it at once.

    None when the whole index has to tell: there is no snapshot, records wait in an intake, or
    there is no such version and somebody has to say what there is instead.

    Args:
        journal: open, just asked for its head.
        head: where it stands.
        uri: no digest is compared.
    """
    if head.number < _WORTH:
        return None
    snapshots = Snapshots(journal)
    note = snapshots.newest(LOOKUP_TABLES, head.number)
    if note is None:
        return None
    try:
        found = _Glance(journal, Pages(snapshots, note), note, uri.identity)
        with closing(found):
            found.take_tail(head.number)
            if found.has_pending():
                return None
            version = found.version(uri)
    except LookupError:
        return None
    return None if version is None or version.state in GONE else version


class _Glance:
    def __init__(self, journal: Journal, pages: Pages, note: Note, name: str) -> None:
        self._journal, self._pages, self._note, self._name = journal, pages, note, name
        self._spelled = canonical_json(name)[1:-1]  # as it stands in the text of a commit
        self._index = sqlite3.connect(":memory:")
        self._index.executescript(SCHEMA)
        self._deciding = sqlite3.connect(":memory:")
        self._deciding.executescript(LEDGER_SCHEMA)
        self._deciding.executemany(
            "INSERT INTO ledger_state VALUES(?,?)", map(tuple, note.detail["state"])
        )
        self._marks: dict[str, Mark] = {}
        self._tail: list[tuple[Commit, int, Entry]] = []  # what concerns this name

    def close(self) -> None:
        self._index.close()
        self._deciding.close()

    # ---------------------------------------------------------- later commits

    def take_tail(self, upto: int) -> None:
        """Take the commits behind the snapshot, as far as they concern anything here."""
        rows, told = self._note.head.number, int(self._note.detail["ledger"][0])
        ledger = Ledger(self._deciding)
        previous = self._note.head.hash if rows <= told else None
        for number, text in self._journal.texts(min(rows, told), upto):
            front = Front.read(text, number=number)
            if previous is not None and front.previous != previous:
                raise unlinked(number)
            previous = front.hash
            if number > told:
                for writer, mark in front.writers.items():
                    known = self._marks.get(writer, Mark(0))
                    self._marks[writer] = Mark(mark.sequence, max(mark.offset, known.offset))
            if not self._may_matter(front, text):
                continue
            commit = Commit.read(text, number=number)
            for at, entry in enumerate(commit.entries):
                if number > told and isinstance(entry.event, _DECIDING):
                    ledger.apply(entry)
                if number > rows and self._concerns(entry):
                    self._tail.append((commit, at, entry))
        self._load()
        for commit, at, entry in self._tail:
            take_entry(self._index, commit, at, entry)

    def _may_matter(self, front: Front, text: str) -> bool:
        return self._spelled in text or any(
            kind in _DECIDING_KINDS or kind not in KINDS or form > KINDS[kind].form
            for kind, form in front.kinds
        )

    def _concerns(self, entry: Entry) -> bool:
        version = getattr(entry.event, "version", None)
        name = version.name if isinstance(version, VersionId) else None
        return self._name in (name, getattr(entry.event, "name", None))

    def has_pending(self) -> bool:
        """Tell whether records wait that the answer may depend on."""
        intakes = Ledger(self._deciding).conditions().intakes
        return self._journal.intakes.has_pending(self._mark, intakes)

    def _mark(self, writer: str) -> Mark:
        row = self._pages.get(writer_key(writer))
        known = Mark(*row) if row else Mark(0)
        later = self._marks.get(writer, known)
        return Mark(later.sequence, max(later.offset, known.offset))

    # ------------------------------------------------------------------ rows

    def _load(self) -> None:
        """Bring in the rows of the artifact that a reference or a later commit touches."""
        found = self._pages.get(artifact_key(self._name))
        if found is None:
            return
        row, aliases = found
        self._index.execute("INSERT INTO artifact VALUES(?,?,?,?)", row)
        self._index.executemany(
            "INSERT INTO alias VALUES(?,?,?,?)", [(row[0], *alias) for alias in aliases]
        )
        for value in self._touched():
            self._insert(value)

    def _touched(self) -> Iterable[Any]:
        low, high = version_key(self._name, 0), version_key(self._name, 10**12 - 1)
        # the latest that goes makes another one the latest
        if any(isinstance(entry.event, (Deleted, Replaced)) for _, _, entry in self._tail):
            if self._pages.spread(low, high) > _PAGES:
                raise LookupError("too many pages")
            return (value for _, value in self._pages.between(low, high))
        return self._some(set(self._numbers()))

    def _some(self, numbers: Iterable[int]) -> Iterator[Any]:
        for number in numbers:
            value = self._pages.get(version_key(self._name, number))
            if value is not None:
                yield value

    def _numbers(self) -> Iterator[int]:
        for _, _, entry in self._tail:
            event = entry.event
            if isinstance(event, AliasMoved):
                yield from (number for number in (event.to, event.was) if number is not None)
            elif isinstance(version := getattr(event, "version", None), VersionId):
                yield version.number
            for used in getattr(event, "inputs", None) or ():
                if isinstance(used.target, VersionId) and used.target.name == self._name:
                    yield used.target.number

    def _insert(self, value: Any) -> None:
        run, row = value
        if run is not None:
            self._index.execute(
                "INSERT OR IGNORE INTO run(uid,name,status,started,config,detail,commit_number)"
                " VALUES(?,?,?,'','{}','{}',0)",
                (run, run, RunStatus.RUNNING),
            )
        marks = ",".join("?" * len(row))
        self._index.execute(
            f"INSERT INTO version(id,run,{VERSION_COLUMNS}) SELECT"
            " (SELECT coalesce(max(id)+4, 0) FROM version),"
            f" (SELECT id FROM run WHERE uid=?),{marks}",
            (run, *row),
        )

    def version(self, uri: ArtifactURI) -> Version | None:
        """Return what a reference selects, whatever became of it."""
        number = uri.version
        if number is None:
            statement = (
                "SELECT latest FROM artifact WHERE name=:name"
                if uri.alias is None
                else "SELECT l.number FROM artifact a JOIN alias l ON l.artifact=a.id"
                " WHERE a.name=:name AND l.alias=:alias"
            )
            row = self._index.execute(statement, {"name": self._name, "alias": uri.alias})
            (number,) = row.fetchone() or (None,)
        if number is not None:
            known = self._index.execute(
                "SELECT 1 FROM version v JOIN artifact a ON a.id=v.artifact"
                " WHERE a.name=? AND v.number=?",
                (self._name, number),
            ).fetchone()
            if known is None:
                for value in self._some([number]):
                    self._insert(value)
        return queries.version(self._index, uri)
