"""The commands that make stores."""

from __future__ import annotations

import argparse

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
        "--sql", action="store_true",
        help="for a PostgreSQL store: print the statements for its owner, and do nothing",
    )  # fmt: skip
    parser.add_argument("--writer", default="lineage_writer", metavar="ROLE", help="with --sql")
    parser.add_argument("--reader", default="lineage_reader", metavar="ROLE", help="with --sql")


def init(words: Words) -> int:
    """Make a store, or print what makes it."""
    from ..registry import open_store

    address = choose_store(words.address or words.store)[0]
    if words.sql:
        from ..journal.postgres import statements

        for statement in statements(address, writer=words.writer, reader=words.reader):
            say(f"{statement};")
        return 0
    with open_store(address) as store:
        say(f"{store.journal.address}  {store.journal.kind} {store.journal.id}")
    return 0
