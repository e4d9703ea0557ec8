"""The little state that decides: name counters, alias revisions, what lies where, who was read.

It follows from the journal alone. The sqlite journal keeps it in its own file, inside the same
transaction as the commit; every other journal keeps it in a cache that catches up. Its form is
frozen: releases that differ in everything else agree on these tables.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ..commits import Mark
from ..model import Location, State, VersionId
from .taking import LEDGER_SCHEMA, LEDGER_TABLES, LedgerTables, place_key

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ["LEDGER_SCHEMA", "ArtifactState", "Conditions", "Ledger", "Occupant"]


class ArtifactState(NamedTuple):
    """What decides about an artifact: its type, next number and newest version so far."""

    id: int
    type: str
    next: int
    origin: str | None
    newest: str
    newest_writer: str


class Occupant(NamedTuple):
    """A live version that lies at a place."""

    version: VersionId
    run: str | None
    fingerprint: str | None
    digest: str | None


class Conditions(NamedTuple):
    """What every writer must know before it writes.

    Attributes:
        successor: the journal that goes on where this one ended.
        unknown: a critical kind of event that this release does not know.
        intakes: folders with records of runs that have not ended, or ended just now.
    """

    successor: str | None
    unknown: str | None
    intakes: tuple[str, ...]

    @property
    def obstacle(self) -> str:
        """Why records wait here that nobody takes in; empty when the next reader does."""
        if self.successor is not None:
            return f"the store ended and goes on as journal {self.successor}"
        return "needs a newer release" if self.unknown is not None else ""


class Ledger(LedgerTables):
    """The deciding state on one SQLite connection; the caller owns the transaction."""

    def mark(self, writer: str) -> Mark:
        """Return how far a writer's records were taken."""
        row = self._one("SELECT sequence, offset FROM ledger_writer WHERE id=?", writer)
        return Mark(*row) if row else Mark(0, 0)

    def outcome(self, writer: str) -> VersionId | None:
        """Return the version that the writer's last record spoke of."""
        row = self._one("SELECT outcome FROM ledger_writer WHERE id=?", writer)
        return VersionId.read(row[0]) if row and row[0] else None

    def artifact(self, name: str) -> ArtifactState | None:
        """Return the state of an artifact, or None when the name is new."""
        row = self._one(
            "SELECT id, type, next, origin, newest, newest_writer FROM ledger_artifact"
            " WHERE name=?",
            name,
        )
        return ArtifactState(*row) if row else None

    def state(self, version: VersionId) -> State | None:
        """Return what became of a version, or None when it never was."""
        row = self._version("state", version)
        return State(row[0]) if row else None

    def absent(self, versions: Sequence[VersionId]) -> VersionId | None:
        """Return the first of some versions that never was, or None."""
        if not versions:
            return None
        which = " OR ".join(["a.name=? AND v.number=?"] * len(versions))
        found = self._db.execute(
            "SELECT a.name, v.number FROM ledger_artifact a JOIN ledger_version v"
            f" ON v.artifact=a.id WHERE {which}",
            [value for version in versions for value in version],
        ).fetchall()
        return next((version for version in versions if version not in found), None)

    def digest(self, version: VersionId) -> str | None:
        """Return the digest that a version was sealed with, or None."""
        row = self._version("digest", version)
        return row[0] if row else None

    def hold(self, version: VersionId) -> str | None:
        """Return the reason why a version is held, or None when it is not."""
        row = self._version("held", version)
        return row[0] if row else None

    def imported(self, version: VersionId) -> str | None:
        """Return the origin of an imported version as JSON text, or None."""
        row = self._version("origin", version)
        return row[0] if row else None

    def at(self, location: Location) -> list[Occupant]:
        """Return the versions that lie at a place, oldest first."""
        return self._occupants(place_key(location))

    def beside(self, version: VersionId) -> list[Occupant]:
        """Return the other versions that lie where a version lies, oldest first."""
        row = self._version("place", version)
        found = self._occupants(row[0]) if row and row[0] else []
        return [each for each in found if each.version != version]

    def _occupants(self, place: bytes) -> list[Occupant]:
        rows = self._db.execute(
            "SELECT a.name, v.number, v.run, v.fingerprint, v.digest FROM ledger_version v"
            " JOIN ledger_artifact a ON a.id=v.artifact"
            " WHERE v.place=? AND v.state IN ('live', 'missing') ORDER BY a.id, v.number",
            (place,),
        )
        return [Occupant(VersionId(row[0], row[1]), *row[2:]) for row in rows]

    def within(self, location: Location) -> VersionId | None:
        """Return the newest live version that lies at a place, or at the nearest folder above."""
        path = location.path
        while path:
            occupants = self.at(replace(location, path=path))
            if occupants:
                return occupants[-1].version
            above = path.rpartition("/")[0]
            path = "" if above.endswith((":/", ":")) else above
        return None

    def orphans(self, location: Location, since: str) -> list[tuple[str, dict[str, Any]]]:
        """Return (kind, payload) of what was seen at a place before anyone knew a version there."""
        rows = self._db.execute(
            "SELECT kind, payload FROM ledger_orphan WHERE place=? AND occurred>=?"
            " ORDER BY occurred",
            (place_key(location), since),
        )
        return [(kind, json.loads(payload)) for kind, payload in rows]

    def alias(self, name: str, alias: str) -> tuple[int | None, int]:
        """Return (version number or None, revision); revision 0 means that it never was."""
        row = self._one(
            "SELECT l.number, l.revision FROM ledger_alias l"
            " JOIN ledger_artifact a ON a.id=l.artifact WHERE a.name=? AND l.alias=?",
            name,
            alias,
        )
        return (row[0], row[1]) if row else (None, 0)

    def once(self, key: str) -> VersionId | None:
        """Return the version that was published under an idempotency key."""
        row = self._one(
            "SELECT a.name, o.number FROM ledger_once o JOIN ledger_artifact a ON a.id=o.artifact"
            " WHERE o.key=?",
            key,
        )
        return VersionId(*row) if row else None

    def run(self, run: str) -> str | None:
        """Return ``running`` or how the run ended, or None when it is unknown."""
        row = self._one("SELECT status FROM ledger_run WHERE id=?", run)
        return row[0] if row else None

    def pins(self, job: str) -> dict[str, str] | None:
        """Return the pins of a job, or None when it has none yet."""
        row = self._one("SELECT pins FROM ledger_job WHERE id=?", job)
        return json.loads(row[0]) if row else None

    def conditions(self) -> Conditions:
        """Return what every writer must know before it writes."""
        successor = unknown = None
        intakes = set()
        for key, value in self._db.execute("SELECT key, value FROM ledger_state"):
            if key == "successor":
                successor = value
            elif key == "unknown":
                unknown = value
            else:
                intakes.add(value)
        return Conditions(successor, unknown, tuple(sorted(intakes)))

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return every table in order, for comparison with a replay."""
        return {
            table: sorted(self._db.execute(f"SELECT * FROM ledger_{table}").fetchall(), key=repr)
            for table in LEDGER_TABLES
        }

    def _version(self, column: str, version: VersionId) -> Any:  # a row
        return self._one(
            f"SELECT v.{column} FROM ledger_version v JOIN ledger_artifact a ON a.id=v.artifact"
            " WHERE a.name=? AND v.number=?",
            *version,
        )
