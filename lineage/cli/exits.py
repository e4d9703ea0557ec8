"""Exit statuses, and the one sentence that goes with each error."""

from __future__ import annotations

import sqlite3
import sys

from ..errors import (
    ArtifactGone,
    ArtifactNotFoundError,
    Conflict,
    ContentChanged,
    LineageError,
    PathNotFoundError,
    PublishRefused,
    StoreDamaged,
    StoreError,
    StoreNotFoundError,
    URIError,
)

__all__ = ["STATUSES", "explain"]

OK, FAILED, USAGE, NOT_FOUND, GONE, REFUSED, STORE, DAMAGED, LEFT_OUT = range(9)
CHANGED, UNVERIFIED, UNDELIVERED = 9, 10, 11
STATUSES = {
    OK: "done",
    FAILED: "something else went wrong; the sentence says what",
    USAGE: "the words of the command are off, or a reference breaks the grammar",
    NOT_FOUND: "no such artifact, version, alias, run, path or store",
    GONE: "the version was deleted or replaced, or nothing lies at its place any more",
    REFUSED: "the write makes no sense, or somebody was there before",
    STORE: "the store cannot be used now: busy, read-only, full, unsuitable",
    DAMAGED: "the store is damaged",
    LEFT_OUT: "done, but for what was inconsistent; the report names it",
    CHANGED: "what lies there is not what was published or sealed",
    UNVERIFIED: "nothing differs, but bytes could not be compared: not sealed, or not seen here",
    UNDELIVERED: "not everything has reached the mirrors yet; what is left stays due",
}
_BY_ERROR: tuple[tuple[type[Exception], int], ...] = (
    (URIError, USAGE),
    (ArtifactGone, GONE),
    (ArtifactNotFoundError, NOT_FOUND),
    (PathNotFoundError, NOT_FOUND),
    (StoreNotFoundError, NOT_FOUND),
    (ContentChanged, CHANGED),
    (StoreDamaged, DAMAGED),
    (StoreError, STORE),
    (PublishRefused, REFUSED),
    (Conflict, REFUSED),
    (LineageError, FAILED),
    (OSError, STORE),
    (sqlite3.Error, STORE),
)


def explain(error: Exception) -> int:
    """Print an error as one sentence and return the exit status."""
    sys.stderr.write(f"lineage: {error}\n")
    return next((status for kind, status in _BY_ERROR if isinstance(error, kind)), FAILED)
