"""Lineage as a graph: what a version came from, what came of it, how, and what differs.

Nodes are versions, sources and runs. What "descends from" means (docs/explanation/lineage.md):

* every version that a run produced after using X descends from X;
* two versions of one run are siblings, neither descends from the other;
* a use after a publish is no ancestor of that version;
* ``inputs=`` of a publish replaces what the run had used;
* a deleted version still passes lineage on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import ArtifactNotFoundError, ArtifactVersionNotFoundError
from .index import queries
from .index.schema import SOURCE, STEP, VERSION, kind_of
from .journal.projection import position
from .model import Version, VersionId
from .source import SourceURI
from .uri import ArtifactURI

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    import networkx as nx

__all__ = ["Diff", "Edge", "LineageGraph", "Node", "Reference"]

Reference = str | ArtifactURI | SourceURI | Version | VersionId


class Node(NamedTuple):
    """One node: ``str(node)`` is what the CLI shows and the methods take.

    Attributes:
        uri: ``art://name:vN``, the address of a source, or ``run:<id>`` (``run:<id>#2`` after the
            run used more between two publishes).
        kind: ``version``, ``source`` or ``run``.
        type: type of the version, ``source``, or the run's name.
        state: live, missing, replaced, deleted, ``unknown`` for a version that is only referred
            to; empty for sources and runs.
    """

    uri: str
    kind: str
    type: str
    state: str

    def __str__(self) -> str:
        """Return the reference."""
        return self.uri


class Edge(NamedTuple):
    """One edge, from what was used to what came of it."""

    src: Node
    dst: Node
    role: str
    detail: Mapping[str, Any]


class Diff(NamedTuple):
    """Two lineages side by side, the nodes themselves left out."""

    only_left: tuple[Node, ...]
    only_right: tuple[Node, ...]
    both: tuple[Node, ...]


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
_EARLIER = "AND commit_number<=:at"
_VERSIONS = """
SELECT v.id, a.name, v.number, v.type, v.state, v.gone, v.commit_number
FROM version v JOIN artifact a ON a.id=v.artifact WHERE
"""
_CHUNK = 500  # ids in one statement
_DETAILS = ("weight", "split", "tokens", "revision", "digest", "size")


class LineageGraph:
    """The lineage around one version or source, or a whole store's, at one commit.

    It is whole, with no cap on nodes or depth, and stays as it is while the store goes on. It
    reads from the store's index, so use it before the store is closed.

    Args:
        reading: gives a connection to an index that has caught up with ``at``.
        at: commit number.
        focus: what the graph is around; None for the whole store.
    """

    def __init__(
        self,
        reading: Callable[[], AbstractContextManager[sqlite3.Connection]],
        at: int,
        focus: Reference | None = None,
    ) -> None:
        self._reading = reading
        self.at = at
        self._start: tuple[int, str | None] | None = None
        if focus is not None:
            with reading() as db:
                self._start = self._find(db, focus)

    # ------------------------------------------------------------------ asking

    @property
    def focus(self) -> Node | None:
        """What the graph is around, or None for the whole store."""
        if self._start is None:
            return None
        with self._reading() as db:
            return self._nodes(db, [self._start[0]])[0]

    def ancestors(
        self,
        of: Reference | None = None,
        *,
        hops: int | None = None,
        types: Collection[str] | None = None,
    ) -> tuple[Node, ...]:
        """Return all that something came from, oldest first, without the runs between.

        Args:
            of: the version; None for the focus.
            hops: how many steps from version to version at the most; None for all.
            types: only nodes of these types; ``source`` for outside assets.

        Raises:
            ArtifactNotFoundError: it is not in this store at this commit.
        """
        return self._walk(of, hops, types, up=True)

    def descendants(
        self,
        of: Reference | None = None,
        *,
        hops: int | None = None,
        types: Collection[str] | None = None,
    ) -> tuple[Node, ...]:
        """Return all that came of something, oldest first, without the runs between.

        A source without a revision stands for all its revisions. Args as for ``ancestors``.
        """
        return self._walk(of, hops, types, up=False)

    def inputs(self, of: Reference | None = None) -> tuple[Edge, ...]:
        """Return the direct inputs of a version, with their roles."""
        with self._reading() as db:
            start = self._node(db, of)
            target = self._nodes(db, [start])[0]
            edges = []
            for used in queries.inputs_of(db, start):
                node = queries.node_of(db, used.target)  # type: ignore[arg-type]  # closed
                assert node is not None  # it is an edge's end
                detail = {
                    key: getattr(used, key) for key in _DETAILS if getattr(used, key) is not None
                }
                edges.append(Edge(self._nodes(db, [node])[0], target, used.role, detail))
            return tuple(edges)

    def outputs(self, of: Reference | None = None) -> tuple[Edge, ...]:
        """Return the versions that something was a direct input of, with its roles there."""
        with self._reading() as db:
            node, revision = self._found(db, of)
            source = self._nodes(db, [node])[0]
            at = self._filter(db)
            rows = db.execute(
                f"""
                WITH RECURSIVE step(id, role) AS (
                    SELECT dst, role FROM edge WHERE src=:node AND dst&3=2
                        AND (:revision IS NULL OR revision=:revision) {at}
                    UNION SELECT e.dst, step.role FROM step JOIN edge e ON e.src=step.id
                        WHERE e.dst&3=2 {at})
                SELECT DISTINCT e.dst, step.role FROM step JOIN edge e ON e.src=step.id
                WHERE e.dst&3=0 {at} ORDER BY e.dst, step.role
                """,
                {"node": node, "revision": revision, "at": self.at},
            ).fetchall()
            nodes = self._nodes(db, [row[0] for row in rows])
        return tuple(
            Edge(source, target, role, {}) for target, (_, role) in zip(nodes, rows, strict=True)
        )

    def producer(self, of: Reference | None = None) -> Node | None:
        """Return the run that produced a version, or None when none is known."""
        with self._reading() as db:
            start = self._node(db, of)
            row = db.execute(
                "SELECT src FROM edge WHERE dst=? AND src&3=2 ORDER BY src LIMIT 1", (start,)
            ).fetchone()
            return self._nodes(db, [row[0]])[0] if row else None

    def paths(self, source: Reference, target: Reference) -> Iterator[tuple[Node, ...]]:
        """Yield the ways by which ``target`` came from ``source``, shortest first.

        Each path is alternating versions (or the source) and runs, from source to target. There
        may be very many: take as many as you need.
        """
        with self._reading() as db:
            start, revision = self._found(db, source)
            end = self._node(db, target)
            forward = self._between(db, start, end, revision)
            order = sorted({node for pair in forward.items() for node in (pair[0], *pair[1])})
            nodes = dict(zip(order, self._nodes(db, order), strict=True))
        frontier: list[tuple[int, ...]] = [(start,)] if start != end else []
        while frontier:
            longer = []
            for path in frontier:
                for after in sorted(forward.get(path[-1], ())):
                    if after == end:
                        yield _collapse([nodes[node] for node in (*path, after)])
                    elif after not in path:
                        longer.append((*path, after))
            frontier = longer

    def diff(self, left: Reference, right: Reference) -> Diff:
        """Return which ancestors two versions have apart and in common."""
        ours, theirs = self.ancestors(left), self.ancestors(right)
        mine, yours = set(ours), set(theirs)
        return Diff(
            tuple(node for node in ours if node not in yours),
            tuple(node for node in theirs if node not in mine),
            tuple(node for node in ours if node in yours),
        )

    def tree(self, of: Reference | None = None, *, down: bool = False) -> str:
        """Return a readable tree: what it came from, or with ``down`` what came of it."""
        from .render import tree  # it renders this class

        focus = self.focus if of is None else self.find(of)
        if focus is None:
            return "\n".join(tree(self, node, down=down) for node in self.ends(down=down))
        return tree(self, focus, down=down)

    def find(self, reference: Reference) -> Node:
        """Return the node that a reference means at this commit.

        Raises:
            ArtifactNotFoundError: it is not there.
        """
        with self._reading() as db:
            return self._nodes(db, [self._find(db, reference)[0]])[0]

    def ends(self, *, down: bool = False) -> tuple[Node, ...]:
        """Return the versions that nothing came of; with ``down``, what came from nothing."""
        one, other = ("dst", "src") if down else ("src", "dst")
        with self._reading() as db:
            at = self._filter(db, "e.", "f.")
            rows = db.execute(
                f"""
                SELECT id FROM version v WHERE commit_number<=:at AND NOT EXISTS(
                    SELECT 1 FROM edge e JOIN edge f ON f.{one}=e.{other} WHERE e.{one}=v.id {at})
                ORDER BY id
                """,
                {"at": self.at},
            ).fetchall()
            sources = []
            if down:
                statement = "SELECT id FROM source WHERE commit_number<=? ORDER BY id"
                sources = db.execute(statement, (self.at,)).fetchall()
            return self._nodes(db, [row[0] for row in (*sources, *rows)])

    def nodes(self) -> tuple[Node, ...]:
        """Return all nodes: the focus with its ancestors and descendants, or the whole store."""
        with self._reading() as db:
            return self._nodes(db, sorted(self._members(db)))

    def edges(self) -> tuple[Edge, ...]:
        """Return all edges between ``nodes``, from what was used to what came of it."""
        with self._reading() as db:
            members = sorted(self._members(db))
            nodes = dict(zip(members, self._nodes(db, members), strict=True))
            rows = _in_chunks(
                db,
                "SELECT dst, src, role, weight, split, tokens, revision, digest, size FROM edge"
                f" WHERE dst IN (?) {self._filter(db)} ORDER BY dst, src, role, revision, split",
                members,
                {"at": self.at},
            )
            return tuple(
                Edge(
                    nodes[src], nodes[dst],
                    role or ("produced" if kind_of(dst) == VERSION else "continued"),
                    {k: v for k, v in zip(_DETAILS, values, strict=True) if v not in (None, "")},
                )
                for dst, src, role, *values in rows
                if src in nodes
            )  # fmt: skip

    def to_networkx(self) -> nx.MultiDiGraph[str]:
        """Return the graph for networkx: nodes by their ``uri``, edges keyed by their role.

        Edges run from what was used over the run to what it produced, so ``nx.ancestors`` of a
        version gives its ancestors here, and the runs between.
        """
        import networkx as nx  # only this method needs it

        graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
        for node in self.nodes():
            graph.add_node(node.uri, kind=node.kind, type=node.type, state=node.state)
        for edge in self.edges():
            graph.add_edge(edge.src.uri, edge.dst.uri, key=edge.role, role=edge.role, **edge.detail)
        return graph

    def __len__(self) -> int:
        """Return the number of nodes."""
        with self._reading() as db:
            return len(self._members(db))

    def __contains__(self, reference: object) -> bool:
        """Tell whether a version or source is one of the nodes."""
        try:
            with self._reading() as db:
                node, _ = self._find(db, reference)  # type: ignore[arg-type]  # checked by it
                return node in self._members(db)
        except ArtifactNotFoundError:
            return False

    # ---------------------------------------------------------------- internal

    def _found(self, db: sqlite3.Connection, of: Reference | None) -> tuple[int, str | None]:
        if of is not None:
            return self._find(db, of)
        if self._start is None:
            raise ArtifactNotFoundError("", "this graph has no focus; name a version or source")
        return self._start

    def _node(self, db: sqlite3.Connection, of: Reference | None) -> int:
        return self._found(db, of)[0]

    def _find(self, db: sqlite3.Connection, what: Reference) -> tuple[int, str | None]:
        """Return (node id, revision of a source or None)."""
        if isinstance(what, Version):
            what = what.id
        if isinstance(what, str):
            what = SourceURI.parse(what) if SourceURI.accepts(what) else ArtifactURI.parse(what)
        if isinstance(what, SourceURI):
            node = queries.node_of(db, what)
            if node is None:
                raise ArtifactNotFoundError(
                    str(what), f"no run of this store used {what.uri}. Try: lineage runs"
                )
            return node, what.revision
        uri = what.uri if isinstance(what, VersionId) else what
        number = uri.version
        if number is None:
            found = queries.version(db, uri, self.at)
            number = found.number if found is not None else -1
        node = queries.node_of(db, VersionId(uri.identity, number))
        if node is None:
            raise ArtifactVersionNotFoundError(
                uri.identity, uri.version if uri.version is not None else uri.selector
            )
        return node, None

    def _filter(self, db: sqlite3.Connection, *tables: str) -> str:
        """Return the condition that hides later edges; nothing when there are none."""
        if position(db).number <= self.at:
            return ""
        return " ".join(f"AND {table}commit_number<=:at" for table in tables or ("",))

    def _walk(
        self,
        of: Reference | None,
        hops: int | None,
        types: Collection[str] | None,
        *,
        up: bool,
    ) -> tuple[Node, ...]:
        with self._reading() as db:
            start, revision = self._found(db, of)
            values = {"node": start, "revision": revision, "at": self.at}
            at = self._filter(db)
            if hops is not None:
                nodes = self._nodes(db, sorted(self._reach(db, values, hops, at, up=up)))
            else:
                walk = (_UP if up else _DOWN).format(at=at)
                sources: list[Node] = []
                if up:  # nothing leads to a source
                    rows = db.execute(
                        f"{walk} SELECT s.uri FROM found JOIN source s ON s.id=found.id"
                        " ORDER BY s.id",
                        values,
                    )
                    sources = [Node(uri, "source", "source", "") for (uri,) in rows]
                rows = db.execute(
                    f"{walk} {_VERSIONS} v.id IN (SELECT id FROM found) ORDER BY v.id", values
                )
                nodes = (*sources, *(_version_node(row, self.at) for row in rows))
        if types is not None:
            nodes = tuple(node for node in nodes if node.type in types)
        return nodes

    def _reach(
        self, db: sqlite3.Connection, values: dict[str, Any], hops: int, at: str, *, up: bool
    ) -> set[int]:
        """Go version by version, ``hops`` times; steps between them cost nothing."""
        near, far = ("dst", "src") if up else ("src", "dst")
        reached: set[int] = set()
        frontier, first = {values["node"]}, True
        while frontier and hops > 0:
            outer: set[int] = set()
            seen = set(frontier)
            while frontier:
                only = "AND (:revision IS NULL OR revision=:revision)" if first and not up else ""
                statement = f"SELECT {far} FROM edge WHERE {near} IN (?) {only} {at}"
                found = {row[0] for row in _in_chunks(db, statement, sorted(frontier), values)}
                first = False
                outer |= {node for node in found if kind_of(node) != STEP}
                frontier = {node for node in found if kind_of(node) == STEP} - seen
                seen |= frontier
            frontier = outer - reached
            reached |= outer
            hops -= 1
        return reached - {values["node"]}

    def _members(self, db: sqlite3.Connection) -> set[int]:
        """Return the ids of all nodes of this graph, steps too."""
        at = self._filter(db)
        if self._start is None:
            rows = db.execute(
                "SELECT id FROM version WHERE commit_number<=:at"
                " UNION SELECT id FROM source WHERE commit_number<=:at"
                f" UNION SELECT dst FROM edge WHERE 1 {at} UNION SELECT src FROM edge WHERE 1 {at}",
                {"at": self.at},
            )
            return {row[0] for row in rows}
        values = {"node": self._start[0], "revision": self._start[1], "at": self.at}
        members = {self._start[0]}
        for walk in (_UP, _DOWN):
            members.update(
                row[0] for row in db.execute(f"{walk.format(at=at)} SELECT id FROM found", values)
            )
        return members

    def _between(
        self, db: sqlite3.Connection, start: int, end: int, revision: str | None
    ) -> dict[int, set[int]]:
        """Return the edges that lie on ways from ``start`` to ``end``, by their src."""
        at = self._filter(db)
        rows = db.execute(
            f"{_UP.format(at=at)} SELECT e.src, e.dst, e.revision FROM edge e"
            " WHERE e.dst IN (SELECT id FROM found UNION SELECT :node)"
            f" {at.replace('commit_number', 'e.commit_number')}",
            {"node": end, "at": self.at},
        )
        forward: dict[int, set[int]] = {}
        for src, dst, of in rows:
            if src != start or revision is None or of == revision:
                forward.setdefault(src, set()).add(dst)
        reached, stack = {start}, [start]
        while stack:
            for after in forward.get(stack.pop(), ()):
                if after not in reached:
                    reached.add(after)
                    stack.append(after)
        return {src: dst for src, dst in forward.items() if src in reached}

    def _nodes(self, db: sqlite3.Connection, ids: Sequence[int]) -> tuple[Node, ...]:
        """Return the nodes of some ids, in their order."""
        found: dict[int, Node] = {}
        kinds: dict[int, list[int]] = {VERSION: [], SOURCE: [], STEP: []}
        for node in ids:
            kinds[kind_of(node)].append(node)
        for row in _in_chunks(db, f"{_VERSIONS} v.id IN (?)", kinds[VERSION]):
            found[row[0]] = _version_node(row, self.at)
        for node, uri in _in_chunks(
            db, "SELECT id, uri FROM source WHERE id IN (?)", kinds[SOURCE]
        ):
            found[node] = Node(uri, "source", "source", "")
        rows = _in_chunks(
            db,
            "SELECT s.id, r.uid, r.name, (SELECT count(*) FROM step o WHERE o.run=s.run"
            " AND o.id<=s.id) FROM step s LEFT JOIN run r ON r.id=s.run WHERE s.id IN (?)",
            kinds[STEP],
        )
        for node, uid, name, phase in rows:
            uri = f"run:{uid or f'unknown-{node}'}" + (f"#{phase}" if phase > 1 else "")
            found[node] = Node(uri, "run", name or "unknown", "")
        return tuple(found[node] for node in ids)


def _in_chunks(
    db: sqlite3.Connection,
    statement: str,
    ids: Sequence[int],
    values: Mapping[str, Any] = {},
) -> Iterator[tuple[Any, ...]]:
    """Run a statement with ``IN (?)`` over any number of ids."""
    for at in range(0, len(ids), _CHUNK):
        chunk = ",".join(map(str, ids[at : at + _CHUNK]))
        yield from db.execute(statement.replace("IN (?)", f"IN ({chunk})"), values).fetchall()


def _version_node(row: tuple[Any, ...], at: int) -> Node:
    _, name, number, kind, state, gone, commit = row
    if commit is None:
        state = "unknown"
    elif gone is not None and gone > at:
        state = "live"
    return Node(f"art://{name}:v{number}", "version", kind, state)


def _collapse(path: list[Node]) -> tuple[Node, ...]:
    """Show several steps of one run, one after the other, as that run."""
    shown: list[Node] = []
    for node in path:
        if shown and node.kind == shown[-1].kind == "run":
            shown[-1] = node
        else:
            shown.append(node)
    return tuple(shown)
