"""The operations by which artifacts are read."""

from __future__ import annotations

from .operations import Call, Data, also, operation
from .shapes import a_collection, a_page, a_project, an_artifact, run_info
from .world import COMMITTED, Collection


@also("ArtifactByID", "ArtifactById")
def artifact_by_id(call: Call) -> Data:
    found = call.world.artifacts.get(call.said["id"])
    return {"artifact": an_artifact(found) if found else None}


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
            "aliases": an_artifact(found)["aliases"],
            "artifactCollection": a_collection(found.collection), "artifact": an_artifact(found),
        }  # fmt: skip
    known = an_artifact(found) if found else None
    return {"project": {"artifactCollectionMembership": membership, "artifact": known}}


@operation
def artifact_created_by(call: Call) -> Data:
    run = call.world.producer(call.artifact("id"))
    return {"artifact": {"createdBy": run_info(run) if run else None}}


@operation
def artifact_used_by(call: Call) -> Data:
    users = [run_info(run) for run in call.world.users(call.artifact("id"))]
    return {"artifact": {"usedBy": {"edges": [{"node": run} for run in users]}}}


def _of_run(call: Call, kind: str) -> Data:
    run = call.run(call.said.get("run") or call.said.get("runName") or "")
    ids = [] if run is None else run.used if kind == "input" else run.logged
    found = [call.world.artifacts[each] for each in ids]
    page = a_page(an_artifact(each) for each in found)
    named = {"artifacts": page, f"{kind}Artifacts": page}
    return {"project": {**a_project(*call.project), "run": named if run else None}}


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
    return {"project": {**a_project(*call.project), "artifactTypes": a_page(nodes)}}


@operation
def project_artifact_type(call: Call) -> Data:
    kind = {
        "__typename": "ArtifactType", "id": f"type-{call.said['type']}",
        "name": call.said["type"], "description": None, "createdAt": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return {"project": {"artifactType": kind if _collections(call) else None}}


@also("ArtifactTypeArtifactCollections", "ProjectArtifactCollections")
def artifact_collections(call: Call) -> Data:
    page = a_page(a_collection(each) for each in _collections(call))
    kind = {"artifactCollections": page, "artifactSequences": page}
    return {"project": {**a_project(*call.project), "artifactType": kind, **kind}}


def _named(call: Call) -> Collection | None:
    name = call.said.get("collection") or call.said.get("name")
    return call.world.collections.get((*call.project, name or ""))


@operation
def project_artifact_collection(call: Call) -> Data:
    place = _named(call)
    found = a_collection(place) if place else None
    kind = {"artifactCollection": found, "artifactSequence": found}
    return {"project": {**a_project(*call.project), "artifactType": kind, **kind}}


@operation
def project_artifacts(call: Call) -> Data:
    place = _named(call)
    found = [a for a in call.world.of(place) if a.state == COMMITTED] if place else []
    page = a_page(an_artifact(each) for each in sorted(found, key=lambda a: -(a.number or 0)))
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
    inner = {"__typename": "ArtifactSequence", "artifactMembership": {"files": a_page(nodes)}}
    return {"project": {"artifactCollection": inner}}
