"""A lineage graph as one file that any browser shows: SVG, or HTML around it. No script, no net.

Versions of one run that came to nothing and bear no further interest are stacked, so that the
picture of a long training stays readable. Deleted versions are hatched, replaced ones dashed; the
shape tells sources, runs and versions apart, so that colour is never the only sign. The same graph
gives the same bytes.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from ..errors import PublishRefused
from .layout import Place, arrange

if TYPE_CHECKING:
    from ..graph import LineageGraph, Node

__all__ = ["svg", "write_picture"]

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 210, 44, 70, 18, 24
_LABEL = 28  # characters that fit into a box
_STACK = 3  # so many idle versions of one run become one box
_COLOURS = {
    "source": ("#e8e8e8", "#666666"), "run": ("#fff4d6", "#b58900"),
    "dataset": ("#dcecff", "#2b6cb0"), "model": ("#dff5e1", "#2f855a"),
}  # fmt: skip
_DEFINITIONS = (
    '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
    'markerHeight="7" orient="auto"><path d="M0,0L8,4L0,8z" fill="#888"/></marker>'
    '<pattern id="gone" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="6" height="6" fill="#f6f6f6"/>'
    '<line y2="6" stroke="#c53030" stroke-width="1.5"/></pattern></defs>'
)
_OTHER = ("#efe4fb", "#6b46c1")


@dataclass(frozen=True, slots=True)
class _Box:
    """What is drawn in one place: a node, or a stack of versions."""

    key: str
    title: str
    label: str
    note: str
    kind: str
    state: str


def write_picture(graph: LineageGraph, path: str | os.PathLike[str]) -> None:
    """Write ``.svg`` or ``.html``.

    Raises:
        PublishRefused: another ending.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending not in (".svg", ".html"):
        raise PublishRefused(f"{os.fspath(path)}: a picture is .svg or .html")
    text = svg(graph)
    if ending == ".html":
        focus = graph.focus
        title = escape(f"Lineage of {focus.uri}" if focus is not None else "Lineage")
        text = (
            f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            f"<style>body{{font-family:sans-serif;margin:1em}}</style></head>\n"
            f"<body><h1>{title}</h1>\n{text}\n</body></html>\n"
        )
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def svg(graph: LineageGraph) -> str:
    """Draw a graph, from raw data on the left to the last models on the right."""
    box_of = _boxes(graph)
    boxes = {box.key: box for box in box_of.values()}
    edges: dict[tuple[str, str], set[str]] = defaultdict(set)
    for edge in graph.edges():
        ends = box_of[edge.src].key, box_of[edge.dst].key
        if ends[0] != ends[1]:
            edges[ends].add(edge.role)
    layout = arrange(list(boxes), list(edges))
    width = 2 * _MARGIN + layout.columns * (_WIDTH + _GAP_X) - _GAP_X
    height = 2 * _MARGIN + max(1, layout.rows) * (_HEIGHT + _GAP_Y) - _GAP_Y
    focus = graph.focus
    start = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" font-family="sans-serif" font-size="12" role="img">'
    )
    lines = [start, _DEFINITIONS]
    for ends, route in layout.routes.items():
        roles = sorted(edges[ends] - {"produced", "continued"})
        lines += _edge([_corner(place) for place in route], roles)
    for key, box in boxes.items():
        lines.append(
            _draw(box, _corner(layout.place[key]), focus=focus is not None and box is box_of[focus])
        )
    return "\n".join([*lines, "</svg>"])


def _boxes(graph: LineageGraph) -> dict[Node, _Box]:
    nodes, edges = graph.nodes(), graph.edges()
    busy = {edge.src for edge in edges} | {graph.focus}
    producer = {edge.dst: edge.src for edge in edges if edge.dst.kind == "version"}
    idle: dict[tuple[object, ...], list[Node]] = defaultdict(list)
    for node in nodes:
        if node.kind == "version" and node not in busy and node in producer:
            name = node.uri.rpartition(":")[0]
            idle[producer[node], name, node.state].append(node)
    boxes: dict[Node, _Box] = {}
    for members in idle.values():
        if len(members) > _STACK:
            boxes |= dict.fromkeys(members, _stack(members))
    for node in nodes:
        if node not in boxes:
            boxes[node] = _box(node)
    return boxes


def _box(node: Node) -> _Box:
    label, note = node.uri.removeprefix("art://"), node.type
    if node.kind == "run":
        label, note = node.type, "run"
    if node.state not in ("", "live"):
        note += f", {node.state}"
    kind = node.type if node.kind == "version" else node.kind
    return _Box(node.uri, node.uri, label, note, kind, node.state)


def _stack(members: list[Node]) -> _Box:
    first, last = members[0], members[-1]
    _name, _, number = last.uri.rpartition(":")
    label = f"{first.uri.removeprefix('art://')} to {number}"
    note = f"{len(members)} x {first.type}"
    if first.state not in ("", "live"):
        note += f", {first.state}"
    title = "\n".join(node.uri for node in members)
    return _Box(f"{first.uri} to {number}", title, label, note, first.type, first.state)


def _draw(box: _Box, where: tuple[float, float], *, focus: bool) -> str:
    x, y = where
    fill, line = _COLOURS.get(box.kind, _OTHER)
    dash = ' stroke-dasharray="5 3"' if box.state in ("replaced", "missing") else ""
    if box.state == "deleted":
        fill = "url(#gone)"
    radius = {"source": 0, "run": _HEIGHT / 2}.get(box.kind, 6)
    weight = 3 if focus else 1.2
    return (
        f'<g data-uri="{escape(box.key)}" tabindex="0" role="button">'
        f"<title>{escape(box.title)}</title>"
        f'<rect x="{x:g}" y="{y:g}" width="{_WIDTH}" height="{_HEIGHT}" rx="{radius:g}" '
        f'fill="{fill}" stroke="{line}" stroke-width="{weight:g}"{dash}/>'
        f'<text x="{x + _WIDTH / 2:g}" y="{y + 19:g}" text-anchor="middle" font-weight="600">'
        f"{escape(_shorten(box.label))}</text>"
        f'<text x="{x + _WIDTH / 2:g}" y="{y + 35:g}" text-anchor="middle" fill="#555">'
        f"{escape(box.note)}</text></g>"
    )


def _corner(place: Place) -> tuple[float, float]:
    """Return where the upper left corner of a box is, in pixels."""
    column, row = place
    return _MARGIN + column * (_WIDTH + _GAP_X), _MARGIN + row * (_HEIGHT + _GAP_Y)


def _edge(route: list[tuple[float, float]], roles: list[str]) -> list[str]:
    """Draw a curve from box to box, straight through the columns between."""
    (x, y), *between, (end_x, end_y) = route
    x, y = x + _WIDTH, y + _HEIGHT / 2
    path = [f"M{x:g},{y:g}"]
    for corner in (*between, (end_x, end_y)):
        next_x, next_y = corner[0], corner[1] + _HEIGHT / 2
        bend = x + (next_x - x) / 2
        path.append(f"C{bend:g},{y:g} {bend:g},{next_y:g} {next_x:g},{next_y:g}")
        if corner[0] != end_x:
            path.append(f"h{_WIDTH}")
        x, y = next_x + _WIDTH, next_y
    lines = [f'<path d="{"".join(path)}" fill="none" stroke="#999" marker-end="url(#tip)"/>']
    if roles:
        # by the start of the last bend: there the edges still run apart
        last_x, last_y = route[-2]
        lines.append(
            f'<text x="{last_x + _WIDTH + 6:g}" y="{last_y + _HEIGHT / 2 - 4:g}" font-size="10" '
            f'fill="#555">{escape(", ".join(roles))}</text>'
        )
    return lines


def _shorten(label: str) -> str:
    """Cut in the middle: both the name and the number tell something."""
    if len(label) <= _LABEL:
        return label
    half = (_LABEL - 3) // 2
    return f"{label[: _LABEL - 3 - half]}...{label[-half:]}"
