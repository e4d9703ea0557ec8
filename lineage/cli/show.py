"""The commands that show versions and runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..mirror.elsewhere import look_in_wandb
from .commands import Command, Commands, open_store
from .present import brief, plain, say, say_path, show_json, table, when
from .words import Parser, Words, add_json, add_moment, count, pair

if TYPE_CHECKING:
    from ..model import Input, Receipt, Version
    from ..registry import Lineage

__all__ = ["register"]


def register(commands: Commands) -> None:
    """Add these commands."""
    commands.add(
        Command("resolve", "print the path of a version", _resolve_words, resolve),
        Command("show", "show a version or run with all that is known of it", _show_words, show),
        Command("log", "list the versions of an artifact, newest first", _log_words, log),
        Command("find", "list the live versions that fit", _find_words, find),
        Command("runs", "list runs, newest first", _runs_words, runs),
    )


# ------------------------------------------------------------------ one version


def _resolve_words(parser: Parser) -> None:
    parser.add_argument("uri", metavar="URI")
    parser.add_argument("--uri", dest="uri_only", action="store_true", help="print the pinned URI")
    add_moment(parser)
    add_json(parser)


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
    add_json(parser)


def show(words: Words) -> int:
    """Show all that is known of a version or run."""
    with open_store(words) as store:
        if words.what.startswith("run:"):
            _show_run(store, words)
        else:
            _show_version(store, words)
    return 0


def _show_run(store: Lineage, words: Words) -> None:
    run = store.run_info(words.what)
    inputs, receipts = store.inputs(words.what), store.receipts(words.what)
    published = [str(version.uri) for version in store.find(run=run.id, state=None)]
    facts = {**plain(run), "published": published}
    if words.json:
        show_json({**facts, "inputs": plain(inputs), "receipts": plain(receipts)})
        return
    _show_fields(facts)
    _show_inputs(inputs)
    _show_receipts(receipts)


def _show_version(store: Lineage, words: Words) -> None:
    version = store.version(words.what)
    inputs, receipts, history = store.inputs(version), store.receipts(version), store.facts(version)
    facts = plain(version)
    if words.json:
        told = {"inputs": plain(inputs), "facts": plain(history), "receipts": plain(receipts)}
        show_json({**facts, **told})
        return
    shown = {key: value for key, value in facts.items() if key not in _TWICE}
    _show_fields({"path": version.address, **shown})
    _show_inputs(inputs)
    _show_receipts(receipts)
    say("history:")
    for fact in history:
        say(f"  {when(fact.recorded)}  commit {fact.commit}  {fact.kind}  (event {fact.event})")


def _show_inputs(inputs: list[Input]) -> None:
    say("inputs:")
    for used in inputs:
        extra = {k: v for k, v in plain(used).items() if k not in ("target", "role")}
        say(f"  {used.role}: {plain(used.target)}  {brief(extra)}".rstrip())


def _show_receipts(receipts: list[Receipt]) -> None:
    for receipt in receipts:
        known = [each for each in (receipt.name, receipt.url) if each]
        say(f"{receipt.mirror}: {'  '.join(known)}")


_TWICE = ("location", "name", "number")


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
    add_moment(parser)
    add_json(parser)


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
    add_json(parser)


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


def _runs_words(parser: Parser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="only runs of this name")
    parser.add_argument("--limit", type=count, metavar="N", help="N at the most")
    add_json(parser)


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
