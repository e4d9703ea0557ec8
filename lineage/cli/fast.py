"""Answers the common form of ``lineage resolve`` from the index alone, in a few milliseconds.

It answers only when everything is plainly in order: a sqlite store whose index is at its head and
whose intake holds nothing new. Otherwise it returns None and the full command says what is wrong.
"""

import os
import sqlite3

from ..errors import LineageError
from ..filesystems import real_file
from ..grammar import Broken, parse
from ..index.lookup import GONE, find
from ..index.schema import NAME
from ..settings import choose_store


def resolve(words: list[str]) -> str | None:
    """Return what ``lineage resolve WORDS`` prints, or None to let the full command do it."""
    store, uri_only, reference = None, False, None
    rest = iter(words)
    for word in rest:
        if word == "--uri":
            uri_only = True
        elif word == "--store":
            store = next(rest, None)
        elif word.startswith("-") or reference is not None:
            return None
        else:
            reference = word
    if reference is None:
        return None
    try:
        name, variant, version, alias, digest, path = parse(reference)
        address, _, warning = choose_store(store)
    except (Broken, LineageError):
        return None
    if digest is not None or path is not None or warning is not None:
        return None
    identity = name + ("?" + "&".join(f"{k}={v}" for k, v in variant) if variant else "")
    row = _row(address, identity, version, alias)
    if row is None or row[2] in GONE or not row[3]:
        return None
    return f"art://{identity}:v{row[1]}" if uri_only else str(row[3])


def _row(address: str, name: str, version: int | None, alias: str | None) -> tuple | None:  # type: ignore[type-arg]  # a row
    file = real_file(address.removeprefix("sqlite:///"))
    folder = f"{file}.d"
    index_file = f"{folder}/{NAME}.db"
    if not os.path.isfile(file) or not os.path.isfile(index_file):
        return None
    journal = index = None
    try:
        journal = sqlite3.connect(f"file:{_quoted(file)}?mode=ro", uri=True)
        index = sqlite3.connect(f"file:{_quoted(index_file)}?mode=ro", uri=True)
        head = journal.execute(
            "SELECT number, hash FROM commits ORDER BY number DESC LIMIT 1"
        ).fetchone()
        if head != index.execute("SELECT number, hash FROM position").fetchone():
            return None
        if _has_news(journal, folder):
            return None
        return find(index, name, version, alias)
    except sqlite3.Error:
        return None
    finally:
        for connection in (index, journal):
            if connection is not None:
                connection.close()


def _has_news(journal: sqlite3.Connection, folder: str) -> bool:
    """Tell whether records wait in an intake, or anything else is out of the ordinary."""
    if journal.execute("SELECT 1 FROM ledger_state").fetchone():
        return True
    try:
        names = os.listdir(f"{folder}/intake")
    except OSError:
        return False
    for name in names:
        row = journal.execute(
            "SELECT offset FROM ledger_writer WHERE id=?", (name.removesuffix(".jsonl"),)
        ).fetchone()
        if os.path.getsize(f"{folder}/intake/{name}") > (row[0] if row else 0):
            return True
    return False


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
