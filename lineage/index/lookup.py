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
WHERE a.name=:name AND v.commit_number NOT NULL AND v.number=
"""
BY_NUMBER = LOOKUP + ":number"
BY_ALIAS = LOOKUP + "(SELECT l.number FROM alias l WHERE l.artifact=a.id AND l.alias=:alias)"
LATEST = LOOKUP + "a.latest"
BY_ALIAS_AT = (
    LOOKUP
    + "(SELECT m.number FROM alias_move m WHERE m.artifact=a.id AND m.alias=:alias"
    + " AND m.commit_number<=:at ORDER BY m.revision DESC LIMIT 1)"
)
LATEST_AT = (
    LOOKUP
    + "(SELECT max(w.number) FROM version w WHERE w.artifact=a.id AND w.late=0"
    + " AND w.commit_number<=:at AND (w.gone IS NULL OR w.gone>:at))"
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
        statement = BY_NUMBER
    elif at is not None:
        statement = LATEST_AT if alias is None else BY_ALIAS_AT
    else:
        statement = LATEST if alias is None else BY_ALIAS
    values = {"name": name, "number": version, "alias": alias, "at": at}
    row: tuple[Any, ...] | None = db.execute(statement, values).fetchone()
    return row
