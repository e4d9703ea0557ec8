"""The commands that follow the graph."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING

from .commands import Command, Commands, open_store
from .present import plain, say, show_json
from .words import Parser, Words, add_json, add_moment, count

if TYPE_CHECKING:
    from ..graph import Node

__all__ = ["register"]


def register(commands: Commands) -> None:
    """Add these commands."""
    commands.add(
        Command("tree", "draw what a version came from", _tree_words, tree),
        Command("up", "list all that a version came from", _walk_words, up),
        Command("down", "list all that came of a version or source", _walk_words, down),
        Command("path", "show how one thing came of another", _path_words, path),
        Command("diff", "show what differs between two versions", _diff_words, diff),
    )


def _tree_words(parser: Parser) -> None:
    parser.add_argument("uri", nargs="?", metavar="URI", help="a version or source; none: all")
    parser.add_argument("--down", action="store_true", help="draw what came of it instead")
    parser.add_argument("--picture", metavar="FILE", help="write a picture: .svg or .html")
    add_moment(parser)
    add_json(parser)


def tree(words: Words) -> int:
    """Draw the lineage as a tree, or write a picture of it."""
    with open_store(words) as store:
        graph = store.lineage(words.uri, at=words.at)
        if words.picture:
            from ..export.picture import write_picture

            write_picture(graph, words.picture)
            show_json(words.picture) if words.json else say(words.picture)
        elif words.json:
            show_json({"nodes": graph.nodes(), "edges": graph.edges()})
        else:
            say(graph.tree(down=words.down))
    return 0


def _walk_words(parser: Parser) -> None:
    parser.add_argument("uri", metavar="URI", help="a version or source")
    parser.add_argument("--hops", type=count, metavar="N", help="N steps at the most")
    parser.add_argument("--type", action="append", metavar="TYPE", help="only this type")
    add_moment(parser)
    add_json(parser)


def up(words: Words) -> int:
    """List the ancestors of a version."""
    return _walk(words, up=True)


def down(words: Words) -> int:
    """List the descendants of a version or source."""
    return _walk(words, up=False)


def _walk(words: Words, *, up: bool) -> int:
    with open_store(words) as store:
        graph = store.lineage(words.uri, at=words.at)
        walk = graph.ancestors if up else graph.descendants
        nodes = walk(hops=words.hops, types=words.type)
        producers = set() if up else {graph.producer(node.uri) for node in nodes}
    if words.json:
        show_json(nodes)
        return 0
    for node in nodes:
        say(f"{node.uri}  {_mark(node)}".rstrip())
    versions = sum(node.kind == "version" for node in nodes)
    of = f"ancestors of {words.uri}" if up else f"impact of {words.uri}"
    runs = "" if up else f" in {_count(len(producers), 'run')}"
    sources = f", {_count(len(nodes) - versions, 'source')}" if up else ""
    sys.stderr.write(f"{of}: {_count(versions, 'version')}{runs}{sources}\n")
    return 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _mark(node: Node) -> str:
    state = "" if node.state in ("", "live") else f" [{node.state}]"
    return f"{node.type}{state}"


def _path_words(parser: Parser) -> None:
    parser.add_argument("source", metavar="FROM", help="a version or source")
    parser.add_argument("target", metavar="TO", help="a version")
    parser.add_argument("--limit", type=count, default=10, metavar="N", help="N ways (default 10)")
    add_moment(parser)
    add_json(parser)


def path(words: Words) -> int:
    """Show the ways from one thing to another, shortest first."""
    with open_store(words) as store:
        graph = store.lineage(words.target, at=words.at)
        ways = list(islice(graph.paths(words.source, words.target), words.limit))
    if words.json:
        show_json(ways)
    elif not ways:
        sys.stderr.write(f"lineage: {words.target} did not come from {words.source}\n")
    else:
        for way in ways:
            say("\n  -> ".join(f"{node.uri}  {_mark(node)}".rstrip() for node in way))
    return 0 if ways else 3


def _diff_words(parser: Parser) -> None:
    parser.add_argument("left", metavar="URI")
    parser.add_argument("right", metavar="URI")
    add_json(parser)


def diff(words: Words) -> int:
    """Show what differs between two versions: ancestors, metadata and run config."""
    with open_store(words) as store:
        left, right = store.version(words.left), store.version(words.right)
        apart = store.lineage(left.uri).diff(left, right)
        configs = [store.run_info(each.run).config if each.run else {} for each in (left, right)]
    facts = {
        "metadata": _changes(left.metadata, right.metadata),
        "config": _changes(configs[0], configs[1]),
    }
    if words.json:
        show_json({**plain(apart), **facts})
        return 0
    for title, nodes in (
        (f"only {left.uri} came from:", apart.only_left),
        (f"only {right.uri} came from:", apart.only_right),
        ("both came from:", apart.both),
    ):
        say(title)
        for node in nodes:
            say(f"  {node.uri}  {_mark(node)}".rstrip())
    for title, changes in facts.items():
        for key, (one, other) in changes.items():
            say(f"{title} {key}: {one} -> {other}")
    return 0


def _changes(left: object, right: object, prefix: str = "") -> dict[str, tuple[object, object]]:
    """Return the dotted keys whose values differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        found: dict[str, tuple[object, object]] = {}
        for key in sorted(left.keys() | right.keys()):
            where = f"{prefix}.{key}" if prefix else key
            found |= _changes(left.get(key), right.get(key), where)
        return found
    return {} if left == right else {prefix: (left, right)}
