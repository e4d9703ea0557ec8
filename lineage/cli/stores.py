"""The commands that make stores."""

from __future__ import annotations

import argparse
import re

from ..settings import choose_store
from .commands import Command, Commands
from .present import say

Parser = argparse.ArgumentParser
Words = argparse.Namespace


def register(commands: Commands) -> None:
    """Add these commands."""
    commands.add(Command("init", "make a store, or show what its owner has to", _init_words, init))


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
