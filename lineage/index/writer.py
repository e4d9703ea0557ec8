"""Writes to the index whatever a commit holds: one odd value must not keep all from reading.

The journal keeps for ever what JSON can say; SQLite cannot hold all of it.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from ..metadata import canonical_json

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Writer"]

_UNFIT = (UnicodeEncodeError, OverflowError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
_MOST = 2**63  # SQLite's integers are smaller


class Writer:
    """A connection that spells out what SQLite cannot hold."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def execute(self, statement: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run a statement."""
        try:
            return self._db.execute(statement, values)
        except _UNFIT:
            return self._db.execute(statement, [_fit(value) for value in values])


def _fit(value: object) -> str | float | bytes | None:
    """Return a value that SQLite holds: bytes of a name that are no text are escaped."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, (list, tuple, dict)):
        return canonical_json(value)
    if isinstance(value, int) and not -_MOST <= value < _MOST:
        return float(min(max(value, -(10**300)), 10**300))
    return value  # type: ignore[return-value]  # SQLite knows these
