"""Says what a reference that selects nothing may have meant instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ArtifactNotFoundError, ArtifactVersionNotFoundError
from . import queries

if TYPE_CHECKING:
    import sqlite3

    from ..uri import ArtifactURI

__all__ = ["absent"]


def absent(db: sqlite3.Connection, uri: ArtifactURI, at: int | None) -> ArtifactNotFoundError:
    """Return the error for a reference that selects nothing as of a commit, with near misses."""
    name = uri.identity
    known = queries.versions(db, name, at)
    if not known:
        if queries.versions(db, name):
            message = f"art://{name} did not exist yet at commit {at}. Try: lineage log {name}"
            return ArtifactNotFoundError(name, message)
        return ArtifactNotFoundError(name, near=queries.near_names(db, name))
    asked = f"art://{name}:{uri.selector}"
    if uri.alias is None:
        message = f"{asked} does not exist; newest is v{known[0].number}. Try: lineage log {name}"
        return ArtifactVersionNotFoundError(
            name, uri.selector if uri.version is None else uri.version, message
        )
    near = queries.near_selectors(db, name, uri.alias)
    hint = f"did you mean {near[0]}?" if near else f"newest is v{known[0].number}."
    message = f"{asked} does not exist; {hint} Try: lineage log {name}"
    return ArtifactVersionNotFoundError(name, uri.alias, message, near=near)
