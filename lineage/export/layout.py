"""Places the nodes of a lineage graph in columns, from raw data on the left to models on the right.

A layered layout (after Sugiyama, Tagawa and Toda, 1981): the longest path from the left gives the
column; an edge over several columns gets a waypoint in each, so that it runs between the boxes;
sweeps over neighbours' mean positions give the order within a column.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

__all__ = ["Layout", "Place", "arrange"]

Place = tuple[int, float]  # column, row; rows may be fractions
Edge = tuple[str, str]

_SWEEPS = 10


@dataclass(frozen=True, slots=True)
class Layout:
    """Where nodes stand and edges run.

    Attributes:
        place: of each node.
        routes: the places that each edge passes, its ends included.
        columns: number of columns.
        rows: number of rows of the fullest column.
    """

    place: Mapping[str, Place]
    routes: Mapping[Edge, Sequence[Place]]
    columns: int
    rows: int


def arrange(nodes: Sequence[str], edges: Iterable[Edge]) -> Layout:
    """Place nodes so that every edge runs to the right; one that closes a cycle runs back.

    The result depends on the order of ``nodes`` and ``edges`` alone.
    """
    known = set(nodes)
    edges = [edge for edge in edges if known.issuperset(edge) and edge[0] != edge[1]]
    column = _columns(nodes, edges)
    layers: dict[int, list[Hashable]] = defaultdict(list)
    for node in nodes:
        layers[column[node]].append(node)
    chains: dict[Edge, list[Hashable]] = {}
    for src, dst in edges:
        between = range(column[src] + 1, column[dst])
        waypoints: list[Hashable] = [(src, dst, at) for at in between]
        for at, waypoint in zip(between, waypoints, strict=True):
            layers[at].append(waypoint)
        chains[src, dst] = [src, *waypoints, dst]
    _order(layers, chains.values())
    rows = max(map(len, layers.values()), default=0)
    place = {
        node: (index, at + (rows - len(layer)) / 2)
        for index, layer in layers.items()
        for at, node in enumerate(layer)
    }
    routes = {edge: [place[each] for each in chain] for edge, chain in chains.items()}
    return Layout({node: place[node] for node in nodes}, routes, max(layers, default=-1) + 1, rows)


def _columns(nodes: Sequence[str], edges: Sequence[Edge]) -> dict[str, int]:
    """Return the length of the longest way to each node."""
    after: dict[str, list[str]] = defaultdict(list)
    waiting = dict.fromkeys(nodes, 0)
    for src, dst in edges:
        after[src].append(dst)
        waiting[dst] += 1
    column = dict.fromkeys(nodes, 0)
    left = dict.fromkeys(nodes)  # a set that keeps its order
    while left:
        ready = [node for node in left if not waiting[node]]
        if not ready:  # a cycle: go on with the first that is left
            ready = [next(iter(left))]
        while ready:
            node = ready.pop()
            del left[node]
            for each in after[node]:
                if each in left:
                    column[each] = max(column[each], column[node] + 1)
                    waiting[each] -= 1
                    if waiting[each] == 0:
                        ready.append(each)
    # what nothing leads to stands right before what it leads to
    led_to = {dst for _, dst in edges}
    for node in nodes:
        if node not in led_to and after[node]:
            column[node] = max(0, min(column[each] for each in after[node]) - 1)
    return column


def _order(layers: Mapping[int, list[Hashable]], chains: Iterable[Sequence[Hashable]]) -> None:
    """Sort each column by where the neighbours stand, back and forth."""
    before: dict[Hashable, list[Hashable]] = defaultdict(list)
    after: dict[Hashable, list[Hashable]] = defaultdict(list)
    for chain in chains:
        for src, dst in itertools.pairwise(chain):
            after[src].append(dst)
            before[dst].append(src)
    at = {node: float(row) for layer in layers.values() for row, node in enumerate(layer)}
    for sweep in range(_SWEEPS):
        near = before if sweep % 2 == 0 else after
        for index in sorted(layers, reverse=sweep % 2 == 1):
            layer = layers[index]
            middle = len(layer) / 2
            mean = {
                node: sum(at[each] for each in near[node]) / len(near[node])
                if near[node]
                else at[node]
                for node in layer
            }
            layer.sort(key=mean.__getitem__)
            for row, node in enumerate(layer):
                at[node] = row - middle
