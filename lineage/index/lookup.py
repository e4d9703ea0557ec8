"""Finds the row of one version: the question that ``lineage resolve`` must answer at once.

Only this module, ``grammar`` and sqlite3 are loaded for it.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:  # as typing's, which costs as much to import as the whole answer
    import sqlite3
    from typing import Any

LOOKUP = """
SELECT a.name, v.number, v.state, v.path, v.host, v.external, v.type, r.uid, v.fingerprint,
    v.digest, v.metadata, v.non_finite, v.origin, v.occurred, v.recorded, v.commit_number, v.late,
    v.id, v.gone, (SELECT group_concat(alias, ' ') FROM (SELECT l.alias FROM alias l
        WHERE l.artifact=a.id AND l.number=v.number ORDER BY l.alias))
FROM artifact a JOIN version v ON v.artifact=a.id LEFT JOIN run r ON r.id=v.run
WHERE a.name=?1 AND v.commit_number NOT NULL AND v.number=
"""
BY_NUMBER = LOOKUP + "?2"
BY_ALIAS = LOOKUP + "(SELECT l.number FROM alias l WHERE l.artifact=a.id AND l.alias=?2)"
LATEST = LOOKUP + "a.latest"
BY_ALIAS_AT = (
    LOOKUP
    + "(SELECT m.number FROM alias_move m WHERE m.artifact=a.id AND m.alias=?2"
    + " AND m.commit_number<=?3 ORDER BY m.revision DESC LIMIT 1)"
)
LATEST_AT = (
    LOOKUP
    + "(SELECT max(w.number) FROM version w WHERE w.artifact=a.id AND w.late=0"
    + " AND w.commit_number<=?3 AND (w.gone IS NULL OR w.gone>?3))"
)
GONE = ("deleted", "replaced")


def find(
    db: "sqlite3.Connection",
    name: str,
    version: int | None,
    alias: str | None,
    at: int | None = None,
) -> "tuple[Any, ...] | None":
    """Return the row that a reference selects, or None.

    Args:
        db: an open connection to the index.
        name: identity of the artifact.
        version: number, or None.
        alias: alias, or None for the latest.
        at: as of this commit number, or None for now.
    """
    if version is not None:
        cursor = db.execute(BY_NUMBER, (name, version))
    elif at is not None:
        cursor = db.execute(LATEST_AT if alias is None else BY_ALIAS_AT, (name, alias, at))
    elif alias is None:
        cursor = db.execute(LATEST, (name,))
    else:
        cursor = db.execute(BY_ALIAS, (name, alias))
    row: tuple[Any, ...] | None = cursor.fetchone()
    return row
