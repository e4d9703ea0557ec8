"""The commands that read and write the layouts of other registries."""

from __future__ import annotations

import argparse
import math
import os
import sqlite3
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from ..errors import LineageError, MirrorUnready, URIError
from .commands import Command, Commands, open_store
from .exits import LEFT_OUT, OK, explain
from .present import say, show_json
from .words import Parser, Words, add_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..foreign.exporting import ExportReport
    from ..foreign.importing import ImportReport
    from ..registry import Lineage


def register(commands: Commands) -> None:
    """Add these commands."""
    commands.add(
        Command("export", "write the versions in a layout that others read", _export_words, export)
    )


def import_kinds(shelf: Any) -> None:  # argparse does not name the type
    """Add the kinds of ``lineage import`` that read earlier layouts."""
    _kind(
        shelf, "manifest", "a root with NAME/vN/manifest.json; again and again adds what is new",
        "folder that holds the folders of names",
    ).set_defaults(import_kind=import_manifest)  # fmt: skip
    _kind(
        shelf, "registry", "a root with .art_index.json; again and again adds what is new",
        "folder that holds .art_index.json",
    ).set_defaults(import_kind=import_registry)  # fmt: skip


def import_wandb_kind(shelf: Any) -> None:
    """Add the kind of ``lineage import`` that reads a project of W&B."""
    help_ = "the artifacts of a W&B project with their lineage; again and again adds what is new"
    sub: Parser = shelf.add_parser("wandb", help=help_, description=f"{help_.capitalize()}.")
    sub.add_argument("what", metavar="ENTITY/PROJECT[/NAME]", help="a project, or one artifact")
    sub.add_argument("--store", metavar="STORE", help="store to use", default=argparse.SUPPRESS)
    sub.add_argument("--as", dest="called", metavar="NAME", help="name in place of ENTITY/PROJECT")
    sub.add_argument("--no-verify", action="store_true", help="read no file to check its digest")
    add_json(sub, "the report as ")
    sub.set_defaults(import_kind=import_wandb)


def _kind(shelf: Any, name: str, help_: str, root: str) -> Parser:
    sub: Parser = shelf.add_parser(name, help=help_, description=f"{help_.capitalize()}.")
    sub.add_argument("root", metavar="ROOT", help=root)
    sub.add_argument("--store", metavar="STORE", help="store to use", default=argparse.SUPPRESS)
    add_json(sub, "the report as ")
    return sub


# --------------------------------------------------------------------------- import


def import_manifest(words: Words) -> int:
    """Import the manifest layout."""
    from ..foreign.manifest import import_manifests

    with open_store(words, create=True) as store:
        return _answer(import_manifests(store, words.root), words)


def import_registry(words: Words) -> int:
    """Import the registry of full copies."""
    from ..foreign.art_index import import_art_index

    with open_store(words, create=True) as store:
        return _answer(import_art_index(store, words.root), words)


def import_wandb(words: Words) -> int:
    """Import a project of W&B, or one of its artifacts."""
    from ..mirror.base import Refused, Retry
    from ..mirror.chosen import chosen_wandb
    from ..mirror.wandb import Server
    from ..mirror.wandb_import import LIMIT, WandbImport
    from .present import progress

    parts = words.what.split("/")
    if len(parts) not in (2, 3) or not all(parts):
        raise URIError(words.what, 0, "name", "W&B is named by entity/project or .../name")
    with open_store(words, create=True) as store, progress("importing from W&B") as move:
        server = Server(chosen_wandb(os.environ).base_url)
        limit = 0 if words.no_verify else LIMIT
        work = WandbImport(store, server, limit=limit, called=words.called)
        try:
            server.probe()
            report = work.project("/".join(parts[:2]), parts[2] if parts[2:] else None, move)
        except (Retry, Refused) as error:
            said = store.redactor.text(str(error))
            raise MirrorUnready(f"{said}. What was imported stays; run it again") from error
    return _answer(report, words)


# --------------------------------------------------------------------------- export


def _export_words(parser: Parser) -> None:
    shelf = parser.add_subparsers(title="kinds", metavar="KIND", required=True)
    sub = _kind(
        shelf, "manifest", "NAME/vN/manifest.json for every version that was published here",
        "folder to write to; it is made when it is not there",
    )  # fmt: skip
    sub.add_argument(
        "--watch", metavar="SECONDS", type=seconds,
        help="go on, and look for news every SECONDS until interrupted",
    )  # fmt: skip
    sub.set_defaults(export_kind=export_manifest)


def seconds(text: str) -> float:
    """Read a number of seconds above 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def export(words: Words) -> int:
    """Export in some layout; the kinds are subcommands."""
    status: int = words.export_kind(words)
    return status


def export_manifest(words: Words) -> int:
    """Write the manifest layout, once or again and again."""
    from ..foreign.manifest import write_manifests

    with open_store(words) as store:
        head = _head(store)
        status = _answer(write_manifests(store, words.root), words)
        while words.watch is not None:
            sys.stdout.flush()
            time.sleep(words.watch)
            try:
                now = _head(store)
                if now == head:
                    continue
                report = write_manifests(store, words.root)
                head = now
            except (LineageError, OSError, sqlite3.Error) as error:
                explain(error)  # a full disk is no reason to stop: the next look goes on
                continue
            if report.written:
                _answer(report, words)
        return status


def _head(store: Lineage) -> object:
    with store.reading():
        return store.journal.head()


# -------------------------------------------------------------------------- reports


def _answer(report: ImportReport | ExportReport, words: Words) -> int:
    """Print a report: a line for each name, then what was odd."""
    if words.json:
        show_json(report)
    else:
        _show(report)
    if not report.skipped:
        return OK
    sys.stdout.flush()
    count = len(report.skipped)
    what = "1 thing was" if count == 1 else f"{count} things were"
    sys.stderr.write(f"lineage: {what} left out; the report says why\n")
    return LEFT_OUT


def _show(report: ImportReport | ExportReport) -> None:
    groups = _counts(report)
    names = sorted({name for _, counted in groups for name in counted})
    for name in names:
        shown = [f"{counted[name]} {what}" for what, counted in groups if counted.get(name)]
        say(f"{name}: {', '.join(shown)}")
    for sentence in report.oddities:
        say(f"odd: {sentence}")


def _counts(report: ImportReport | ExportReport) -> Sequence[tuple[str, Mapping[str, int]]]:
    from ..foreign.importing import ImportReport

    left_out = ("left out", Counter(each.name for each in report.skipped))
    if isinstance(report, ImportReport):
        return (
            ("imported", Counter(each.name for each in report.imported)),
            ("already there", Counter(each.name for each in report.there)),
            left_out,
        )
    return (
        ("written", Counter(each.name for each in report.written)),
        ("unchanged", Counter(each.name for each in report.unchanged)),
        ("imported from elsewhere and not written", Counter(each.name for each in report.foreign)),
        left_out,
    )
