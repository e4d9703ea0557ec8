"""What every later release must answer of a frozen store as the release answered that froze it."""

from __future__ import annotations

from typing import Any

from nemotron.lineage import ArtifactGone, Lineage, Node
from nemotron.lineage.audit import fsck

REFERENCES = ("model", "model:best", "model:v1", "model:v2", "model:v4", "tokens?sample=100", "old")


def answers(store: Lineage) -> dict[str, Any]:
    """Ask a store about everything it holds."""
    report = fsck(store)
    whole = store.lineage()
    return {
        "head": report.head,
        "damage": report.damage,
        "redacted": report.redacted,
        "resolved": {reference: _resolve(store, reference) for reference in REFERENCES},
        "versions": {
            artifact.name: [
                {
                    "uri": str(version.uri), "type": version.type, "state": str(version.state),
                    "path": str(version.location.path), "host": version.location.host,
                    "metadata": dict(version.metadata), "aliases": list(version.aliases),
                    "digest": version.digest, "fingerprint": version.fingerprint,
                    "run": version.run, "occurred": f"{version.occurred}", "late": version.late,
                    "commit": version.commit,
                    "origin": None if version.origin is None else dict(version.origin),
                }
                for version in store.log(artifact.name)
            ]
            for artifact in store.artifacts()
        },
        "runs": [
            {"id": run.id, "name": run.name, "status": str(run.status), "config": dict(run.config)}
            for run in store.runs()
        ],
        "moves": [[str(move.alias), move.was, move.version] for move in store.moves("model")],
        "pins": store.pins("job-7"),
        "facts": [fact.kind for fact in store.facts("model:v1")],
        "nodes": sorted([_name(node), node.kind, node.state] for node in whole.nodes()),
        "edges": sorted(
            [_name(edge.src), _name(edge.dst), edge.role, dict(edge.detail)]
            for edge in whole.edges()
        ),
        "tree": store.lineage("model:v2").tree(),
        "before": [node.uri for node in store.lineage("model:v2", at=9).ancestors()],
    }  # fmt: skip


def _name(node: Node) -> str:
    # a version that nobody's run produced hangs on a step that only the index numbers
    return "run:unknown" if node.uri.startswith("run:unknown-") else node.uri


def _resolve(store: Lineage, reference: str) -> str:
    try:
        return str(store.resolve(reference).uri)
    except ArtifactGone as error:
        return f"gone: {error.state}, nearest {error.nearest}"
