"""One function for each GraphQL operation that wandb sends: variables in, ``data`` out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .world import COMMITTED, DELETED, Artifact, Collection, Run, World

__all__ = ["OPERATIONS", "Call"]

Data = dict[str, Any]


@dataclass
class Call:
    """One question: the state to answer from, what was said, and where files go."""

    world: World
    said: Data
    query: str
    place: Callable[[str], str]

    @property
    def input(self) -> Data:
        """The variables of a mutation, whether they came in one piece or flat."""
        inner = self.said.get("input")
        return inner if isinstance(inner, dict) else self.said

    def artifact(self, key: str = "artifactID") -> Artifact:
        said = self.input
        found = self.world.artifacts.get(said.get(key) or said.get("id") or "")
        if found is None:
            raise ValueError(f"artifact {said.get(key)} not found")
        return found

    @property
    def project(self) -> tuple[str, str]:
        said = self.said
        entity = said.get("entity") or said.get("entityName") or self.world.default_entity
        return entity, said.get("project") or said.get("projectName") or ""

    def run(self, name: str) -> Run | None:
        return self.world.runs.get((*self.project, name))


Operation = Callable[[Call], Data]
OPERATIONS: dict[str, Operation] = {}


def operation(do: Operation) -> Operation:
    """Answer the operation that is called like the function, in CamelCase."""
    OPERATIONS["".join(part.capitalize() for part in do.__name__.split("_"))] = do
    return do


def also(*names: str) -> Callable[[Operation], Operation]:
    """Answer operations that other releases call otherwise."""

    def add(do: Operation) -> Operation:
        OPERATIONS.update(dict.fromkeys(names, do))
        return do

    return add


# ------------------------------------------------------------------------- shapes


def _project(entity: str, name: str) -> Data:
    team = {"id": f"entity-{entity}", "name": entity}
    return {"id": f"project-{entity}-{name}", "internalId": "1", "name": name, "entity": team}


def _page(nodes: Iterable[Data], **extra: Any) -> Data:
    edges = [{"node": node, "cursor": str(at), **extra} for at, node in enumerate(nodes)]
    end = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
    return {"totalCount": len(edges), "pageInfo": end, "edges": edges}


def _collection(place: Collection) -> Data:
    return {
        "__typename": "ArtifactSequence", "id": place.id, "name": place.name, "description": None,
        "createdAt": place.created, "updatedAt": place.created,
        "project": _project(place.entity, place.project), "type": {"name": place.type},
        "defaultArtifactType": {"name": place.type}, "tags": {"edges": []},
        "state": "READY", "artifactType": {"name": place.type},
    }  # fmt: skip


def _alias(artifact: Artifact, alias: str) -> Data:
    place = _collection(artifact.collection)
    return {
        "__typename": "ArtifactAlias", "id": f"{artifact.id}-{alias}", "alias": alias,
        "artifactCollection": place, "artifactCollectionName": artifact.collection.name,
    }  # fmt: skip


def _artifact(artifact: Artifact) -> Data:
    named = [*artifact.aliases, *([f"v{artifact.number}"] if artifact.number is not None else [])]
    size = sum(int(entry.get("size") or 0) for entry in artifact.entries.values())
    return {
        "__typename": "Artifact", "id": artifact.id, "versionIndex": artifact.number,
        "artifactSequence": _collection(artifact.collection),
        "artifactType": {"name": artifact.collection.type}, "description": artifact.description,
        "metadata": json.dumps(artifact.metadata), "ttlDurationSeconds": -2,
        "ttlIsInherited": True, "historyStep": None, "state": artifact.state, "size": size,
        "tags": [{"__typename": "Tag", "id": f"tag-{t}", "name": t} for t in artifact.tags],
        "digest": artifact.digest, "digestAlgorithm": "MANIFEST_MD5",
        "commitHash": artifact.digest, "fileCount": len(artifact.entries),
        "createdAt": artifact.created, "updatedAt": artifact.created,
        "aliases": [_alias(artifact, alias) for alias in named],
    }  # fmt: skip


def _run_info(run: Run) -> Data:
    return {
        "__typename": "Run", "id": run.id, "name": run.name,
        "project": _project(run.entity, run.project),
    }  # fmt: skip


def _run(run: Run) -> Data:
    told = run.told
    user = {"name": "me", "username": "me", "email": "me@example.com", "admin": False}
    return {
        **_run_info(run), "projectId": "1", "tags": run.tags, "displayName": run.display_name,
        "sweepName": None, "state": run.state, "config": told.get("config") or "{}",
        "group": told.get("groupName"), "jobType": told.get("jobType"),
        "commit": told.get("commit"), "readOnly": False, "createdAt": "2026-01-01T00:00:00Z",
        "heartbeatAt": "2026-01-01T00:00:00Z", "description": told.get("description") or "",
        "notes": told.get("notes"), "systemMetrics": "{}", "summaryMetrics": "{}",
        "historyLineCount": 0, "user": user, "historyKeys": None,
    }  # fmt: skip


def _bucket(run: Run) -> Data:
    return {
        "id": run.id, "name": run.name, "displayName": run.display_name,
        "description": run.told.get("description") or "", "config": run.told.get("config") or "{}",
        "sweepName": None, "historyLineCount": 0, "project": _project(run.entity, run.project),
    }  # fmt: skip


# ----------------------------------------------------------------- who is asking


@operation
def viewer(call: Call) -> Data:
    entity = call.world.default_entity
    teams = {"edges": [{"node": {"id": f"entity-{entity}", "name": entity}}]}
    me = {
        "id": "user-1", "entity": entity, "username": "me", "email": "me@example.com",
        "name": "me", "flags": "{}", "teams": teams, "admin": False,
        "defaultEntity": {"id": f"entity-{entity}", "name": entity},
        "apiKeys": {"edges": []},
    }  # fmt: skip
    return {"viewer": me}


also("GetDefaultEntity", "GetViewer", "anonymous")(viewer)


@operation
def organization_core_weave_organization_i_d(call: Call) -> Data:
    del call
    return {"entity": {"organization": None}}


also("OrganizationCoreWeaveOrganizationID")(organization_core_weave_organization_i_d)


@operation
def server_features_query(call: Call) -> Data:
    del call
    return {"serverInfo": {"features": []}}


@operation
def server_info(call: Call) -> Data:
    del call
    limits = {"maxCliVersion": "9.9.9"}
    return {"serverInfo": {"cliVersionInfo": {"max_cli_version": "9.9.9"}, **limits}}


@also("ProbeServerCapabilities", "TypeInfo", "InputFields")
def introspection(call: Call) -> Data:
    del call
    return {"QueryType": {"fields": []}, "MutationType": {"fields": []}, "TypeInfo": None,
            "__type": None, "ServerInfoType": {"fields": []}}  # fmt: skip


# ------------------------------------------------------------------------- runs


@operation
def upsert_bucket(call: Call) -> Data:
    run, is_new = call.world.upsert_run(call.said)
    return {"upsertBucket": {"inserted": is_new, "bucket": _bucket(run)}}


@operation
def run_resume_status(call: Call) -> Data:
    entity, project = call.project
    run = call.run(call.said["name"])
    bucket = None
    if run is not None:
        bucket = {
            **_bucket(run), "summaryMetrics": json.dumps(run.summary), "logLineCount": 0, "eventsLineCount": 0,
            "historyTail": "[]", "eventsTail": "[]", "tags": run.tags,
            "notes": run.told.get("notes"), "wandbConfig": '{"t": 1}',
        }  # fmt: skip
    return {"model": {**_project(entity, project), "bucket": bucket}}


@operation
def create_run_files(call: Call) -> Data:
    said = call.said
    run = call.run(said.get("run") or said.get("runName") or "")
    if run is not None:
        run.files |= set(said.get("files", ()))
    named = said.get("run") or "run"
    files = [
        {"name": each, "uploadUrl": call.place(f"{named}/{each}")} for each in said.get("files", ())
    ]
    made = {"runID": run.id if run else "run-0", "uploadHeaders": [], "files": files}
    return {"createRunFiles": made}


@also("Run", "LightweightRun")
def one_run(call: Call) -> Data:
    run = call.run(call.said["name"])
    return {"project": {**_project(*call.project), "run": _run(run) if run else None}}


@operation
def runs(call: Call) -> Data:
    nodes = [_run(r) for r in call.world.runs.values() if (r.entity, r.project) == call.project]
    found = {"runs": _page(nodes), "runCount": len(nodes), "readOnly": False, "internalId": "1"}
    return {"project": {**_project(*call.project), **found}}


@operation
def run_state(call: Call) -> Data:
    run = call.run(call.said.get("name") or call.said.get("run") or "")
    return {"project": {"run": {"state": run.state if run else "running"}}}


@also("RunStoppedStatus")
def run_stopped_status(call: Call) -> Data:
    del call
    return {"project": {"run": {"stopped": False}}}


# -------------------------------------------------------------- artifacts, writing


@operation
def artifact_type(call: Call) -> Data:
    found = call.world.find(*call.project, call.said["name"])
    kind = {"artifactType": {"name": found.collection.type}} if found else None
    return {"project": {"artifact": kind}}


@operation
def create_artifact(call: Call) -> Data:
    said = dict(call.input)
    names = said.pop("artifactCollectionNames", None)
    if names:
        said["artifactCollectionName"] = names[0]
    made = call.world.create_artifact(said)
    latest = call.world.artifacts.get(made.collection.aliases.get("latest") or "")
    sequence = {
        "id": made.collection.id,
        "latestArtifact": {"id": latest.id, "versionIndex": latest.number} if latest else None,
    }
    return {
        "createArtifact": {
            "artifact": {"id": made.id, "state": made.state, "artifactSequence": sequence}
        }
    }


@operation
def create_artifact_manifest(call: Call) -> Data:
    artifact = call.artifact()
    place = f"{artifact.id}/wandb_manifest.json"
    file = {"id": f"file-{artifact.id}", "uploadUrl": call.place(place), "uploadHeaders": []}
    file |= {"name": "wandb_manifest.json", "displayName": "wandb_manifest.json"}
    return {
        "createArtifactManifest": {
            "artifactManifest": {"id": f"manifest-{artifact.id}", "file": file}
        }
    }


@operation
def create_artifact_files(call: Call) -> Data:
    files = call.said.get("artifactFiles") or call.input.get("artifactFiles") or []
    nodes = [
        {
            "id": f"file-{each['artifactID']}-{each['name']}", "name": each["name"],
            "displayName": each["name"], "storagePath": f"{each['artifactID']}/{each['name']}",
            "uploadUrl": call.place(f"{each['artifactID']}/{each['name']}"), "uploadHeaders": [],
            "uploadMultipartUrls": None, "artifact": {"id": each["artifactID"]},
        }
        for each in files
    ]  # fmt: skip
    return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}


@operation
def commit_artifact(call: Call) -> Data:
    artifact = call.artifact()
    manifest = f"/upload/{artifact.id}/wandb_manifest.json"
    artifact.manifest = json.loads(call.world.blobs.get(manifest, b"{}"))
    call.world.commit(artifact)
    return {"commitArtifact": {"artifact": {"id": artifact.id, "digest": artifact.digest}}}


@operation
def use_artifact(call: Call) -> Data:
    said = call.input
    artifact = call.artifact()
    entity = said.get("entityName") or call.world.default_entity
    run = call.world.runs.get((entity, said["projectName"], said["runName"]))
    if run is None:
        raise ValueError(f"run {said['runName']} not found")
    call.world.use(run, artifact)
    return {"useArtifact": {"artifact": _artifact(artifact)}}


@operation
def add_aliases(call: Call) -> Data:
    artifact = call.artifact()
    for each in call.input["aliases"]:
        artifact.collection.aliases[each["alias"]] = artifact.id
    return {"result": {"success": True}, "addAliases": {"success": True}}


@operation
def delete_aliases(call: Call) -> Data:
    artifact = call.artifact()
    for each in call.input["aliases"]:
        if artifact.collection.aliases.get(each["alias"]) == artifact.id:
            del artifact.collection.aliases[each["alias"]]
    return {"result": {"success": True}, "deleteAliases": {"success": True}}


@operation
def update_artifact(call: Call) -> Data:
    artifact, said = call.artifact(), call.input
    if said.get("metadata") is not None:
        artifact.metadata = json.loads(said["metadata"])
    if said.get("description") is not None:
        artifact.description = said["description"]
    added = [each["tagName"] for each in said.get("tagsToAdd") or []]
    gone = {each["tagName"] for each in said.get("tagsToDelete") or []}
    artifact.tags = [t for t in dict.fromkeys([*artifact.tags, *added]) if t not in gone]
    return {
        "result": {"artifact": _artifact(artifact)},
        "updateArtifact": {"artifact": _artifact(artifact)},
    }


@operation
def delete_artifact(call: Call) -> Data:
    artifact = call.artifact()
    artifact.state = DELETED
    return {"result": {"artifact": {"id": artifact.id}}}


# -------------------------------------------------------------- artifacts, reading


@also("ArtifactByID", "ArtifactById")
def artifact_by_id(call: Call) -> Data:
    found = call.world.artifacts.get(call.said["id"])
    return {"artifact": _artifact(found) if found else None}


@also("ArtifactMembershipByName", "ArtifactByName", "ProjectArtifact")
def artifact_by_name(call: Call) -> Data:
    found = call.world.find(*call.project, call.said["name"])
    if call.project not in call.world.projects:
        return {"project": None}
    membership = None
    if found is not None:
        membership = {
            "__typename": "ArtifactCollectionMembership", "id": f"membership-{found.id}",
            "versionIndex": found.number, "createdAt": found.created,
            "aliases": _artifact(found)["aliases"],
            "artifactCollection": _collection(found.collection), "artifact": _artifact(found),
        }  # fmt: skip
    known = _artifact(found) if found else None
    return {"project": {"artifactCollectionMembership": membership, "artifact": known}}


@operation
def artifact_created_by(call: Call) -> Data:
    run = call.world.producer(call.artifact("id"))
    return {"artifact": {"createdBy": _run_info(run) if run else None}}


@operation
def artifact_used_by(call: Call) -> Data:
    users = [_run_info(run) for run in call.world.users(call.artifact("id"))]
    return {"artifact": {"usedBy": {"edges": [{"node": run} for run in users]}}}


def _of_run(call: Call, kind: str) -> Data:
    run = call.run(call.said.get("run") or call.said.get("runName") or "")
    ids = [] if run is None else run.used if kind == "input" else run.logged
    found = [call.world.artifacts[each] for each in ids]
    page = _page(_artifact(each) for each in found)
    named = {"artifacts": page, f"{kind}Artifacts": page}
    return {"project": {**_project(*call.project), "run": named if run else None}}


@operation
def run_input_artifacts(call: Call) -> Data:
    return _of_run(call, "input")


@operation
def run_output_artifacts(call: Call) -> Data:
    return _of_run(call, "output")


def _collections(call: Call) -> list[Collection]:
    return [
        each
        for each in call.world.collections.values()
        if (each.entity, each.project) == call.project
        and each.type == call.said.get("type", each.type)
    ]


@operation
def project_artifact_types(call: Call) -> Data:
    kinds = dict.fromkeys(each.type for each in _collections(call))
    nodes = [
        {
            "__typename": "ArtifactType", "id": f"type-{kind}", "name": kind, "description": None,
            "createdAt": "2026-01-01T00:00:00Z",
        }
        for kind in kinds
    ]  # fmt: skip
    return {"project": {**_project(*call.project), "artifactTypes": _page(nodes)}}


@operation
def project_artifact_type(call: Call) -> Data:
    kind = {
        "__typename": "ArtifactType", "id": f"type-{call.said['type']}",
        "name": call.said["type"], "description": None, "createdAt": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return {"project": {"artifactType": kind if _collections(call) else None}}


@also("ArtifactTypeArtifactCollections", "ProjectArtifactCollections")
def artifact_collections(call: Call) -> Data:
    page = _page(_collection(each) for each in _collections(call))
    kind = {"artifactCollections": page, "artifactSequences": page}
    return {"project": {**_project(*call.project), "artifactType": kind, **kind}}


def _named(call: Call) -> Collection | None:
    name = call.said.get("collection") or call.said.get("name")
    return call.world.collections.get((*call.project, name or ""))


@operation
def project_artifact_collection(call: Call) -> Data:
    place = _named(call)
    found = _collection(place) if place else None
    kind = {"artifactCollection": found, "artifactSequence": found}
    return {"project": {**_project(*call.project), "artifactType": kind, **kind}}


@operation
def project_artifacts(call: Call) -> Data:
    place = _named(call)
    found = [a for a in call.world.of(place) if a.state == COMMITTED] if place else []
    page = _page(_artifact(each) for each in sorted(found, key=lambda a: -(a.number or 0)))
    for edge, each in zip(
        page["edges"], sorted(found, key=lambda a: -(a.number or 0)), strict=True
    ):
        edge["version"] = f"v{each.number}"
    inner = {"__typename": "ArtifactSequence", "artifacts": page}
    return {"project": {"artifactType": {"artifactCollection": inner if place else None}}}


@operation
def fetch_artifact_manifest(call: Call) -> Data:
    artifact = call.artifact("id")
    file = {"directUrl": call.place(f"{artifact.id}/wandb_manifest.json")}
    return {"artifact": {"currentManifest": {"file": file}}}


@also("ArtifactManifest", "ArtifactCurrentManifest")
def artifact_manifest(call: Call) -> Data:
    return fetch_artifact_manifest(call)


@operation
def get_artifact_membership_file_urls(call: Call) -> Data:
    found = call.world.find(*call.project, f"{call.said['collection']}:{call.said['alias']}")
    entries = found.entries if found else {}
    nodes = [
        {"__typename": "File", "name": name, "directUrl": call.place(f"{found.id}/{name}")}
        for name, entry in entries.items()
        if found is not None and not entry.get("ref")
    ]
    inner = {"__typename": "ArtifactSequence", "artifactMembership": {"files": _page(nodes)}}
    return {"project": {"artifactCollection": inner}}
