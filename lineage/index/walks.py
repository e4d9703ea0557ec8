"""Walks along the edges of the index: what is reached from a node, as ids and rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..journal.projection import position
from .schema import SOURCE, STEP, VERSION, kind_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Start", "VersionRow", "Walks"]

# From one node along the edges. UNION, not UNION ALL: it ends on cycles and visits a node once.
_UP = """
WITH RECURSIVE found(id) AS (
    SELECT src FROM edge WHERE dst=:node {at}
    UNION SELECT e.src FROM found JOIN edge e ON e.dst=found.id {at})
"""
# a revision, when given, binds the first edge only
_DOWN = """
WITH RECURSIVE found(id) AS (
    SELECT dst FROM edge WHERE src=:node AND (:revision IS NULL OR revision=:revision) {at}
    UNION SELECT e.dst FROM found JOIN edge e ON e.src=found.id {at})
"""
_VERSIONS = """
SELECT v.id, a.name, v.number, v.type, v.state, v.gone, v.commit_number
FROM version v JOIN artifact a ON a.id=v.artifact WHERE
"""
_CHUNK = 500  # ids in one statement
# (id, name, number, type, state, commit it went at or None, commit or None when only referred to)
VersionRow = tuple[int, str, int, str, str, "int | None", "int | None"]


class Start(NamedTuple):
    """Where a walk begins: a node, and a revision when the node is a source."""

    node: int
    revision: str | None = None


class Walks:
    """Walks in one index as of one commit. Ids are those of ``index.schema``.

    Args:
        db: the index; it has caught up with ``at``.
        at: commit number; edges of later commits are not seen.
    """

    def __init__(self, db: sqlite3.Connection, at: int) -> None:
        self.db, self.at = db, at

    def _visible(self, *tables: str) -> str:
        """Return the condition that hides later edges; nothing when there are none."""
        if position(self.db).number <= self.at:
            return ""
        return " ".join(f"AND {table}commit_number<=:at" for table in tables or ("",))

    # --------------------------------------------------------------- reachable

    def reached(self, start: Start, *, up: bool) -> tuple[list[str], Iterator[VersionRow]]:
        """Return the addresses of all sources and the rows of all versions that are reached.

        There may be very many rows: take them as they come, before the index is asked again.
        """
        values = {**start._asdict(), "at": self.at}
        walk = (_UP if up else _DOWN).format(at=self._visible())
        sources: list[str] = []
        if up:  # nothing leads to a source
            statement = (
                f"{walk} SELECT s.uri FROM found JOIN source s ON s.id=found.id ORDER BY s.id"
            )
            sources = [uri for (uri,) in self.db.execute(statement, values)]
        rows = self.db.execute(
            f"{walk} {_VERSIONS} v.id IN (SELECT id FROM found) ORDER BY v.id", values
        )
        return sources, rows

    def within(self, start: Start, hops: int, *, up: bool) -> set[int]:
        """Return what is reached in ``hops`` from version to version; steps cost nothing."""
        near, far = ("dst", "src") if up else ("src", "dst")
        values = {**start._asdict(), "at": self.at}
        visible = self._visible()
        reached: set[int] = set()
        frontier, first = {start.node}, True
        while frontier and hops > 0:
            outer: set[int] = set()
            seen = set(frontier)
            while frontier:
                only = "AND (:revision IS NULL OR revision=:revision)" if first and not up else ""
                statement = f"SELECT {far} FROM edge WHERE {near} IN (?) {only} {visible}"
                found = {row[0] for row in self._chunks(statement, sorted(frontier), values)}
                first = False
                outer |= {node for node in found if kind_of(node) != STEP}
                frontier = {node for node in found if kind_of(node) == STEP} - seen
                seen |= frontier
            frontier = outer - reached
            reached |= outer
            hops -= 1
        return reached - {start.node}

    def members(self, start: Start | None) -> set[int]:
        """Return a node with all that is reached from it both ways, or all nodes there are."""
        visible = self._visible()
        if start is None:
            rows = self.db.execute(
                "SELECT id FROM version WHERE commit_number<=:at"
                " UNION SELECT id FROM source WHERE commit_number<=:at"
                f" UNION SELECT dst FROM edge WHERE 1 {visible}"
                f" UNION SELECT src FROM edge WHERE 1 {visible}",
                {"at": self.at},
            )
            return {row[0] for row in rows}
        values = {**start._asdict(), "at": self.at}
        members = {start.node}
        for walk in (_UP, _DOWN):
            rows = self.db.execute(f"{walk.format(at=visible)} SELECT id FROM found", values)
            members.update(row[0] for row in rows)
        return members

    def between(self, start: Start, end: int) -> dict[int, set[int]]:
        """Return the edges that lie on ways from ``start`` to ``end``, by their src."""
        visible = self._visible()
        rows = self.db.execute(
            f"{_UP.format(at=visible)} SELECT e.src, e.dst, e.revision FROM edge e"
            " WHERE e.dst IN (SELECT id FROM found UNION SELECT :node)"
            f" {visible.replace('commit_number', 'e.commit_number')}",
            {"node": end, "at": self.at},
        )
        forward: dict[int, set[int]] = {}
        for src, dst, revision in rows:
            if src != start.node or start.revision in (None, revision):
                forward.setdefault(src, set()).add(dst)
        reached, stack = {start.node}, [start.node]
        while stack:
            for after in forward.get(stack.pop(), ()):
                if after not in reached:
                    reached.add(after)
                    stack.append(after)
        return {src: dst for src, dst in forward.items() if src in reached}

    def ends(self, *, down: bool) -> list[int]:
        """Return the versions that nothing came of; with ``down``, what came from nothing."""
        one, other = ("dst", "src") if down else ("src", "dst")
        versions = self.db.execute(
            "SELECT id FROM version v WHERE commit_number<=:at AND NOT EXISTS("
            f" SELECT 1 FROM edge e JOIN edge f ON f.{one}=e.{other} WHERE e.{one}=v.id"
            f" {self._visible('e.', 'f.')}) ORDER BY id",
            {"at": self.at},
        ).fetchall()
        sources = []
        if down:
            statement = "SELECT id FROM source WHERE commit_number<=? ORDER BY id"
            sources = self.db.execute(statement, (self.at,)).fetchall()
        return [row[0] for row in (*sources, *versions)]

    # -------------------------------------------------------------------- edges

    def outputs(self, start: Start) -> list[tuple[int, str]]:
        """Return (version, role) of what a node was a direct input of."""
        visible = self._visible()
        return self.db.execute(
            f"""
            WITH RECURSIVE step(id, role) AS (
                SELECT dst, role FROM edge WHERE src=:node AND dst&3=2
                    AND (:revision IS NULL OR revision=:revision) {visible}
                UNION SELECT e.dst, step.role FROM step JOIN edge e ON e.src=step.id
                    WHERE e.dst&3=2 {visible})
            SELECT DISTINCT e.dst, step.role FROM step JOIN edge e ON e.src=step.id
            WHERE e.dst&3=0 {visible} ORDER BY e.dst, step.role
            """,
            {**start._asdict(), "at": self.at},
        ).fetchall()

    def producer(self, version: int) -> int | None:
        """Return the step of a run that a version was published in; None when no run is known."""
        row = self.db.execute(
            "SELECT s.id FROM edge e JOIN step s ON s.id=e.src WHERE e.dst=? AND s.run NOT NULL"
            " ORDER BY s.id LIMIT 1",
            (version,),
        ).fetchone()
        return row[0] if row else None

    def edges(self, targets: Sequence[int]) -> Iterator[tuple[Any, ...]]:
        """Yield (dst, src, role, weight, split, tokens, revision, digest, size) into targets."""
        return self._chunks(
            "SELECT dst, src, role, weight, split, tokens, revision, digest, size FROM edge"
            f" WHERE dst IN (?) {self._visible()} ORDER BY dst, src, role, revision, split",
            targets,
            {"at": self.at},
        )

    # -------------------------------------------------------------------- nodes

    def versions(self, ids: Sequence[int]) -> Iterator[VersionRow]:
        """Yield the rows of those ids that are versions."""
        yield from self._chunks(f"{_VERSIONS} v.id IN (?)", _of(VERSION, ids))

    def sources(self, ids: Sequence[int]) -> Iterator[tuple[int, str]]:
        """Yield (id, address) of those ids that are sources."""
        statement = "SELECT id, uri FROM source WHERE id IN (?)"
        yield from self._chunks(statement, _of(SOURCE, ids))

    def steps(self, ids: Sequence[int]) -> Iterator[tuple[int, str | None, str | None, int]]:
        """Yield (id, run, its name, which of the run's steps it is) of those ids that are steps."""
        yield from self._chunks(
            "SELECT s.id, r.uid, r.name, (SELECT count(*) FROM step o WHERE o.run=s.run"
            " AND o.id<=s.id) FROM step s LEFT JOIN run r ON r.id=s.run WHERE s.id IN (?)",
            _of(STEP, ids),
        )

    def _chunks(
        self, statement: str, ids: Sequence[int], values: Mapping[str, Any] | None = None
    ) -> Iterator[tuple[Any, ...]]:
        """Run a statement with ``IN (?)`` over any number of ids."""
        for at in range(0, len(ids), _CHUNK):
            chunk = ",".join(map(str, ids[at : at + _CHUNK]))
            yield from self.db.execute(
                statement.replace("IN (?)", f"IN ({chunk})"), values or {}
            ).fetchall()


def _of(kind: int, ids: Sequence[int]) -> list[int]:
    return [node for node in ids if kind_of(node) == kind]
