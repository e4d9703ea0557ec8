"""What a W&B server knows: projects with runs, collections of artifacts, and the edges between.

Where the real backend was never seen, this is what it is taken to do:

* A commit gives an artifact its number; until then it is PENDING and has none.
* Its aliases are there from the creation on (``eager_aliases``) or from the commit.
* A committed artifact of the same digest in the same collection is the same version. A pending
  one is not.
* ``useArtifact`` for the same run and artifact twice is one edge.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

__all__ = ["Artifact", "Collection", "Run", "World"]

PENDING, COMMITTED, DELETED = "PENDING", "COMMITTED", "DELETED"
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Run:
    """One run of a project, by the name that the SDK calls its id."""

    id: str
    entity: str
    project: str
    name: str
    told: dict[str, Any] = field(default_factory=dict)
    state: str = "running"
    exit_code: int | None = None
    used: list[str] = field(default_factory=list)  # ids of artifacts, in order
    logged: list[str] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    summary: dict[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """The settings as a user wrote them."""
        values = json.loads(self.told.get("config") or "{}")
        return {key: value["value"] for key, value in values.items() if key != "_wandb"}

    @property
    def tags(self) -> list[str]:
        return list(self.told.get("tags") or [])

    @property
    def display_name(self) -> str:
        return str(self.told.get("displayName") or f"run-{self.name}")


@dataclass
class Collection:
    """All versions of one name."""

    id: str
    entity: str
    project: str
    name: str
    type: str
    created: str
    versions: int = 0
    aliases: dict[str, str] = field(default_factory=dict)  # alias -> id of an artifact


@dataclass
class Artifact:
    """One version; without a number while it is pending."""

    id: str
    collection: Collection
    digest: str
    created: str
    run: str | None  # name of the producer
    metadata: dict[str, Any] = field(default_factory=dict)
    description: str | None = None
    state: str = PENDING
    number: int | None = None
    wanted: list[str] = field(default_factory=list)  # aliases to set at the commit
    tags: list[str] = field(default_factory=list)
    manifest: dict[str, Any] | None = None
    use_after_commit: bool = False

    @property
    def path(self) -> str:
        place = self.collection
        return f"{place.entity}/{place.project}/{place.name}:v{self.number}"

    @property
    def aliases(self) -> list[str]:
        return sorted(a for a, holder in self.collection.aliases.items() if holder == self.id)

    @property
    def entries(self) -> dict[str, dict[str, Any]]:
        """The files and references of its manifest, by their path inside."""
        return dict((self.manifest or {}).get("contents", {}))


class World:
    """The state of one server. Hold ``lock`` while reading more than one thing of it."""

    def __init__(self, *, eager_aliases: bool = True) -> None:
        self.lock = threading.RLock()
        self.eager_aliases = eager_aliases
        self.default_entity = "default-team"
        self.runs: dict[tuple[str, str, str], Run] = {}
        self.projects: set[tuple[str, str]] = set()
        self.collections: dict[tuple[str, str, str], Collection] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.blobs: dict[str, bytes] = {}  # what was uploaded, by its place
        self._ids = itertools.count(1)

    # ------------------------------------------------------------------ for tests

    def run(self, path: str) -> Run:
        """Return a run by ``entity/project/id``."""
        entity, project, name = path.split("/")
        return self.runs[entity, project, name]

    def versions(self, path: str | None = None) -> list[Artifact]:
        """Return the committed artifacts of ``entity/project/name``, or all, in order."""
        with self.lock:
            return [
                each
                for each in self.artifacts.values()
                if each.state == COMMITTED and (path is None or each.path.startswith(f"{path}:"))
            ]

    def artifact(self, path: str) -> Artifact:
        """Return a committed artifact by ``entity/project/name:alias``."""
        where, _, alias = path.rpartition(":")
        entity, project, name = where.split("/")
        found = self.find(entity, project, f"{name}:{alias}")
        assert found is not None, path
        return found

    def edges(self) -> set[tuple[str, str]]:
        """Return all edges: (artifact, run that used it) and (run, artifact that it logged)."""
        with self.lock:
            found = set()
            for run in self.runs.values():
                found |= {(self.artifacts[each].path, run.name) for each in run.used}
            for each in self.versions():
                if each.run is not None:
                    found.add((each.run, each.path))
            return found

    def forget(self, path: str) -> None:
        """Lose one artifact, as a server does that was restored from a backup."""
        with self.lock:
            lost = self.artifact(path)
            del self.artifacts[lost.id]
            holders = lost.collection.aliases
            for alias in [a for a, holder in holders.items() if holder == lost.id]:
                del holders[alias]
            for run in self.runs.values():
                run.used = [each for each in run.used if each != lost.id]
                run.logged = [each for each in run.logged if each != lost.id]

    # ------------------------------------------------------------------ for operations

    def new_id(self, kind: str) -> str:
        return f"{kind}-{next(self._ids)}"

    def now(self) -> str:
        """Return a time that only grows."""
        moment = _BEGAN + timedelta(seconds=next(self._ids))
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

    def upsert_run(self, said: dict[str, Any]) -> tuple[Run, bool]:
        """Begin a run, or go on with it."""
        entity = said.get("entity") or self.default_entity
        project, name = said.get("project") or "uncategorized", said.get("name") or ""
        by_id = next((r for r in self.runs.values() if r.id == said.get("id")), None)
        run = by_id or self.runs.get((entity, project, name))
        is_new = run is None
        if run is None:
            self.projects.add((entity, project))
            run = Run(self.new_id("run"), entity, project, name)
            self.runs[entity, project, name] = run
        run.told |= {key: value for key, value in said.items() if value is not None}
        return run, is_new

    def create_artifact(self, said: dict[str, Any]) -> Artifact:
        """Begin an artifact, or return the committed one of the same content."""
        entity = said.get("entityName") or self.default_entity
        key = (entity, said["projectName"], said["artifactCollectionName"])
        place = self.collections.get(key)
        if place is None:
            place = Collection(
                self.new_id("collection"), *key, said["artifactTypeName"], self.now()
            )
            self.collections[key] = place
        if place.type != said["artifactTypeName"]:
            raise ValueError(f"{place.name} is of type {place.type}")
        aliases = [each["alias"] for each in said.get("aliases") or []]
        same = next(
            (
                each
                for each in self.artifacts.values()
                if each.collection is place
                and each.digest == said["digest"]
                and each.state == COMMITTED
            ),
            None,
        )
        if same is not None:
            self._name(same, aliases)
            self._log(same, said.get("runName"), entity, said["projectName"])
            return same
        metadata = json.loads(said.get("metadata") or "{}")
        made = Artifact(
            self.new_id("artifact"), place, said["digest"], self.now(), said.get("runName"),
            metadata, said.get("description"), wanted=aliases,
            tags=[each["tagName"] for each in said.get("tags") or []],
        )  # fmt: skip
        self.artifacts[made.id] = made
        self._log(made, made.run, entity, said["projectName"])
        if self.eager_aliases:
            self._name(made, aliases)
        return made

    def _log(self, artifact: Artifact, run: str | None, entity: str, project: str) -> None:
        known = self.runs.get((entity, project, run or ""))
        if known is not None and artifact.id not in known.logged:
            known.logged.append(artifact.id)

    def commit(self, artifact: Artifact) -> None:
        """Give a pending artifact its number."""
        if artifact.state == PENDING:
            artifact.state, artifact.number = COMMITTED, artifact.collection.versions
            artifact.collection.versions += 1
            self._name(artifact, artifact.wanted)

    def _name(self, artifact: Artifact, aliases: list[str]) -> None:
        for alias in aliases:
            artifact.collection.aliases[alias] = artifact.id

    def find(self, entity: str | None, project: str, name: str) -> Artifact | None:
        """Return what ``name:alias`` means, also when it is pending."""
        called, _, alias = name.partition(":")
        place = self.collections.get((entity or self.default_entity, project, called))
        if place is None:
            return None
        if alias.startswith("v") and alias[1:].isdigit():
            number = int(alias[1:])
            return next((a for a in self.of(place) if a.number == number), None)
        holder = place.aliases.get(alias or "latest")
        return self.artifacts.get(holder or "")

    def of(self, place: Collection) -> Iterator[Artifact]:
        """Yield the artifacts of a collection that were not deleted."""
        for each in list(self.artifacts.values()):
            if each.collection is place and each.state != DELETED:
                yield each

    def use(self, run: Run, artifact: Artifact) -> None:
        """Make an artifact an input of a run."""
        if artifact.id not in run.used:
            run.used.append(artifact.id)

    def users(self, artifact: Artifact) -> list[Run]:
        return [run for run in self.runs.values() if artifact.id in run.used]

    def producer(self, artifact: Artifact) -> Run | None:
        place = artifact.collection
        return self.runs.get((place.entity, place.project, artifact.run or ""))
