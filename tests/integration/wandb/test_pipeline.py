"""A pipeline with the documented kit: W&B ends with the same graph, node for node."""

from __future__ import annotations

import json

import pytest

from .conftest import Shell

PREP = """
from nemotron.kit import *
from pathlib import Path
init_wandb_if_configured(WandbConfig("p", "e", "prep"), job_type="data-prep")
class Raw(SplitJsonlDataArtifact):
    def get_input_uris(self): return ["hf://org/raw-text@main"]
Path("data").mkdir()
Path("data/manifest.json").write_text("{}")
Raw(path=Path("data/manifest.json"), train="t").save(name="raw/split?sample=10")
Path("tokens").mkdir()
SFTDataArtifact(path=Path("tokens"), pack_size=4096).save(name="sft-tokens")
finish_wandb()
"""
TRAIN = """
import sys
from nemotron.kit import *
from pathlib import Path
name, data, parent = sys.argv[1:]
init_wandb_if_configured(WandbConfig("p", "e", name), job_type="training")
SFTDataArtifact.from_uri(data)
if parent: ModelArtifact.from_uri(parent)
for step in (1, 2):
    path = Path(name) / f"iter_{step:07d}"
    path.mkdir(parents=True)
    (path / "w").write_text(f"{name} {step}")
    ModelArtifact(path=path, step=step, loss=2.5 - step).save(name=f"{name}-model")
store().alias(f"{name}-model:v1", "best")
finish_wandb()
"""
READ = """
import json, wandb
api = wandb.Api()
nodes, edges = {}, set()
for run in api.runs("e/p"):
    nodes[run.id] = [run.name, run.config.get("lineage_run")]
for kind in api.artifact_types("e/p"):
    for collection in kind.collections():
        for artifact in api.artifacts(kind.name, f"e/p/{collection.name}"):
            name = artifact.source_qualified_name
            ours = artifact.metadata["lineage"]
            nodes[name] = [ours.get("uri") or ours["source"], sorted(artifact.aliases)]
            producer = artifact.logged_by()
            if producer is not None: edges.add((producer.id, name))
            for user in artifact.used_by(): edges.add((name, user.id))
for run in api.runs("e/p"):
    for each in run.logged_artifacts(): assert (run.id, each.source_qualified_name) in edges
    for each in run.used_artifacts(): assert (each.source_qualified_name, run.id) in edges
print(json.dumps([nodes, sorted(edges)]))
"""


def test_three_stages_are_read_back_from_wandb_alone(shell: Shell) -> None:
    shell.python(PREP)
    shell.python(TRAIN, "sft", "sft-tokens:latest", "")
    shell.python(TRAIN, "rl", "art://sft-tokens", "sft-model:latest")
    nodes, edges = json.loads(shell.python(READ))
    called = {name: facts[0] for name, facts in nodes.items()}
    found = {(called[one], called[other]) for one, other in edges}
    wanted = set()
    with shell.open() as store:
        names = {run.id: run.name for run in store.runs()}
        assert set(names.values()) == {"prep", "sft", "rl"}
        for version in store.find(state=None):
            assert version.run is not None
            wanted.add((names[version.run], str(version.uri)))
            for used in store.inputs(version):
                target = str(getattr(used.target, "uri", used.target))
                wanted.add((target, names[version.run]))
            (receipt,) = store.receipts(version)
            assert called[receipt.name or ""] == str(version.uri)
        runs = {facts[1]: facts[0] for facts in nodes.values() if isinstance(facts[1], str)}
        assert runs == {f"run:{run}": name for run, name in names.items()}
    assert found == wanted
    assert len(called) == len(set(called.values())) == 3 + 2 + 4 + 1  # one source
    aliases = {facts[0]: facts[1] for facts in nodes.values() if isinstance(facts[1], list)}
    assert aliases["art://sft-model:v1"] == ["best", "lineage-v1"]
    assert aliases["art://sft-model:v2"] == ["latest", "lineage-v2"]
    shell.lineage("sync")
    assert not shell.server.unknown


OWN = """
from nemotron.kit import *
from pathlib import Path
init_wandb_if_configured(WandbConfig("p", "e", "prep"), job_type="data-prep")
class Own(Artifact):
    def get_wandb_files(self):
        return [*super().get_wandb_files(), (str(self.path / "config.yaml"), "config.yaml"),
                (str(self.path / "gone.txt"), "gone.txt"), (str(self.path / "big"), "big")]
    def get_wandb_references(self): return [("s3://bucket/tokens", "tokens")]
Path("own").mkdir()
Path("own/config.yaml").write_text("a: 1")
with open("own/big", "wb") as file: file.truncate(17 * 1024 * 1024)
Own(path=Path("own")).save(name="own")
finish_wandb()
import wandb
entries = wandb.Api().artifact("e/p/own:latest").manifest.entries
print(*(f"{name}={entry.ref}" for name, entry in sorted(entries.items())))
"""


def test_files_and_references_of_an_own_class_are_uploaded_and_referred_to(shell: Shell) -> None:
    *_, said = shell.python(OWN).splitlines()
    files = "config.yaml=None lineage.json=None metadata.json=None"
    assert said == f"{files} output=file://{shell.folder}/own tokens=s3://bucket/tokens"


@pytest.mark.parametrize("mirrors", ["", "wandb", "openlineage", "wandb,openlineage"])
def test_any_of_the_mirrors_may_be_on_at_once(shell: Shell, mirrors: str) -> None:
    with shell.open() as store, store.run("prep") as run:
        run.publish("tokens", path="tokens", type="dataset", external=True)
    events = shell.folder / "events"
    config = {"transport": {"type": "file", "log_file_path": str(events), "append": True}}
    (shell.folder / "openlineage.yml").write_text(json.dumps(config))
    said = shell.lineage("sync", LINEAGE_MIRRORS=mirrors)
    assert len(shell.server.world.versions("e/p/tokens")) == mirrors.count("wandb")
    told = events.read_text().splitlines() if events.exists() else []
    assert len(told) == 3 * mirrors.count("openlineage")
    assert ("openlineage: 3 delivered, 0 left" in said) == ("openlineage" in mirrors)
    again = shell.lineage("sync", LINEAGE_MIRRORS=mirrors)
    assert again.count(": 0 left, 0 refused") == 1 + mirrors.count("openlineage")
