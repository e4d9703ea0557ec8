"""The operations about who is asking, and about runs."""

from __future__ import annotations

import json

from .operations import Call, Data, also, operation
from .shapes import a_bucket, a_page, a_project, a_run


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
    return {"upsertBucket": {"inserted": is_new, "bucket": a_bucket(run)}}


@operation
def run_resume_status(call: Call) -> Data:
    entity, project = call.project
    run = call.run(call.said["name"])
    bucket = None
    if run is not None:
        bucket = {
            **a_bucket(run), "summaryMetrics": json.dumps(run.summary), "logLineCount": 0,
            "eventsLineCount": 0,
            "historyTail": "[]", "eventsTail": "[]", "tags": run.tags,
            "notes": run.told.get("notes"), "wandbConfig": '{"t": 1}',
        }  # fmt: skip
    return {"model": {**a_project(entity, project), "bucket": bucket}}


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
    return {"project": {**a_project(*call.project), "run": a_run(run) if run else None}}


@operation
def runs(call: Call) -> Data:
    nodes = [a_run(r) for r in call.world.runs.values() if (r.entity, r.project) == call.project]
    found = {"runs": a_page(nodes), "runCount": len(nodes), "readOnly": False, "internalId": "1"}
    return {"project": {**a_project(*call.project), **found}}


@operation
def run_state(call: Call) -> Data:
    run = call.run(call.said.get("name") or call.said.get("run") or "")
    return {"project": {"run": {"state": run.state if run else "running"}}}


@also("RunStoppedStatus")
def run_stopped_status(call: Call) -> Data:
    del call
    return {"project": {"run": {"stopped": False}}}
