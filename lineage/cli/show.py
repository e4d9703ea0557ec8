"""The commands that only read."""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from typing import TYPE_CHECKING

from ..clock import read_time
from ..mirror.elsewhere import look_in_wandb
from .commands import Command, Commands, open_store
from .present import brief, plain, say, say_path, show_json, table, when

if TYPE_CHECKING:
    from datetime import datetime

    from ..graph import Node
    from ..model import Receipt, Version

Parser = argparse.ArgumentParser
Words = argparse.Namespace


def register(commands: Commands) -> None:
    """Add these commands."""
    commands.add(
        Command("resolve", "print the path of a version", _resolve_words, resolve),
        Command("show", "show a version or run with all that is known of it", _show_words, show),
        Command("log", "list the versions of an artifact, newest first", _log_words, log),
        Command("find", "list the live versions that fit", _find_words, find),
        Command("tree", "draw what a version came from", _tree_words, tree),
        Command("up", "list all that a version came from", _walk_words, up),
        Command("down", "list all that came of a version or source", _walk_words, down),
        Command("path", "show how one thing came of another", _path_words, path),
        Command("diff", "show what differs between two versions", _diff_words, diff),
        Command("runs", "list runs, newest first", _runs_words, runs),
    )


def _json(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _at(parser: Parser) -> None:
    parser.add_argument(
        "--at", metavar="MOMENT", type=_moment, help="as of a commit number or a time"
    )


def _moment(text: str) -> int | datetime:
    """Read a commit number, or a time as ISO 8601; without a zone it is UTC."""
    try:
        return int(text) if text.isdigit() else read_time(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no commit number and no time such as 2026-11-24T08:00"
        ) from None


def count(text: str) -> int:
    """Read a number that is not negative."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")
    return int(text)


# ------------------------------------------------------------------ one version


def _resolve_words(parser: Parser) -> None:
    parser.add_argument("uri", metavar="URI")
    parser.add_argument("--uri", dest="uri_only", action="store_true", help="print the pinned URI")
    _at(parser)
    _json(parser)


def resolve(words: Words) -> int:
    """Print where a version lies."""
    with open_store(words) as store:
        look_in_wandb(store)
        version = store.resolve(words.uri, at=words.at)
    if words.json:
        show_json(version)
    elif words.uri_only:
        say(str(version.uri))
    else:
        say_path(version.address or str(version.path))
    return 0


def _show_words(parser: Parser) -> None:
    parser.add_argument("what", metavar="URI", help="a version, or run:<id>")
    _json(parser)


def show(words: Words) -> int:
    """Show all that is known of a version or run."""
    with open_store(words) as store:
        if words.what.startswith("run:"):
            run = store.run_info(words.what)
            outputs = store.find(run=run.id, state=None)
            receipts = store.receipts(f"run:{run.id}")
            if words.json:
                published = [str(each.uri) for each in outputs]
                show_json({**plain(run), "published": published, "receipts": plain(receipts)})
            else:
                _show_fields({**plain(run), "published": [str(each.uri) for each in outputs]})
                _show_receipts(receipts)
            return 0
        version = store.version(words.what)
        inputs, facts = store.inputs(version), store.facts(version)
        receipts = store.receipts(version)
    if words.json:
        told = {"inputs": plain(inputs), "facts": plain(facts), "receipts": plain(receipts)}
        show_json({**plain(version), **told})
        return 0
    _show_fields(
        {"path": version.address, **{k: v for k, v in plain(version).items() if k not in _TWICE}}
    )
    say("inputs:")
    for used in inputs:
        extra = {k: v for k, v in plain(used).items() if k not in ("target", "role")}
        say(f"  {used.role}: {_target(used.target)}  {brief(extra)}".rstrip())
    _show_receipts(receipts)
    say("history:")
    for fact in facts:
        say(f"  {when(fact.recorded)}  commit {fact.commit}  {fact.kind}  (event {fact.event})")
    return 0


def _show_receipts(receipts: list[Receipt]) -> None:
    for receipt in receipts:
        known = [each for each in (receipt.name, receipt.url) if each]
        say(f"{receipt.mirror}: {'  '.join(known)}")


_TWICE = ("location", "name", "number")


def _target(target: object) -> str:
    return str(plain(target))


def _show_fields(value: dict[str, object], indent: str = "") -> None:
    for key, item in value.items():
        if item is None or item in ([], {}, "") or item is False:
            continue
        if isinstance(item, dict):
            say(f"{indent}{key}:")
            _show_fields(item, indent + "  ")
        elif isinstance(item, list):
            say(f"{indent}{key}: {', '.join(map(str, item))}")
        else:
            say(f"{indent}{key}: {item}")


# --------------------------------------------------------------- many versions


def _log_words(parser: Parser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--aliases", action="store_true", help="list the moves of its aliases")
    _at(parser)
    _json(parser)


def log(words: Words) -> int:
    """List the versions of an artifact, or the moves of its aliases."""
    with open_store(words) as store:
        versions = store.log(words.name, at=words.at)
        moves = store.moves(words.name)
    if words.aliases:
        if words.json:
            show_json(moves)
        else:
            table(
                ("RECORDED", "ALIAS", "FROM", "TO", "BY", "COMMIT"),
                (
                    (when(m.recorded), m.alias, _number(m.was), _number(m.version), m.by or "",
                     m.commit)
                    for m in moves
                ),
            )  # fmt: skip
        return 0
    _list(versions, words)
    return 0


def _number(number: int | None) -> str:
    return "-" if number is None else f"v{number}"


def _list(versions: list[Version], words: Words) -> None:
    if words.json:
        show_json(versions)
        return
    table(
        ("VERSION", "TYPE", "STATE", "RECORDED", "ALIASES", "PATH", "METADATA"),
        (
            (
                each.uri, each.type, f"{each.state}{' (late)' if each.late else ''}",
                when(each.recorded), ",".join(each.aliases), each.address, brief(each.metadata),
            )
            for each in versions
        ),
    )  # fmt: skip


def _find_words(parser: Parser) -> None:
    parser.add_argument("name", nargs="?", metavar="PATTERN", help="name with * and ?")
    parser.add_argument("--type", help="model, dataset, ...")
    parser.add_argument(
        "--meta", action="append", default=[], metavar="KEY=VALUE", type=pair,
        help="metadata that must be so; may be repeated",
    )  # fmt: skip
    parser.add_argument("--run", metavar="ID", help="id of the producing run")
    parser.add_argument("--all", action="store_true", help="deleted and replaced ones too")
    parser.add_argument("--limit", type=count, metavar="N", help="N at the most")
    _json(parser)


def find(words: Words) -> int:
    """List the versions that fit."""
    from ..model import State

    with open_store(words) as store:
        found = store.find(
            words.name, type=words.type, metadata=dict(words.meta), run=words.run,
            state=None if words.all else State.LIVE, limit=words.limit,
        )  # fmt: skip
    _list(found, words)
    return 0


def pair(text: str) -> tuple[str, object]:
    """Read ``key=value``; the value is JSON where it reads as JSON, else text."""
    import json

    key, mark, value = text.partition("=")
    if not mark or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


# ------------------------------------------------------------------- the graph


def _tree_words(parser: Parser) -> None:
    parser.add_argument("uri", nargs="?", metavar="URI", help="a version or source; none: all")
    parser.add_argument("--down", action="store_true", help="draw what came of it instead")
    parser.add_argument("--picture", metavar="FILE", help="write a picture: .svg or .html")
    _at(parser)
    _json(parser)


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
    _at(parser)
    _json(parser)


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
    _at(parser)
    _json(parser)


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
    _json(parser)


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


def _runs_words(parser: Parser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="only runs of this name")
    parser.add_argument("--limit", type=count, metavar="N", help="N at the most")
    _json(parser)


def runs(words: Words) -> int:
    """List runs."""
    with open_store(words) as store:
        found = store.runs(name=words.name, limit=words.limit)
    if words.json:
        show_json(found)
    else:
        table(
            ("RUN", "NAME", "TYPE", "STATUS", "STARTED", "ENDED", "HOST", "USER"),
            (
                (f"run:{r.id}", r.name, r.job_type or "", r.status, when(r.started), when(r.ended),
                 r.host or "", r.user or "")
                for r in found
            ),
        )  # fmt: skip
    return 0
