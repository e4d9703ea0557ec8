"""Says what is wrong with a reference that selects no live version, and what there is instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .clock import write_time
from .errors import ArtifactGone, ArtifactNotFoundError, Conflict
from .index import queries
from .index.absent import absent
from .model import State

if TYPE_CHECKING:
    import sqlite3

    from .model import Version
    from .reading import Reader
    from .uri import ArtifactURI

__all__ = ["check_digest", "gone", "not_found"]


def not_found(
    store: Reader, db: sqlite3.Connection, uri: ArtifactURI, at: int | None
) -> ArtifactNotFoundError | ArtifactGone:
    """Return the error for a reference that selects nothing, with near misses."""
    if uri.version is None and uri.alias is None:
        known = queries.versions(db, uri.identity, at)
        if known:
            return gone(store, known[0])
    return absent(db, uri, at)


def gone(store: Reader, version: Version) -> ArtifactGone:
    """Return the error for a version that was deleted or replaced, with the nearest live ones."""
    facts = [fact for fact in store.facts(version.uri) if fact.kind in ("deleted", "replaced")]
    payload = facts[-1].payload if facts else {}
    with store.reading(combine=False) as db:
        nearest = queries.live_near(db, version.name, version.number)
    successor = payload.get("by") if version.state is State.REPLACED else None
    if successor and successor not in nearest:
        nearest = (successor, *nearest)
    when = facts[-1].recorded if facts else version.recorded
    return ArtifactGone(
        str(version.uri), str(version.state), when=write_time(when),
        by=payload.get("run") or (None if successor else payload.get("by")),
        reason=payload.get("reason"), nearest=nearest,
    )  # fmt: skip


def check_digest(version: Version, wanted: str) -> None:
    """Raise ``Conflict`` when a version has another digest than a reference wants, or none yet."""
    if version.digest is None:
        raise Conflict(
            f"{version.uri} has no digest yet to compare with {wanted}; leave @{wanted} out, "
            f"or seal it. Try: lineage seal {version.uri}"
        )
    if not version.digest.startswith(wanted):
        raise Conflict(f"{version.uri} has digest {version.digest}, not {wanted}")
