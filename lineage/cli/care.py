"""The commands that look after a store, and the demo."""

from __future__ import annotations

import os
import platform
import sqlite3
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distributions, version
from typing import TYPE_CHECKING

from .. import audit
from ..errors import LineageError, StoreNotFoundError
from ..filesystems import LOCAL, filesystem
from ..settings import choose_store
from .commands import Check, Command, Commands, open_store
from .exits import DAMAGED
from .present import progress, say, show_json
from .stores import show_waiting
from .words import Parser, Words, add_json

if TYPE_CHECKING:
    from ..registry import Lineage

Found = Iterator[tuple[bool, str]]

_WAL_RESET_FIXED = (3, 51, 3)


def register(commands: Commands) -> None:
    """Add these commands and checks."""
    commands.add(
        Command("where", "say which store is used, why, and how far it is", _where_words, where),
        Command("fsck", "check that a store is whole", _fsck_words, fsck),
        Command("redact", "blank what should never have been recorded", _redact_words, redact),
        Command("doctor", "look for what is wrong with this installation", _doctor_words, doctor),
        Command("demo", "train a tiny model in stages and show its lineage", _demo_words, demo),
    )
    commands.add_check(
        Check("python", _check_python),
        Check("package", _check_package),
        Check("store", _check_store),
    )


def _doctor_words(parser: Parser) -> None:
    parser.add_argument("--online", action="store_true", help="ask servers whether they answer")
    _json(parser)


def _json(parser: Parser) -> None:
    add_json(parser)


# -------------------------------------------------------------------- the store


def _where_words(parser: Parser) -> None:
    parser.add_argument("--rebuild", action="store_true", help="make the index anew")
    parser.add_argument("--pending", action="store_true", help="list the records that wait")
    _json(parser)


def where(words: Words) -> int:
    """Say which store is used, why, how far its index is and what is pending."""
    address, why, _ = choose_store(words.store)
    try:
        opened = open_store(words)
    except StoreNotFoundError:  # which one and why is what one wants to know then, too
        _show_facts({"store": address, "why": why}, words)
        raise
    with opened as store:
        if words.pending:
            return _pending(store, words)
        pending = store.pending()
        if words.rebuild:
            store.rebuild_index()
        facts = {
            "store": address, "why": why, "kind": store.journal.kind, "id": store.journal.id,
            **store.position(), "pending": pending,
        }  # fmt: skip
        with store.journal.peek() as ledger:
            successor = ledger.conditions().successor
        if successor is not None:
            facts["ended"] = f"goes on as journal {successor}"
    _show_facts(facts, words)
    return 0


def _show_facts(facts: dict[str, object], words: Words) -> None:
    if words.json:
        show_json(facts)
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        say(f"{key:{width}}  {value}")


def _pending(store: Lineage, words: Words) -> int:
    waiting = store.waiting()
    if words.json:
        show_json(waiting)
    else:
        show_waiting(waiting)
        say(f"{sum(each.records for each in waiting)} records wait")
    return 0


def _fsck_words(parser: Parser) -> None:
    _json(parser)


def fsck(words: Words) -> int:
    """Check a store, and name what is damaged."""
    with open_store(words) as store, progress("checking commits") as move:
        report = audit.fsck(store, move)
    if words.json:
        show_json(report)
    else:
        for sentence in report.damage:
            say(sentence)
        verdict = "clean" if report.is_clean else f"{len(report.damage)} faults"
        say(f"{verdict}: {report.commits} commits, {report.redacted} redacted payloads, "
            f"{report.pending} pending records, head {report.head or '-'}")  # fmt: skip
    return 0 if report.is_clean else DAMAGED


def _redact_words(parser: Parser) -> None:
    parser.add_argument("what", metavar="WHAT", help="a version, run:<id> or the id of an event")
    parser.add_argument("--reason", required=True, help="why; it is recorded")
    parser.add_argument("--yes", action="store_true", help="do not ask; it cannot be undone")


def redact(words: Words) -> int:
    """Blank the free text of a version, run or event for good."""
    if not words.yes:
        question = f"Blank the recorded text of {words.what} for good? [y/N] "
        if not sys.stdin.isatty() or input(question).strip().lower() != "y":
            sys.stderr.write("lineage: nothing was redacted; say --yes to go ahead\n")
            return 2
    with open_store(words) as store:
        done = audit.redact(store, words.what, words.reason)
    say(f"{done} payloads blanked; mirrors and exports made before keep what they have")
    return 0


# ------------------------------------------------------------------- the doctor


def doctor(words: Words) -> int:
    """Run all checks; the status is 1 when one is not fine."""
    results = []
    for check in words.commands.checks:
        results += [(check.name, fine, sentence) for fine, sentence in check.run(words)]
    if words.json:
        show_json([{"check": c, "fine": f, "sentence": s} for c, f, s in results])
    else:
        for name, fine, sentence in results:
            say(f"{'ok  ' if fine else 'LOOK'}  {name}: {sentence}")
    return 0 if all(fine for _, fine, _ in results) else 1


def _check_python(words: Words) -> Found:
    del words
    yield True, f"Python {platform.python_version()}"
    fixed = sqlite3.sqlite_version_info >= _WAL_RESET_FIXED
    note = "" if fixed else " (before 3.51.3: its WAL fault is kept away by our gate)"
    yield True, f"SQLite {sqlite3.sqlite_version}{note}"


def _check_package(words: Words) -> Found:
    del words
    try:
        yield True, f"nemotron-lineage {version('nemotron-lineage')}"
    except PackageNotFoundError:
        yield True, "nemotron-lineage runs from its source folder"
    import nemotron

    if getattr(nemotron, "__file__", None) is not None:
        yield (
            False,
            (
                f"another package owns `nemotron` ({nemotron.__file__}); nemotron-lineage replaces "
                "its kit and cannot live beside it. Uninstall one of them"
            ),
        )
    owners = [
        dist.metadata["Name"]
        for dist in distributions()
        if any(str(file) == "nemotron/kit/__init__.py" for file in dist.files or ())
    ]
    if len(owners) > 1:
        both = " and ".join(sorted(owners))
        advice = "Uninstall both, then install nemotron-lineage"
        yield False, f"{both} both hold nemotron/kit; the last one overwrote the other. {advice}"


def _check_store(words: Words) -> Found:
    try:
        address, why, warning = choose_store(words.store)
        yield True, f"{address} ({why})"
        if warning is not None:
            yield False, warning
        with open_store(words) as store:
            facts = store.position()
            yield True, ", ".join(f"{key} {value}" for key, value in facts.items())
            if store.journal.read_only:
                yield False, "it is read-only from here; ask its owner for write access"
            pending = store.pending()
            if pending:
                yield True, f"{pending} records wait in intakes; the next reader takes them"
            cache = store.journal.cache
            if cache is None or (os.path.isdir(cache) and filesystem(cache)[0] != LOCAL):
                yield True, "its index is not on a local disk, so it is made anew when needed"
    except (LineageError, OSError) as error:
        missing = "there is no store" in str(error)
        yield missing, f"{error}{'; the first publish makes it' if missing else ''}"


# --------------------------------------------------------------------- the demo


def _demo_words(parser: Parser) -> None:
    parser.add_argument(
        "folder", nargs="?", default="demo-out", metavar="FOLDER",
        help="where to put data, checkpoints and the store (default: demo-out)",
    )  # fmt: skip


def demo(words: Words) -> int:
    """Run the demo pipeline."""
    from ..demo import run_demo

    return run_demo(words.folder)
