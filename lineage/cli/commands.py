"""The full parser: every command is a value, and other packages add theirs by an entry point."""

from __future__ import annotations

import argparse
import logging
import os
import sqlite3
import sys
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, NoReturn

from ..errors import LineageError
from .exits import STATUSES, explain
from .present import flush

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ..registry import Lineage
    from .words import Words

__all__ = ["GROUP", "Check", "Command", "Commands", "build_parser", "run"]

GROUP = "nemotron.lineage.cli"  # entry points: functions that take a Commands
# Our own one. A checkout has no metadata, or that of another version which is installed.
KIT = EntryPoint("kit", "nemotron.kit.cli:register", GROUP)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        name: the word on the command line.
        help: one line for the list of commands; its first letter is small, it ends without a dot.
        arguments: adds the arguments to a parser.
        run: does it and returns the exit status.
    """

    name: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], object]
    run: Callable[[Words], int]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that ``lineage doctor`` looks at.

    Attributes:
        name: what it is about.
        run: yields (is fine, sentence); never raises.
    """

    name: str
    run: Callable[[Words], Iterator[tuple[bool, str]]]


@dataclass(slots=True)
class Commands:
    """All commands and checks there are."""

    commands: list[Command] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    def add(self, *commands: Command) -> None:
        """Add commands."""
        self.commands += commands

    def add_check(self, *checks: Check) -> None:
        """Add checks of the doctor."""
        self.checks += checks


def open_store(words: Words, *, create: bool = False) -> Lineage:
    """Open the store that the words name; reading commands make none."""
    from ..registry import open_store as open_  # not for --help

    return open_(words.store, create=create)


def all_commands() -> Commands:
    """Collect our own commands and those of other packages."""
    from . import (  # they import this module
        care,
        foreign,
        graph,
        sealing,
        show,
        stores,
        sync,
        write,
    )

    commands = Commands()
    for module in (show, graph, write, sealing, foreign, sync, stores, care):
        module.register(commands)
    for entry in {each.value: each for each in (KIT, *entry_points(group=GROUP))}.values():
        try:
            register = entry.load()
        except (ImportError, AttributeError) as error:
            _log.warning(
                "the commands of %s cannot be loaded (%s); repair that package or uninstall it",
                entry.value, error,
            )  # fmt: skip
        else:
            register(commands)
    return commands


def build_parser(commands: Commands) -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = _Parser(
        prog="lineage",
        description="Knows where every model came from.",
        epilog="exit statuses: " + "; ".join(f"{n} {text}" for n, text in STATUSES.items()),
    )
    common = _Parser(add_help=False)
    common.add_argument(
        "--store", metavar="STORE", help="store to use, instead of LINEAGE_STORE and env.toml"
    )
    shelf = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in sorted(commands.commands, key=lambda each: each.name):
        sub = shelf.add_parser(
            command.name, help=command.help, parents=[common],
            description=f"{command.help[0].upper()}{command.help[1:]}.",
        )  # fmt: skip
        command.arguments(sub)
        sub.set_defaults(command=command, commands=commands)
    return parser


class _Parser(argparse.ArgumentParser):
    """Says in one sentence what is off, like every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}. Try: {self.prog} --help\n")


def run(words: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    logging.basicConfig(format="lineage: %(message)s", level=logging.WARNING)
    try:
        chosen = build_parser(all_commands()).parse_args(words)
        command: Command = chosen.command
        status = command.run(chosen)
        flush()
    except (LineageError, OSError, sqlite3.Error) as error:
        # "lineage log | head": what was wanted was read
        status = 0 if isinstance(error, BrokenPipeError) else explain(error)
        try:
            flush()
        except OSError:  # keep Python from flushing again, and from telling of it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    return status
