"""Reads values out of the tables of the index."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any

from ..clock import read_time
from ..model import (
    AliasMove,
    Artifact,
    Input,
    Location,
    Receipt,
    RunInfo,
    RunStatus,
    State,
    Version,
    VersionId,
)
from ..source import SourceURI
from .lookup import GONE, LOOKUP, find
from .schema import SOURCE, VERSION, kind_of
from .wanted import conditions

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator, Mapping

    from ..uri import ArtifactURI

__all__ = [
    "alias_of", "artifacts", "commit_before_run", "facts", "find_versions", "first_start",
    "inputs_of", "labels", "latest_of", "live_near", "merged", "moves", "named", "near_names",
    "near_selectors", "node_of", "receipts", "run", "runs", "unsealed", "uses_of", "version",
    "versions",
]  # fmt: skip

_NEAR = 3


def version(db: sqlite3.Connection, uri: ArtifactURI, at: int | None = None) -> Version | None:
    """Return the version that a reference selects now, or as of a commit."""
    row = find(db, uri.identity, uri.version, uri.alias, at)
    if row is None or (at is not None and row[15] > at):
        return None
    return _version(db, row, at)


def versions(db: sqlite3.Connection, name: str, at: int | None = None) -> list[Version]:
    """Return all versions of an artifact, newest first."""
    rows = db.execute(
        LOOKUP + "v.number AND v.commit_number<=coalesce(:at, v.commit_number)"
        " ORDER BY v.number DESC",
        {"name": name, "at": at},
    )
    return [_version(db, row, at) for row in rows.fetchall()]


def find_versions(
    db: sqlite3.Connection,
    *,
    type: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    name: str | None = None,
    run: str | None = None,
    state: State | None = State.LIVE,
    limit: int | None = None,
) -> Iterator[Version]:
    """Yield the versions that fit, newest first.

    Args:
        db: an open connection to the index.
        type: type of the version.
        metadata: dotted keys and the values that they must have, of any type that it may hold.
        name: a pattern with ``*`` and ``?``.
        run: id of the producing run.
        state: None takes all.
        limit: how many at the most.
    """
    where: list[str] = ["v.number"]
    values: list[object] = []
    for clause, value in (
        ("v.type=?", type), ("a.name GLOB ?", name), ("r.uid=?", run), ("v.state=?", state),
    ):  # fmt: skip
        if value is not None:
            where.append(clause)
            values.append(value)
    for clause, parameters in conditions(metadata or {}):
        where.append(clause)
        values += parameters
    statement = LOOKUP.replace("a.name=:name AND ", "") + " AND ".join(where)
    statement += " ORDER BY v.commit_number DESC, v.number DESC LIMIT ?"
    for row in db.execute(statement, (*values, -1 if limit is None else limit)).fetchall():
        yield _version(db, row, None)


def unsealed(db: sqlite3.Connection, host: str) -> list[VersionId]:
    """Return the live versions without a digest that a host may see, newest first."""
    rows = db.execute(
        "SELECT a.name, v.number FROM version v JOIN artifact a ON a.id=v.artifact"
        " WHERE v.state='live' AND v.digest IS NULL AND NOT v.external"
        " AND coalesce(v.host, ?)=? AND v.commit_number NOT NULL"
        " ORDER BY v.commit_number DESC, v.number DESC",
        (host, host),
    )
    return [VersionId(*row) for row in rows]


def _version(db: sqlite3.Connection, row: tuple[Any, ...], at: int | None) -> Version:
    state, gone = State(row[2]), row[18]
    if at is not None and gone is not None and gone > at:
        state = State.LIVE
    if at is not None:
        aliases = _aliases_at(db, VersionId(row[0], row[1]), at)
    else:
        aliases = tuple(row[19].split(" ")) if row[19] else ()  # an alias has no spaces
    return Version(
        uri=VersionId(row[0], row[1]).uri,
        type=row[6],
        location=Location(row[3], row[4], bool(row[5])),
        metadata=json.loads(row[10]),
        aliases=aliases,
        digest=row[9],
        fingerprint=row[8],
        state=state,
        run=row[7],
        occurred=read_time(row[13]),
        recorded=read_time(row[14]),
        commit=row[15],
        late=bool(row[16]),
        origin=json.loads(row[12]) if row[12] else None,
        non_finite=tuple(json.loads(row[11])) if row[11] else (),
    )


def _aliases_at(db: sqlite3.Connection, version: VersionId, at: int) -> tuple[str, ...]:
    """Return the aliases that pointed to a version at a commit, sorted."""
    rows = db.execute(
        "SELECT m.alias FROM alias_move m JOIN artifact a ON a.id=m.artifact WHERE a.name=:name"
        " AND m.number=:number AND m.revision=(SELECT max(o.revision) FROM alias_move o"
        "  WHERE o.artifact=m.artifact AND o.alias=m.alias AND o.commit_number<=:at)"
        " ORDER BY m.alias",
        {**version._asdict(), "at": at},
    )
    return tuple(alias for (alias,) in rows)


def artifacts(db: sqlite3.Connection) -> list[Artifact]:
    """Return all artifacts, by name."""
    rows = db.execute(
        "SELECT a.name, a.type, a.latest, count(v.id), a.id FROM artifact a"
        " JOIN version v ON v.artifact=a.id AND v.commit_number NOT NULL GROUP BY a.id"
        " ORDER BY a.name"
    ).fetchall()
    return [
        Artifact(
            name, kind, count, latest,
            dict(db.execute("SELECT alias, number FROM alias WHERE artifact=?"
                            " AND number NOT NULL ORDER BY alias", (artifact,))),
        )
        for name, kind, latest, count, artifact in rows
    ]  # fmt: skip


def alias_of(db: sqlite3.Connection, name: str, alias: str) -> tuple[bool, int | None]:
    """Return whether an artifact ever had an alias, and the number that it points to now."""
    row = db.execute(
        "SELECT l.number FROM alias l JOIN artifact a ON a.id=l.artifact"
        " WHERE a.name=? AND l.alias=?",
        (name, alias),
    ).fetchone()
    return (row is not None, row[0] if row else None)


def latest_of(db: sqlite3.Connection, name: str) -> int | None:
    """Return the number that ``latest`` means for an artifact, or None."""
    row = db.execute("SELECT latest FROM artifact WHERE name=?", (name,)).fetchone()
    return row[0] if row else None


def near_names(db: sqlite3.Connection, name: str) -> tuple[str, ...]:
    """Return names in the store that look like one that is not there."""
    names = [row[0] for row in db.execute("SELECT name FROM artifact LIMIT 20000")]
    return tuple(difflib.get_close_matches(name, names, n=_NEAR, cutoff=0.6))


def near_selectors(db: sqlite3.Connection, name: str, selector: str) -> tuple[str, ...]:
    """Return aliases of an artifact that look like one that is not there."""
    rows = db.execute(
        "SELECT l.alias FROM alias l JOIN artifact a ON a.id=l.artifact"
        " WHERE a.name=? AND l.number NOT NULL",
        (name,),
    )
    return tuple(difflib.get_close_matches(selector, [row[0] for row in rows], n=_NEAR))


def live_near(db: sqlite3.Connection, name: str, number: int) -> tuple[str, ...]:
    """Return up to three live versions of an artifact, the nearest numbers first."""
    rows = db.execute(
        "SELECT v.number FROM version v JOIN artifact a ON a.id=v.artifact WHERE a.name=?"
        f" AND v.state NOT IN {GONE} AND v.commit_number NOT NULL"
        " ORDER BY abs(v.number - ?), v.number DESC LIMIT ?",
        (name, number, _NEAR),
    )
    return tuple(str(VersionId(name, row[0])) for row in rows)


def node_of(
    db: sqlite3.Connection, what: VersionId | SourceURI, at: int | None = None
) -> int | None:
    """Return the node id of a version or source, or None when there is none as of a commit."""
    seen = " AND (:at IS NULL OR coalesce(commit_number, 0)<=:at)"
    if isinstance(what, SourceURI):
        values = {"uri": what.uri, "at": at}
        row = db.execute(f"SELECT id FROM source WHERE uri=:uri{seen}", values).fetchone()
    else:
        row = db.execute(
            "SELECT v.id FROM version v JOIN artifact a ON a.id=v.artifact"
            f" WHERE a.name=:name AND v.number=:number{seen}",
            {**what._asdict(), "at": at},
        ).fetchone()
    return int(row[0]) if row else None


def inputs_of(db: sqlite3.Connection, node: int) -> list[Input]:
    """Return what a version was made from, in a stable order."""
    return _behind(db, "SELECT src FROM edge WHERE dst=?", node)


def used_by(db: sqlite3.Connection, run: str) -> list[Input]:
    """Return what a run used so far, in a stable order."""
    return _behind(db, "SELECT step FROM run WHERE uid=?", run)


def _behind(db: sqlite3.Connection, step: str, about: int | str) -> list[Input]:
    """Return what is behind a step that a statement finds."""
    rows = db.execute(
        f"WITH RECURSIVE step(id) AS ({step}"
        "  UNION SELECT e.src FROM step JOIN edge e ON e.dst=step.id WHERE e.src&3=2)"
        " SELECT DISTINCT e.src, e.role, e.revision, e.split, e.weight, e.tokens, e.digest, e.size,"
        "  a.name, v.number, s.uri"
        " FROM step JOIN edge e ON e.dst=step.id AND e.src&3<>2"
        " LEFT JOIN version v ON v.id=e.src LEFT JOIN artifact a ON a.id=v.artifact"
        " LEFT JOIN source s ON s.id=e.src ORDER BY e.role, a.name, v.number, s.uri",
        (about,),
    )
    return [_input(row) for row in rows]


def _input(row: tuple[Any, ...]) -> Input:
    return Input(
        target=VersionId(row[8], row[9]) if kind_of(row[0]) == VERSION else SourceURI(row[10]),
        role=row[1], revision=row[2] or None, split=row[3] or None, weight=row[4], tokens=row[5],
        digest=row[6], size=row[7],
    )  # fmt: skip


def moves(db: sqlite3.Connection, name: str) -> list[AliasMove]:
    """Return all moves of an artifact's aliases, oldest first."""
    rows = db.execute(
        "SELECT m.alias, m.revision, m.number, m.was, m.by, m.recorded, m.commit_number"
        " FROM alias_move m JOIN artifact a ON a.id=m.artifact WHERE a.name=?"
        " ORDER BY m.commit_number, m.alias",
        (name,),
    )
    return [
        AliasMove(alias, revision, number, was, by, read_time(recorded), commit)
        for alias, revision, number, was, by, recorded, commit in rows
    ]


_RUN = "SELECT uid,name,job,job_type,status,started,ended,host,user,config,detail,error FROM run"


def run(db: sqlite3.Connection, uid: str) -> RunInfo | None:
    """Return one run by its id, or None."""
    row = db.execute(f"{_RUN} WHERE uid=?", (uid,)).fetchone()
    return _run(row) if row else None


def runs(
    db: sqlite3.Connection, *, name: str | None = None, limit: int | None = None
) -> list[RunInfo]:
    """Return runs, newest first."""
    rows = db.execute(
        f"{_RUN} WHERE name=coalesce(?, name) ORDER BY id DESC LIMIT ?",
        (name, -1 if limit is None else limit),
    )
    return [_run(row) for row in rows]


def _run(row: tuple[Any, ...]) -> RunInfo:
    uid, name, job, job_type, status, started, ended, host, user, config, detail, error = row
    return RunInfo(
        id=uid, name=name, job=job, job_type=job_type, status=RunStatus(status),
        started=read_time(started), ended=read_time(ended) if ended else None, host=host,
        user=user, config=json.loads(config), detail=json.loads(detail), error=error,
    )  # fmt: skip


def facts(db: sqlite3.Connection, node: int) -> list[tuple[int, int, str]]:
    """Return (commit, position, kind) of the events that concern a version, oldest first."""
    rows = db.execute(
        "SELECT commit_number, position, kind FROM fact WHERE version=?"
        " ORDER BY commit_number, position",
        (node,),
    )
    return rows.fetchall()


def receipts(db: sqlite3.Connection, subject: str) -> list[Receipt]:
    """Return what each mirror calls ``art://name:vN`` or ``run:<id>``, by mirror.

    What was said later is added to what was said before; a name that was given stays.
    """
    found: dict[str, Receipt] = {}
    for mirror, number, recorded, text in db.execute(
        "SELECT mirror, commit_number, recorded, facts FROM receipt WHERE subject=?"
        " ORDER BY mirror, commit_number",
        (subject,),
    ):
        known = found.get(mirror)
        news = json.loads(text)
        facts = merged({} if known is None else known.facts, news)
        found[mirror] = Receipt(
            mirror, facts.get("name"), facts.get("url"), read_time(recorded), number, facts
        )
    return list(found.values())


def merged(known: Mapping[str, Any], news: Mapping[str, Any]) -> dict[str, Any]:
    """Add what a later receipt says to what an earlier one said."""
    if known.get("id") not in (None, news.get("id", known.get("id"))):
        if known.get("made") and known.get("offline"):
            return dict(news)  # it was only meant to be made
        return dict(known)  # a run is one run there: the first that was named
    return {**known, **news}


def named(db: sqlite3.Connection, mirror: str, name: str) -> str | None:
    """Return what has a name in a mirror: ``art://name:vN`` or ``run:<id>``, or None."""
    row = db.execute(
        "SELECT subject FROM receipt WHERE name=? AND mirror=? ORDER BY commit_number LIMIT 1",
        (name, mirror),
    ).fetchone()
    return str(row[0]) if row else None


def labels(db: sqlite3.Connection, nodes: Iterable[int]) -> dict[int, str]:
    """Return the references of some versions and sources."""
    found = {}
    for node in nodes:
        if kind_of(node) == SOURCE:
            row = db.execute("SELECT uri FROM source WHERE id=?", (node,)).fetchone()
            found[node] = row[0]
        elif kind_of(node) == VERSION:
            row = db.execute(
                "SELECT a.name, v.number FROM version v JOIN artifact a ON a.id=v.artifact"
                " WHERE v.id=?",
                (node,),
            ).fetchone()
            found[node] = str(VersionId(*row))
    return found


def commit_before_run(db: sqlite3.Connection, uid: str) -> int:
    """Return the number of the last commit before a run was heard of: for a new one, the last."""
    row = db.execute("SELECT commit_number FROM run WHERE uid=?", (uid,)).fetchone()
    if row is None:
        row = db.execute("SELECT number+1 FROM position").fetchone()
    return int(row[0]) - 1


def first_start(db: sqlite3.Connection, uid: str) -> tuple[int, int] | None:
    """Return (commit, position) of the event by which a run started, or None."""
    row = db.execute(
        "SELECT f.commit_number, f.position FROM fact f JOIN run r ON r.id=f.run"
        " WHERE r.uid=? AND f.kind='run-started' ORDER BY f.commit_number, f.position LIMIT 1",
        (uid,),
    ).fetchone()
    return (int(row[0]), int(row[1])) if row else None


def uses_of(db: sqlite3.Connection, uid: str) -> list[Input]:
    """Return what a run used, in all its steps, in a stable order."""
    rows = db.execute(
        "SELECT DISTINCT e.src, e.role, e.revision, e.split, e.weight, e.tokens, e.digest, e.size,"
        "  a.name, v.number, s.uri FROM run r JOIN step t ON t.run=r.id"
        " JOIN edge e ON e.dst=t.id AND e.src&3<>2"
        " LEFT JOIN version v ON v.id=e.src LEFT JOIN artifact a ON a.id=v.artifact"
        " LEFT JOIN source s ON s.id=e.src WHERE r.uid=?"
        " ORDER BY e.role, a.name, v.number, s.uri",
        (uid,),
    )
    return [_input(row) for row in rows]
