"""Exit statuses, and the one sentence that goes with each error."""

from __future__ import annotations

import sqlite3
import sys

from ..errors import (
    ArtifactGone,
    ArtifactNotFoundError,
    Conflict,
    LineageError,
    PathNotFoundError,
    PublishRefused,
    StoreDamaged,
    StoreError,
    StoreNotFoundError,
    URIError,
)

__all__ = ["STATUSES", "explain"]

OK, FAILED, USAGE, NOT_FOUND, GONE, REFUSED, STORE, DAMAGED, LEFT_OUT, UNDELIVERED = range(10)
STATUSES = {
    OK: "done",
    FAILED: "something else went wrong; the sentence says what",
    USAGE: "the words of the command are off, or a reference breaks the grammar",
    NOT_FOUND: "no such artifact, version, alias, run, path or store",
    GONE: "the version was deleted or replaced",
    REFUSED: "the write makes no sense, or somebody was there before",
    STORE: "the store cannot be used now: busy, read-only, full, unsuitable",
    DAMAGED: "the store is damaged",
    LEFT_OUT: "done, but for what was inconsistent; the report names it",
    UNDELIVERED: "not everything has reached the mirrors yet; what is left stays due",
}
_BY_ERROR: tuple[tuple[type[Exception], int], ...] = (
    (URIError, USAGE),
    (ArtifactGone, GONE),
    (ArtifactNotFoundError, NOT_FOUND),
    (PathNotFoundError, NOT_FOUND),
    (StoreNotFoundError, NOT_FOUND),
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
