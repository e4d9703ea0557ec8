"""How a project, an artifact and a run look in answers."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from .operations import Data
from .world import Artifact, Collection, Run


def a_project(entity: str, name: str) -> Data:
    team = {"id": f"entity-{entity}", "name": entity}
    return {"id": f"project-{entity}-{name}", "internalId": "1", "name": name, "entity": team}


def a_page(nodes: Iterable[Data], **extra: Any) -> Data:
    edges = [{"node": node, "cursor": str(at), **extra} for at, node in enumerate(nodes)]
    end = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
    return {"totalCount": len(edges), "pageInfo": end, "edges": edges}


def a_collection(place: Collection) -> Data:
    return {
        "__typename": "ArtifactSequence", "id": place.id, "name": place.name, "description": None,
        "createdAt": place.created, "updatedAt": place.created,
        "project": a_project(place.entity, place.project), "type": {"name": place.type},
        "defaultArtifactType": {"name": place.type}, "tags": {"edges": []},
        "state": "READY", "artifactType": {"name": place.type},
    }  # fmt: skip


def an_alias(artifact: Artifact, alias: str) -> Data:
    place = a_collection(artifact.collection)
    return {
        "__typename": "ArtifactAlias", "id": f"{artifact.id}-{alias}", "alias": alias,
        "artifactCollection": place, "artifactCollectionName": artifact.collection.name,
    }  # fmt: skip


def an_artifact(artifact: Artifact) -> Data:
    named = [*artifact.aliases, *([f"v{artifact.number}"] if artifact.number is not None else [])]
    size = sum(int(entry.get("size") or 0) for entry in artifact.entries.values())
    return {
        "__typename": "Artifact", "id": artifact.id, "versionIndex": artifact.number,
        "artifactSequence": a_collection(artifact.collection),
        "artifactType": {"name": artifact.collection.type}, "description": artifact.description,
        "metadata": json.dumps(artifact.metadata), "ttlDurationSeconds": -2,
        "ttlIsInherited": True, "historyStep": None, "state": artifact.state, "size": size,
        "tags": [{"__typename": "Tag", "id": f"tag-{t}", "name": t} for t in artifact.tags],
        "digest": artifact.digest, "digestAlgorithm": "MANIFEST_MD5",
        "commitHash": artifact.digest, "fileCount": len(artifact.entries),
        "createdAt": artifact.created, "updatedAt": artifact.created,
        "aliases": [an_alias(artifact, alias) for alias in named],
    }  # fmt: skip


def run_info(run: Run) -> Data:
    return {
        "__typename": "Run", "id": run.id, "name": run.name,
        "project": a_project(run.entity, run.project),
    }  # fmt: skip


def a_run(run: Run) -> Data:
    told = run.told
    user = {"name": "me", "username": "me", "email": "me@example.com", "admin": False}
    return {
        **run_info(run), "projectId": "1", "tags": run.tags, "displayName": run.display_name,
        "sweepName": None, "state": run.state, "config": told.get("config") or "{}",
        "group": told.get("groupName"), "jobType": told.get("jobType"),
        "commit": told.get("commit"), "readOnly": False, "createdAt": "2026-01-01T00:00:00Z",
        "heartbeatAt": "2026-01-01T00:00:00Z", "description": told.get("description") or "",
        "notes": told.get("notes"), "systemMetrics": "{}", "summaryMetrics": "{}",
        "historyLineCount": 0, "user": user, "historyKeys": None,
    }  # fmt: skip


def a_bucket(run: Run) -> Data:
    return {
        "id": run.id, "name": run.name, "displayName": run.display_name,
        "description": run.told.get("description") or "", "config": run.told.get("config") or "{}",
        "sweepName": None, "historyLineCount": 0, "project": a_project(run.entity, run.project),
    }  # fmt: skip
