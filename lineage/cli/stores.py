"""The commands that make stores, and bring in what waits for them."""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING

from ..clock import read_time
from ..settings import choose_store
from .commands import Command, Commands, open_store
from .exits import LEFT_OUT
from .present import progress, say, show_json, table, when
from .words import Parser, Words, add_json

if TYPE_CHECKING:
    from ..intake import Waiting


def register(commands: Commands) -> None:
    """Add these commands."""
    commands.add(
        Command("init", "make a store, or show what its owner has to", _init_words, init),
        Command("copy", "copy a store into another one; both go on", _copy_words, copy),
        Command("move", "copy a store into another one, and end it", _copy_words, move),
        Command("merge", "bring in what another store holds", _merge_words, merge),
        Command("recover", "bring in records that nobody took", _recover_words, recover),
        Command("snapshot", "leave a snapshot for hosts that come later", _json, snapshot),
    )


def _init_words(parser: Parser) -> None:
    parser.add_argument("address", nargs="?", metavar="STORE", help="where; as --store")
    parser.add_argument(
        "--mode", type=_mode, help="for a folder: permissions of all its files, e.g. 0660"
    )
    parser.add_argument("--group", help="for a folder: the group that all of it belongs to")
    parser.add_argument(
        "--sql", action="store_true",
        help="for a PostgreSQL store: print the statements for its owner, and do nothing",
    )  # fmt: skip
    parser.add_argument("--writer", default="lineage_writer", metavar="ROLE", help="with --sql")
    parser.add_argument("--reader", default="lineage_reader", metavar="ROLE", help="with --sql")


def _mode(text: str) -> int:
    if not re.fullmatch("0?[4-7]?[0-7]{2}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no mode such as 0660")
    return int(text, 8)


def init(words: Words) -> int:
    """Make a store, or print what makes it."""
    from ..journal.kinds import open_journal

    address = choose_store(words.address or words.store)[0]
    if words.sql:
        from ..journal.postgres import statements

        for statement in statements(address, writer=words.writer, reader=words.reader):
            say(f"{statement};")
        return 0
    journal = open_journal(address, mode=words.mode, group=words.group)
    say(f"{journal.address}  {journal.kind} {journal.id}")
    journal.close()
    return 0


def _copy_words(parser: Parser) -> None:
    parser.add_argument("source", metavar="SRC", help="the store as it is")
    parser.add_argument("target", metavar="DST", help="an empty place, or a copy that was cut off")
    _json(parser)


def copy(words: Words) -> int:
    """Copy a store; both go on."""
    return _copy(words, end=False)


def move(words: Words) -> int:
    """Copy a store, and end it with the name of its successor."""
    return _copy(words, end=True)


def _copy(words: Words, *, end: bool) -> int:
    from contextlib import closing

    from ..copying import copy_journal
    from ..journal.kinds import open_journal

    with (
        closing(open_journal(words.source, create=False)) as source,
        closing(open_journal(words.target, adopting=True)) as target,
        progress("copying commits") as bar,
    ):
        copied = copy_journal(source, target, end=end, progress=bar)
    if words.json:
        show_json(copied)
    else:
        what = f"{words.source} ended and goes on as" if copied.ended else "copied to"
        say(f"{copied.commits} commits, {what} {words.target}, head {copied.head or '-'}")
    return 0


def _merge_words(parser: Parser) -> None:
    parser.add_argument("source", metavar="SRC", help="the other store; it is only read")
    parser.add_argument(
        "--as", dest="namespace", required=True, metavar="NAMESPACE",
        help="what its names stand under here, e.g. partner",
    )  # fmt: skip
    _json(parser)


def merge(words: Words) -> int:
    """Bring in what another store holds, under a namespace."""
    from ..merging import merge as merge_
    from ..registry import open_store as open_

    with open_(words.source, create=False) as other, open_store(words, create=True) as store:
        report = merge_(store, other, words.namespace)
    if words.json:
        show_json(report)
    else:
        for name in sorted({*report.imported, *report.there}):
            new, old = report.imported[name], report.there[name]
            say(f"{name}: {new} imported, {old} already there")
        if report.changed:
            say(f"{report.changed} later changes brought in")
        for sentence in report.conflicts:
            say(f"differs: {sentence}")
    return LEFT_OUT if report.conflicts else 0


def _json(parser: Parser) -> None:
    add_json(parser, "the report as ")


def _recover_words(parser: Parser) -> None:
    parser.add_argument(
        "paths", nargs="*", metavar="PATH",
        help="folders below which checkpoints lie (those that runs declared are known), or a "
        "store that was moved to this one",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="only say what waits, and where")
    _json(parser)


def recover(words: Words) -> int:
    """Bring in records from wherever they lie."""
    from ..recovery import recover as recover_

    # hooks open no store, so that the first one to do so may be whoever recovers
    with open_store(words, create=bool(words.paths) and not words.dry_run) as store:
        report = recover_(store, words.paths, dry=words.dry_run)
    if words.json:
        show_json(report)
    else:
        show_waiting(report.found if words.dry_run else report.left)
        what = sum(each.records for each in report.found) if words.dry_run else report.taken
        done = "wait" if words.dry_run else "brought in"
        say(f"{what} records {done}; looked into {len(report.folders)} folders besides the store")
    if not report.left:
        return 0
    count = sum(each.records for each in report.left)
    sys.stderr.write(f"lineage: {count} records were left alone; the list says why\n")
    return LEFT_OUT


def snapshot(words: Words) -> int:
    """Leave a snapshot of a store that many hosts use, whether it is due or not."""
    from ..snapshots import make_snapshots

    with open_store(words) as store:
        notes = make_snapshots(store.journal)
    if words.json:
        show_json([{"tables": n.tables, "commit": n.head.number, "bytes": n.size} for n in notes])
    elif notes:
        table(("TABLES", "COMMIT", "BYTES"), ((n.tables, n.head.number, n.size) for n in notes))
    else:
        say("something was redacted within the hour; nothing was made. Try again later")
    return 0


def show_waiting(waiting: list[Waiting]) -> None:
    """List the records that wait."""
    if waiting:
        table(
            ("RECORDS", "SINCE", "HOST", "RUN", "WHERE", "OBSTACLE"),
            (
                (
                    each.records, when(read_time(each.since)), each.host or "", each.run or "",
                    each.place, each.obstacle,
                )
                for each in waiting
            ),
        )  # fmt: skip
