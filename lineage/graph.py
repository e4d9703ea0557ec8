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

from .errors import ArtifactNotFoundError, URIError
from .index import queries
from .index.absent import absent
from .index.schema import VERSION, kind_of
from .index.walks import Start, VersionRow, Walks
from .model import Version, VersionId
from .source import SourceURI
from .uri import ArtifactURI

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    import networkx as nx

__all__ = ["Diff", "Edge", "LineageGraph", "Node", "Reference"]


class Node(NamedTuple):
    """One node: ``str(node)`` is what the CLI shows.

    The methods of the graph take nodes and their texts, but for those of runs.

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


Reference = str | ArtifactURI | SourceURI | Version | VersionId | Node


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
        self._start: Start | None = None
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
            return self._nodes(db, [self._start.node])[0]

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
            start = self._found(db, of).node
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
            start = self._found(db, of)
            source = self._nodes(db, [start.node])[0]
            rows = Walks(db, self.at).outputs(start)
            nodes = self._nodes(db, [node for node, _ in rows])
        return tuple(
            Edge(source, target, role, {}) for target, (_, role) in zip(nodes, rows, strict=True)
        )

    def producer(self, of: Reference | None = None) -> Node | None:
        """Return the run that produced a version, or None when none is known."""
        with self._reading() as db:
            step = Walks(db, self.at).producer(self._found(db, of).node)
            return None if step is None else self._nodes(db, [step])[0]

    def paths(self, source: Reference, target: Reference) -> Iterator[tuple[Node, ...]]:
        """Yield the ways by which ``target`` came from ``source``, shortest first.

        Each path is alternating versions (or the source) and runs, from source to target. There
        may be very many: take as many as you need.
        """
        with self._reading() as db:
            found = self._found(db, source)
            start, end = found.node, self._found(db, target).node
            forward = Walks(db, self.at).between(found, end)
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
            return self._nodes(db, [self._find(db, reference).node])[0]

    def ends(self, *, down: bool = False) -> tuple[Node, ...]:
        """Return the versions that nothing came of; with ``down``, what came from nothing."""
        with self._reading() as db:
            return self._nodes(db, Walks(db, self.at).ends(down=down))

    def nodes(self) -> tuple[Node, ...]:
        """Return all nodes: the focus with its ancestors and descendants, or the whole store."""
        with self._reading() as db:
            return self._nodes(db, sorted(Walks(db, self.at).members(self._start)))

    def edges(self) -> tuple[Edge, ...]:
        """Return all edges between ``nodes``, from what was used to what came of it."""
        with self._reading() as db:
            walks = Walks(db, self.at)
            members = sorted(walks.members(self._start))
            nodes = dict(zip(members, self._nodes(db, members), strict=True))
            return tuple(
                Edge(
                    nodes[src], nodes[dst],
                    role or ("produced" if kind_of(dst) == VERSION else "continued"),
                    {k: v for k, v in zip(_DETAILS, values, strict=True) if v not in (None, "")},
                )
                for dst, src, role, *values in walks.edges(members)
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
            return len(Walks(db, self.at).members(self._start))

    def __contains__(self, reference: object) -> bool:
        """Tell whether a version or source is one of the nodes."""
        try:
            with self._reading() as db:
                found = self._find(db, reference)  # type: ignore[arg-type]  # checked by it
                return found.node in Walks(db, self.at).members(self._start)
        except (ArtifactNotFoundError, URIError):
            return False

    # ---------------------------------------------------------------- internal

    def _found(self, db: sqlite3.Connection, of: Reference | None) -> Start:
        if of is not None:
            return self._find(db, of)
        if self._start is None:
            raise ArtifactNotFoundError("", "this graph has no focus; name a version or source")
        return self._start

    def _find(self, db: sqlite3.Connection, what: Reference) -> Start:
        """Return the node that a reference means.

        Where no version lives any more, the latest is the newest of those that were.
        """
        if isinstance(what, Version):
            what = what.id
        if isinstance(what, Node):
            what = what.uri
        if isinstance(what, str):
            what = SourceURI.parse(what) if SourceURI.accepts(what) else ArtifactURI.parse(what)
        if isinstance(what, SourceURI):
            node = queries.node_of(db, what, self.at)
            if node is None:
                raise ArtifactNotFoundError(
                    str(what), f"no run of this store used {what.uri}. Try: lineage runs"
                )
            return Start(node, what.revision)
        uri = what.uri if isinstance(what, VersionId) else what
        number = uri.version
        if number is None:
            found = queries.version(db, uri, self.at)
            if found is None and uri.alias is None:  # to look at, those that are gone do as well
                found = next(iter(queries.versions(db, uri.identity, self.at)), None)
            number = None if found is None else found.number
        known = None if number is None else VersionId(uri.identity, number)
        node = None if known is None else queries.node_of(db, known, self.at)
        if node is None:
            raise absent(db, uri, self.at)
        return Start(node)

    def _walk(
        self,
        of: Reference | None,
        hops: int | None,
        types: Collection[str] | None,
        *,
        up: bool,
    ) -> tuple[Node, ...]:
        with self._reading() as db:
            start, walks = self._found(db, of), Walks(db, self.at)
            if hops is not None:
                nodes = self._nodes(db, sorted(walks.within(start, hops, up=up)))
            else:
                sources, versions = walks.reached(start, up=up)
                nodes = (
                    *(_source_node(uri) for uri in sources),
                    *(_version_node(row, self.at) for row in versions),
                )
        if types is not None:
            nodes = tuple(node for node in nodes if node.type in types)
        return nodes

    def _nodes(self, db: sqlite3.Connection, ids: Sequence[int]) -> tuple[Node, ...]:
        """Return the nodes of some ids, in their order."""
        walks = Walks(db, self.at)
        found = {row[0]: _version_node(row, self.at) for row in walks.versions(ids)}
        found |= {node: _source_node(uri) for node, uri in walks.sources(ids)}
        for node, run, name, phase in walks.steps(ids):
            uri = f"run:{run or f'unknown-{node}'}" + (f"#{phase}" if phase > 1 else "")
            found[node] = Node(uri, "run", name or "unknown", "")
        return tuple(found[node] for node in ids)


def _version_node(row: VersionRow, at: int) -> Node:
    _, name, number, kind, state, gone, commit = row
    if commit is None:
        state = "unknown"
    elif gone is not None and gone > at:
        state = "live"
    return Node(f"art://{name}:v{number}", "version", kind, state)


def _source_node(uri: str) -> Node:
    return Node(uri, "source", "source", "")


def _collapse(path: list[Node]) -> tuple[Node, ...]:
    """Show several steps of one run, one after the other, as that run."""
    shown: list[Node] = []
    for node in path:
        if shown and node.kind == shown[-1].kind == "run":
            shown[-1] = node
        else:
            shown.append(node)
    return tuple(shown)
