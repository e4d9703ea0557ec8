"""The operations by which artifacts are written."""

from __future__ import annotations

import json

from .operations import Call, Data, operation
from .shapes import an_artifact
from .world import DELETED


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
    return {"useArtifact": {"artifact": an_artifact(artifact)}}


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
        "result": {"artifact": an_artifact(artifact)},
        "updateArtifact": {"artifact": an_artifact(artifact)},
    }


@operation
def delete_artifact(call: Call) -> Data:
    artifact = call.artifact()
    artifact.state = DELETED
    return {"result": {"artifact": {"id": artifact.id}}}
