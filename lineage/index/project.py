"""Turns commits into the tables of the index."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..events import (
    AliasMoved,
    Deleted,
    Described,
    Event,
    Found,
    Imported,
    Missing,
    Published,
    Receipt,
    Relocated,
    Replaced,
    RunEnded,
    RunStarted,
    Sealed,
    Used,
)
from ..journal.projection import Projection
from ..metadata import canonical_json
from ..model import Input, Location, RunStatus, State, VersionId
from ..source import SourceURI
from .schema import NAME, SCHEMA, SOURCE, STEP, VERSION
from .writer import Writer

if TYPE_CHECKING:
    import sqlite3

    from ..commits import Commit, Entry
    from ..journal.base import Journal

__all__ = ["Index", "take_entry"]

_FINAL = "('deleted', 'replaced')"


class Index(Projection):
    """The query tables of one journal."""

    def __init__(
        self, journal: Journal, *, private: bool = False, folder: str | None = None
    ) -> None:
        super().__init__(journal, NAME, SCHEMA, private=private, folder=folder)

    def _take(self, db: sqlite3.Connection, commit: Commit) -> None:
        taker = _Taker(db, commit)
        for at, entry in enumerate(commit.entries):
            taker.take(at, entry)


def take_entry(db: sqlite3.Connection, commit: Commit, at: int, entry: Entry) -> None:
    """Apply one event of a commit to tables of this form."""
    _Taker(db, commit).take(at, entry)


class _Taker:
    """Applies the events of one commit."""

    def __init__(self, db: sqlite3.Connection, commit: Commit) -> None:
        self._db, self._commit = Writer(db), commit

    def take(self, at: int, entry: Entry) -> None:
        event = entry.event
        version = run = None
        match event:
            case Published() | Imported():
                version, run = self._version(entry, event)
            case Used():
                run = self._run_id(event.run)
                self._used(run, event.input)
            case RunStarted():
                run = self._run_started(event, entry)
            case RunEnded():
                run = self._run_ended(event, entry)
            case AliasMoved():
                version = self._alias_moved(event)
            case Receipt():
                self._arrived(event)
            case _ if isinstance(getattr(event, "version", None), VersionId):
                version = self._about_version(event)
            case _:
                pass
        self._db.execute(
            "INSERT OR REPLACE INTO fact VALUES(?,?,?,?,?,?)",
            (self._commit.number, at, entry.id, event.kind, version, run),
        )

    # ---------------------------------------------------------------- versions

    def _version(self, entry: Entry, event: Published | Imported) -> tuple[int, int | None]:
        node = self._node(event.version, event.type)
        run = self._run_id(event.run) if event.run else None
        late = isinstance(event, Published) and event.late
        created = event.created if isinstance(event, Imported) else None
        non_finite = event.non_finite if isinstance(event, Published) else ()
        self._db.execute(
            "UPDATE version SET state='live', path=?, host=?, external=?, type=?, run=?,"
            " fingerprint=?, digest=?, metadata=?, non_finite=?, origin=?, occurred=?, recorded=?,"
            " commit_number=?, late=?, gone=NULL WHERE id=?",
            (
                event.location.path, event.location.host, event.location.external, event.type, run,
                event.fingerprint, event.digest, canonical_json(dict(event.metadata)),
                json.dumps(non_finite) if non_finite else None,
                canonical_json(dict(event.origin)) if event.origin else None,
                created or entry.occurred, self._commit.recorded, self._commit.number, late, node,
            ),
        )  # fmt: skip
        if not late:
            self._db.execute(
                "UPDATE artifact SET latest=max(coalesce(latest, -1), ?) WHERE name=?",
                (event.version.number, event.name),
            )
        if event.inputs is None:
            step = self._publish_step(run) if run is not None else None
        else:
            step = self._new_step(run)
            for used in event.inputs:
                self._edge(step, used)
        if step is not None:
            self._link(node, step)
        return node, run

    def _node(self, version: VersionId, kind: str = "unknown") -> int:
        """Return the id of a version, making room for one that is only referred to so far."""
        row = self._db.execute(
            "SELECT v.id FROM version v JOIN artifact a ON a.id=v.artifact"
            " WHERE a.name=? AND v.number=?",
            version,
        ).fetchone()
        if row:
            return int(row[0])
        self._db.execute(
            "INSERT INTO artifact(name, type) VALUES(?,?) ON CONFLICT(name) DO UPDATE SET"
            " type=CASE type WHEN 'unknown' THEN excluded.type ELSE type END",
            (version.name, kind),
        )
        node = self._next("version", VERSION)
        self._db.execute(
            "INSERT INTO version(id,artifact,number,state,path,external,type,metadata,late)"
            " SELECT ?,id,?,'live','',1,?,'{}',0 FROM artifact WHERE name=?",
            (node, version.number, kind, version.name),
        )
        return node

    def _about_version(self, event: Event) -> int:
        version: VersionId = event.version  # type: ignore[attr-defined]  # checked by the caller
        node = self._node(version)
        match event:
            case Deleted():
                self._gone(node, version, State.DELETED)
            case Replaced():
                self._gone(node, version, State.REPLACED)
            case Missing():
                self._set(node, f"state='missing' WHERE state NOT IN {_FINAL}")
            case Found():
                self._set(node, "state='live' WHERE state='missing'")
            case Sealed():
                self._set(node, "digest=? WHERE 1", event.digest)
            case Relocated():
                place = event.location
                what = "path=?, host=?, external=? WHERE 1"
                self._set(node, what, place.path, place.host, place.external)
            case Described():
                self._describe(node, event)
            case _:
                pass
        return node

    def _set(self, node: int, what: str, *values: object) -> None:
        self._db.execute(f"UPDATE version SET {what} AND id=?", (*values, node))

    def _gone(self, node: int, version: VersionId, state: State) -> None:
        self._set(node, f"state=?, gone=? WHERE state NOT IN {_FINAL}", state, self._commit.number)
        self._db.execute(
            "UPDATE artifact SET latest=(SELECT max(number) FROM version WHERE artifact=artifact.id"
            f" AND state NOT IN {_FINAL} AND late=0 AND commit_number NOT NULL)"
            " WHERE name=? AND latest=?",
            version,
        )

    def _describe(self, node: int, event: Described) -> None:
        text, infinite = self._db.execute(
            "SELECT metadata, non_finite FROM version WHERE id=?", (node,)
        ).fetchone()
        metadata = {**json.loads(text), **event.metadata}
        non_finite = sorted({*json.loads(infinite or "[]"), *event.non_finite})
        metadata = {
            key: value
            for key, value in metadata.items()
            if value is not None or key in event.non_finite
        }
        what = "metadata=?, non_finite=? WHERE 1"
        self._set(
            node, what, canonical_json(metadata), json.dumps(non_finite) if non_finite else None
        )

    def _alias_moved(self, event: AliasMoved) -> int | None:
        by = event.run or event.by
        self._db.execute(
            "INSERT INTO alias SELECT id,?,?,? FROM artifact WHERE name=?"
            " ON CONFLICT(artifact, alias) DO UPDATE SET number=excluded.number,"
            " revision=excluded.revision",
            (event.alias, event.to, event.revision, event.name),
        )
        self._db.execute(
            "INSERT OR REPLACE INTO alias_move SELECT id,?,?,?,?,?,?,? FROM artifact WHERE name=?",
            (
                event.alias, event.revision, event.to, event.was, by, self._commit.recorded,
                self._commit.number, event.name,
            ),
        )  # fmt: skip
        return None if event.to is None else self._node(VersionId(event.name, event.to))

    def _arrived(self, event: Receipt) -> None:
        """Note the names that a mirror gave to versions and runs."""
        for subject, said in event.delivered.items():
            facts = {"name": said} if isinstance(said, str) else dict(said)
            if subject.startswith(("art://", "run:")):
                self._db.execute(
                    "INSERT OR REPLACE INTO receipt VALUES(?,?,?,?,?,?)",
                    (
                        subject, event.mirror, self._commit.number, facts.get("name"),
                        self._commit.recorded, canonical_json(facts),
                    ),
                )  # fmt: skip

    # ---------------------------------------------------------- runs and steps

    def _run_id(self, uid: str) -> int:
        row = self._db.execute("SELECT id FROM run WHERE uid=?", (uid,)).fetchone()
        if row:
            return int(row[0])
        # its start waits in an intake that nobody has seen yet
        return self._insert_run(uid, uid, self._commit.recorded)

    def _insert_run(self, uid: str, name: str, started: str) -> int:
        cursor = self._db.execute(
            "INSERT INTO run(uid,name,status,started,config,detail,commit_number)"
            " VALUES(?,?,?,?,'{}','{}',?)",
            (uid, name, RunStatus.RUNNING, started, self._commit.number),
        )
        assert cursor.lastrowid is not None  # just inserted
        return cursor.lastrowid

    def _run_started(self, event: RunStarted, entry: Entry) -> int:
        run = self._run_id(event.run)
        detail = {**event.detail, "argv": list(event.argv), "parent": event.parent}
        # what other ranks say later adds folders with records, and changes nothing here
        self._db.execute(
            "UPDATE run SET name=?, job=?, job_type=?, started=?, host=?, user=?, config=?,"
            " detail=? WHERE id=? AND name=uid",
            (
                event.name, event.job, event.job_type, entry.occurred, event.host, event.user,
                canonical_json(dict(event.config)), canonical_json(detail), run,
            ),
        )  # fmt: skip
        return run

    def _run_ended(self, event: RunEnded, entry: Entry) -> int:
        run = self._run_id(event.run)
        self._db.execute(
            "UPDATE run SET status=?, ended=?, error=? WHERE id=?",
            (event.status, entry.occurred, event.error, run),
        )
        return run

    def _used(self, run: int, used: Input) -> None:
        step, published = self._db.execute(
            "SELECT step, published FROM run WHERE id=?", (run,)
        ).fetchone()
        if step is None or published:
            before, step = step, self._new_step(run)
            if before is not None:
                self._link(step, before)
            self._db.execute("UPDATE run SET step=?, published=0 WHERE id=?", (step, run))
        self._edge(step, used)

    def _publish_step(self, run: int) -> int:
        """Return the step that a version published now belongs to."""
        (step,) = self._db.execute("SELECT step FROM run WHERE id=?", (run,)).fetchone()
        if step is None:
            step = self._new_step(run)
        self._db.execute("UPDATE run SET step=?, published=1 WHERE id=?", (step, run))
        return int(step)

    def _new_step(self, run: int | None) -> int:
        step = self._next("step", STEP)
        self._db.execute("INSERT INTO step VALUES(?,?)", (step, run))
        return step

    def _link(self, dst: int, src: int) -> None:
        """Join a version to its step, or a step to the one before."""
        self._db.execute(
            "INSERT OR IGNORE INTO edge(dst,src,role,revision,split,commit_number)"
            " VALUES(?,?,'','','',?)",
            (dst, src, self._commit.number),
        )

    def _edge(self, step: int, used: Input) -> None:
        self._db.execute(
            "INSERT INTO edge VALUES(?,?,?,?,?,?,?,?,?,?)"
            " ON CONFLICT(dst,src,role,revision,split) DO UPDATE SET weight=excluded.weight,"
            " tokens=excluded.tokens, digest=excluded.digest, size=excluded.size",
            (
                step, self._target(used.target), used.role, used.revision or "", used.split or "",
                used.weight, used.tokens, used.digest, used.size, self._commit.number,
            ),
        )  # fmt: skip

    def _target(self, target: VersionId | SourceURI | Location) -> int:
        if isinstance(target, VersionId):
            return self._node(target)
        uri = target.uri if isinstance(target, SourceURI) else SourceURI.local(target.path).uri
        row = self._db.execute("SELECT id FROM source WHERE uri=?", (uri,)).fetchone()
        if row:
            return int(row[0])
        node = self._next("source", SOURCE)
        self._db.execute("INSERT INTO source VALUES(?,?,?)", (node, uri, self._commit.number))
        return node

    def _next(self, table: str, kind: int) -> int:
        (last,) = self._db.execute(f"SELECT max(id) FROM {table}").fetchone()
        return kind if last is None else int(last) + 4
