"""The small part of a snapshot: sorted rows in pages, so that one reference costs a page or two.

A row is ``[key, value]``, one a line. Artifacts come first, then versions, then writers. The note
of the snapshot tells where each page begins and what its digest is.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from ..journal.projection import position

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from ..journal.snapshots import Note, Snapshots

__all__ = [
    "LOOKUP_TABLES",
    "VERSION_COLUMNS",
    "Pages",
    "artifact_key",
    "version_key",
    "write_pages",
    "writer_key",
]

LOOKUP_TABLES = "lookup-1"
VERSION_COLUMNS = (
    "artifact,number,state,path,host,external,type,fingerprint,digest,metadata,non_finite,"
    "origin,occurred,recorded,commit_number,late,gone"
)
_PAGE = 1 << 16  # bytes, or ...
_MOST = 4096  # ... so many pages

Row = tuple[str, Any]


def artifact_key(name: str) -> str:
    """Return the key of an artifact's row: its id, type, latest and aliases."""
    return f"a {name}"


def version_key(name: str, number: int) -> str:
    """Return the key of a version's row; those of one artifact follow each other by number."""
    return f"v {name} {number:012d}"


def writer_key(writer: str) -> str:
    """Return the key of a writer's row: how far its records were taken."""
    return f"w {writer}"


def write_pages(index: sqlite3.Connection, ledger: sqlite3.Connection, path: str) -> dict[str, Any]:
    """Write all rows into a file, and return what its note has to tell.

    Args:
        index: copy of the query tables.
        ledger: copy of the ledger, not necessarily of the same commit.
        path: the file.
    """
    (versions,) = index.execute("SELECT count(*) FROM version").fetchone()
    size = max(_PAGE, versions * 400 // _MOST)
    pages: list[tuple[str, int, int, str]] = []
    page: list[bytes] = []
    first, filled, offset = "", 0, 0

    with open(path, "wb") as file:

        def close_page() -> None:
            nonlocal filled, offset
            data = b"".join(page)
            file.write(data)
            pages.append((first, offset, len(data), hashlib.sha256(data).hexdigest()))
            offset, filled = offset + len(data), 0
            page.clear()

        for key, value in _rows(index, ledger):
            if not page:
                first = key
            page.append(json.dumps([key, value]).encode("ascii") + b"\n")
            filled += len(page[-1])
            if filled >= size:
                close_page()
        if page:
            close_page()
    return {
        "ledger": list(position(ledger)), "pages": pages,
        "state": ledger.execute("SELECT key, value FROM ledger_state").fetchall(),
    }  # fmt: skip


def _rows(index: sqlite3.Connection, ledger: sqlite3.Connection) -> Iterator[Row]:
    for key, name, kind, latest in index.execute(
        "SELECT id, name, type, latest FROM artifact ORDER BY name"
    ):
        aliases = index.execute(
            "SELECT alias, number, revision FROM alias WHERE artifact=? ORDER BY alias", (key,)
        ).fetchall()
        yield artifact_key(name), [[key, name, kind, latest], aliases]
    columns = ",".join(f"v.{column}" for column in VERSION_COLUMNS.split(","))
    for name, run, *row in index.execute(
        f"SELECT a.name, r.uid, {columns} FROM artifact a JOIN version v ON v.artifact=a.id"
        " LEFT JOIN run r ON r.id=v.run ORDER BY a.name, v.number"
    ):
        yield version_key(name, row[1]), [run, row]
    for writer, *row in ledger.execute(
        "SELECT id, sequence, offset FROM ledger_writer ORDER BY id"
    ):
        yield writer_key(writer), row


class Pages:
    """The rows of one snapshot, read page by page.

    Raises from every method:
        LookupError: a page is gone or damaged.
    """

    def __init__(self, snapshots: Snapshots, note: Note) -> None:
        self._snapshots, self._note = snapshots, note
        self._pages = note.detail["pages"]
        self._firsts = [page[0] for page in self._pages]
        self._held: dict[int, dict[str, Any]] = {}

    def get(self, key: str) -> Any:  # as it was written; None when there is none
        """Return the value of a key, or None."""
        at = bisect_right(self._firsts, key) - 1
        return self._page(at).get(key) if at >= 0 else None

    def spread(self, low: str, high: str) -> int:
        """Return how many pages hold the keys from ``low`` to ``high``."""
        return bisect_right(self._firsts, high) - max(0, bisect_right(self._firsts, low) - 1)

    def between(self, low: str, high: str) -> Iterator[Row]:
        """Yield the rows from ``low`` to ``high``, in order."""
        start = max(0, bisect_right(self._firsts, low) - 1)
        for at in range(start, bisect_right(self._firsts, high)):
            for key, value in self._page(at).items():
                if low <= key <= high:
                    yield key, value

    def _page(self, at: int) -> dict[str, Any]:
        if at not in self._held:
            _, offset, size, digest = self._pages[at]
            data = self._snapshots.read(self._note, offset, size, digest)
            if data is None:
                raise LookupError(f"page {at} of {self._note.content}")
            self._held[at] = dict(json.loads(line) for line in data.splitlines())
        return self._held[at]
