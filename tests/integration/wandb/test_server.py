"""The server of these tests, checked by the SDK's own reading calls."""

from __future__ import annotations

import json
import threading

import pytest

from .conftest import Shell

SDK = """
import json, wandb
run = wandb.init(project="p", entity="e", name="first", config={"lr": 1}, tags=["a"])
made = wandb.Artifact("model", "model", metadata={"step": 1})
with made.new_file("lineage.json") as file: file.write("{}")
run.log_artifact(made, aliases=["best"])
made.wait()
"""


def test_sdk_reads_back_what_it_wrote(shell: Shell) -> None:
    seen = json.loads(shell.python(f"""{SDK}
drafted = wandb.Artifact("source", "source", metadata={{"uri": "hf://x"}})
with drafted.new_file("lineage.json") as file: file.write("[]")
run.use_artifact(drafted)
api = wandb.Api()
found = api.artifact("e/p/model:best")
found.aliases.append("better"); found.tags.append("deleted"); found.description = "gone"
found.metadata["step"] = 2
found.save()
run.finish()
api = wandb.Api()
again = api.artifact("e/p/model:v0")
source = api.artifact("e/p/source:latest")
there = api.run(f"e/p/{{run.id}}")
there.use_artifact(again)
print(json.dumps({{
    "aliases": again.aliases, "tags": again.tags, "description": again.description,
    "metadata": again.metadata, "state": str(again.state), "by": again.logged_by().id,
    "source by": source.logged_by(), "source used": [r.id for r in source.used_by()],
    "used": [a.source_qualified_name for a in there.used_artifacts()],
    "logged": [a.source_qualified_name for a in there.logged_artifacts()],
    "entries": list(again.manifest.entries), "run": [there.name, there.state, dict(there.config)],
    "kinds": {{k.name: [c.name for c in k.collections()] for k in api.artifact_types("e/p")}},
    "all": [a.source_qualified_name for a in api.artifacts("model", "e/p/model")],
    "runs": [r.id for r in api.runs("e/p")], "id": run.id,
}}))
"""))  # fmt: skip
    assert sorted(seen["aliases"]) == ["best", "better", "latest"]
    assert (seen["tags"], seen["description"], seen["metadata"]) == (
        ["deleted"],
        "gone",
        {"step": 2},
    )
    assert (seen["state"], seen["by"], seen["source by"]) == ("COMMITTED", seen["id"], None)
    assert seen["source used"] == seen["runs"] == [seen["id"]]
    assert seen["used"] == ["e/p/source:v0", "e/p/model:v0"]
    assert seen["logged"] == seen["all"] == ["e/p/model:v0"]
    assert seen["entries"] == ["lineage.json"]
    assert seen["run"] == ["first", "finished", {"lr": 1}]
    assert seen["kinds"] == {"model": ["model"], "source": ["source"]}
    assert not shell.server.unknown


def test_equal_content_is_the_same_version_and_other_content_is_not(shell: Shell) -> None:
    shell.python(f"""{SDK}
for text in ("{{}}", "[]"):
    again = wandb.Artifact("model", "model")
    with again.new_file("lineage.json") as file: file.write(text)
    run.log_artifact(again); again.wait()
run.finish()
""")
    assert [each.path for each in shell.server.world.versions()] == ["e/p/model:v0", "e/p/model:v1"]


def test_run_is_resumed_with_what_was_said_of_it(shell: Shell) -> None:
    shell.python("""
import wandb
run = wandb.init(project="p", entity="e", id="r1", config={"lr": 1}, notes="n", tags=["a"])
run.log({"loss": 1.0}); run.summary["best"] = 3
run.finish(exit_code=1)
""")
    run = shell.server.world.run("e/p/r1")
    before = (_of_the_user(run.summary), run.config, run.state)
    assert before == ({"loss": 1, "best": 3}, {"lr": 1}, "failed")
    shell.python("""
import wandb
settings = wandb.Settings(mode="shared", x_primary=False, x_update_finish_state=False)
run = wandb.init(project="p", entity="e", id="r1", resume="allow", settings=settings)
assert run.resumed and dict(run.config) == {"lr": 1}
run.finish()
""")
    assert (_of_the_user(run.summary), run.config, run.state) == before


def _of_the_user(summary: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in summary.items() if not key.startswith("_")}


@pytest.mark.parametrize("status", [403, 404])
def test_refusals_reach_the_sdk(shell: Shell, status: int) -> None:
    said = _with_fault(shell, status)
    assert str(status) in said or "Permission denied" in said  # the word of wandb 0.26


def _with_fault(shell: Shell, status: int) -> str:
    process = shell.start(f"""{SDK}
import pathlib, time
api = wandb.Api()
pathlib.Path("ready").touch()
while not pathlib.Path("go").exists(): time.sleep(0.02)
try: api.artifact("e/p/model:best")
except wandb.Error as error: print("refused:", error)
print(api.artifact("e/p/model:best").source_qualified_name)
run.finish()
""")

    def refuse() -> None:
        while not (shell.folder / "ready").exists() and process.poll() is None:
            threading.Event().wait(0.02)
        shell.server.faults.status("ArtifactMembershipByName", status, times=1)
        shell.server.faults.status("ArtifactByName", status, times=1)
        (shell.folder / "go").touch()

    threading.Thread(target=refuse).start()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "refused:" in out
    assert out.endswith("e/p/model:v0\n")
    return out
