"""Lineage as a text tree for people."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .graph import LineageGraph, Node

__all__ = ["tree"]

_FOLD = 3  # so many versions of one run, of which nothing came, are shown in one line


@dataclass(frozen=True, slots=True)
class _Branch:
    """One line of the tree: a node with what stands before it, or several folded into one."""

    label: str
    node: Node | None


def tree(graph: LineageGraph, focus: Node, *, down: bool = False) -> str:
    """Draw what a node came from, or with ``down`` what came of it.

    A node that comes up again is shown once with what is behind it, later only by name.
    """
    lines: list[str] = []
    shown: set[Node] = set()
    stack: list[tuple[_Branch, str, str]] = [(_Branch(_title(graph, focus), focus), "", "")]
    while stack:  # not recursion: lineage may be thousands of versions deep
        branch, first, rest = stack.pop()
        known = branch.node in shown
        branches = (
            [] if branch.node is None or known else list(_branches(graph, branch.node, down=down))
        )
        if branch.node is not None:
            shown.add(branch.node)
        repeated = (
            known and branch.node is not None and any(_branches(graph, branch.node, down=down))
        )
        lines.append(f"{first}{branch.label}{' (see above)' if repeated else ''}")
        for at, child in enumerate(reversed(branches)):
            last = at == 0
            stack.append((
                child, rest + ("└── " if last else "├── "), rest + ("    " if last else "│   ")
            ))  # fmt: skip
    return "\n".join(lines)


def _title(graph: LineageGraph, node: Node) -> str:
    if node.kind == "source":
        return node.uri
    producer = graph.producer(node.uri) if node.kind == "version" else None
    title = f"{node.uri} ({node.type}"
    title += f" by run {producer.type})" if producer is not None else ")"
    return title if node.state in ("", "live") else f"{title} [{node.state}]"


def _branches(graph: LineageGraph, node: Node, *, down: bool) -> Iterator[_Branch]:
    if down:
        yield from _outputs(graph, node)
        return
    for edge in graph.inputs(node.uri):
        facts = [edge.detail["split"]] if "split" in edge.detail else []
        facts += [f"@{edge.detail['revision']}"] if "revision" in edge.detail else []
        facts += [f"weight {edge.detail['weight']:g}"] if "weight" in edge.detail else []
        facts += [f"{edge.detail['tokens']:,} tokens"] if "tokens" in edge.detail else []
        role = f"{edge.role} [{', '.join(facts)}]" if facts else edge.role
        yield _Branch(f"{role}: {_title(graph, edge.src)}", edge.src)


def _outputs(graph: LineageGraph, node: Node) -> Iterator[_Branch]:
    roles: dict[Node, list[str]] = {}
    for edge in graph.outputs(node.uri):
        roles.setdefault(edge.dst, []).append(edge.role)
    # what came to nothing is folded, so that one used checkpoint is seen among many
    ends = {output for output in roles if not graph.outputs(output.uri)}

    def group(output: Node) -> tuple[str, str, bool]:
        return output.uri.rpartition(":")[0], output.state, output in ends

    for (name, state, end), members in groupby(roles, key=group):
        outputs = list(members)
        if end and len(outputs) > _FOLD:
            first, last = (each.uri.rpartition(":")[2] for each in (outputs[0], outputs[-1]))
            label = f"{', '.join(roles[outputs[0]])}: {name}:{first} to :{last} "
            label += f"({len(outputs)} of type {outputs[0].type}, nothing came of them)"
            yield _Branch(label if state == "live" else f"{label} [{state}]", None)
        else:
            for output in outputs:
                label = f"{', '.join(roles[output])}: {_title(graph, output)}"
                yield _Branch(label, output)
