"""The documented kit and the real wandb: runs, their settings, and the lineage run beside them."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from nemotron import kit

from .conftest import KEY, Shell

KIT = "import wandb\nfrom nemotron.kit import *\n"


def test_server_sees_what_was_configured(shell: Shell) -> None:
    name, url = shell.python(f"""{KIT}
config = WandbConfig("p", "e", "n", ("a", "b"), "about")
init_wandb_if_configured(config, job_type="training", tags=["b", "c"])
first = wandb.run
init_wandb_if_configured(WandbConfig(project="q"))
init_wandb_from_env()
assert wandb.run is first
print(first.id, first.url)
add_wandb_tags(["d", "a"])
add_run_tags(["f", "a"])
log_wandb_config(WandbConfig("told", notes="password=hunter2hunter2"))
finish_wandb(exit_code=3)
assert wandb.run is None
finish_run()
""", WANDB_PROJECT="r").split()  # fmt: skip
    (run,) = shell.server.world.runs.values()
    assert (run.name, run.project, run.entity, run.display_name) == (name, "p", "e", "n")
    assert (run.told["jobType"], run.told["notes"]) == ("training", "about")
    assert run.tags == list("abcdf")
    assert run.config["project"] == "told"
    assert run.config["notes"] == "password=[redacted]"
    assert url == f"{shell.server.url}/e/p/runs/{name}"
    assert (run.state, shell.server.exits) == ("failed", [3])
    asked = [name for name, _ in shell.server.asked]
    before = asked[: asked.index("UpsertBucket")]
    assert set(before) <= {  # nothing asks for the project: W&B makes it
        "Viewer", "ServerFeaturesQuery",
    }  # fmt: skip


def test_settings_may_have_names_that_are_no_text(shell: Shell) -> None:
    """A schedule by step, as JSON writes it; what is secret is removed all the same."""
    shell.python(f"""{KIT}
import dataclasses
@dataclasses.dataclass
class Settings:
    lr: dict = dataclasses.field(default_factory=lambda: {{0: 0.1, 100: {{"hf_token": "x"}}}})
init_wandb_from_env()
log_wandb_config(Settings())
finish_wandb()
""")
    (run,) = shell.server.world.runs.values()
    assert run.config["lr"] == {"0": 0.1, "100": {"hf_token": "[redacted]"}}


def test_run_of_wandb_is_finished_though_the_store_is_gone(shell: Shell) -> None:
    shell.python(f"""{KIT}
import os, pathlib
init_wandb_from_env()
os.rename("store", "away")
pathlib.Path("store").write_text("no folder")
finish_wandb(exit_code=3)
assert wandb.run is None
""", LINEAGE_STORE=f"file://{shell.folder}/store")  # fmt: skip
    (run,) = shell.server.world.runs.values()
    assert (run.state, shell.server.exits) == ("failed", [3])


def test_server_sees_the_environment_of_a_job(shell: Shell) -> None:
    environ = {"NAME": "n", "RUN_GROUP": "", "GROUP": "g", "TAGS": "a, b", "JOB_TYPE": "eval"}
    shell.python(
        f"{KIT} init_wandb_from_env(); init_wandb_from_env(); finish_wandb()".replace("\n ", "\n"),
        **{f"WANDB_{name}": value for name, value in environ.items() if value},
    )
    (run,) = shell.server.world.runs.values()
    assert (run.project, run.display_name, run.told["groupName"]) == ("p", "n", "g")
    assert (run.told["jobType"], run.tags, run.state) == ("eval", ["a", "b"], "finished")


def test_each_run_says_which_the_other_is(shell: Shell) -> None:
    shell.python(f"""{KIT}
init_wandb_if_configured(WandbConfig("p", "e", "sft"), job_type="training")
finish_wandb(1)
""")
    (run,) = shell.server.world.runs.values()
    with shell.open() as store:
        (ours,) = store.runs()
        (receipt,) = store.receipts(f"run:{ours.id}")
        assert (ours.name, ours.job_type, str(ours.status)) == ("sft", "training", "failed")
    assert run.config["lineage_run"] == f"run:{ours.id}"
    assert (receipt.name, receipt.url) == (
        f"e/p/{run.name}",
        f"{shell.server.url}/e/p/runs/{run.name}",
    )
    said = shell.lineage("show", f"run:{ours.id}")
    assert f"e/p/{run.name}" in said
    assert receipt.url is not None
    assert receipt.url in said


def test_run_that_is_active_is_joined(shell: Shell) -> None:
    """Whoever started it: R40."""
    shell.python(f"""{KIT}
run = wandb.init(project="mine", entity="e")
init_wandb_from_env()
assert wandb.run is run
start_run("not-opened-twice").publish("m", path="m.pt", type="model", external=True)
finish_wandb()
""")
    assert [each.path for each in shell.server.world.versions()] == ["e/mine/m:v0"]
    with shell.open() as store:
        assert len(store.runs()) == 1


def test_second_lineage_run_of_a_process_is_told_too(shell: Shell) -> None:
    shell.python(f"""{KIT}
init_wandb_from_env()
start_run().publish("one", path="1.pt", type="model", external=True)
end_run()
start_run("second").publish("two", path="2.pt", type="model", external=True)
wandb.finish()
""")
    assert {each.path for each in shell.server.world.versions()} == {"e/p/one:v0", "e/p/two:v0"}
    with shell.open() as store:
        links = [store.receipts(f"run:{run.id}")[0].name for run in store.runs()]
    assert len(links) == 2
    assert len(set(links)) == 1


def test_more_runs_of_wandb_beside_one_of_ours_wait_for_nothing(shell: Shell) -> None:
    """A sweep in a loop: the lineage run is the first of them, and ``lineage sync`` delivers."""
    took = shell.python(f"""{KIT}
import time
tracking = track(name="sweep")
for n in range(3):
    wandb.init(project="p", entity="e")
    tracking.run.publish("m", path=f"{{n}}.pt", type="model", external=True)
    time.sleep(0.5)
    began = time.monotonic()
    wandb.finish()
    print(time.monotonic() - began)
tracking.end()
""", LINEAGE_MIRROR_DRAIN="40").split()  # fmt: skip
    assert max(map(float, took)) < 20
    assert "not in W&B yet; deliver them with: lineage sync" in shell.said
    shell.lineage("sync")
    world = shell.server.world
    (first,) = {each.run for each in world.versions("e/p/m")}
    assert (len(world.versions()), first) == (3, next(iter(world.runs.values())).name)


def test_run_that_the_script_starts_itself_is_linked_once_training_is_tracked(
    shell: Shell,
) -> None:
    """As Megatron-Bridge does, on its last rank, after ``track``."""
    shell.python(f"""{KIT}
tracking = track(name="sft")
run = wandb.init(project="p", entity="e")
tracking.run.publish("m", path="m.pt", type="model", external=True)
with run: pass
tracking.end()
""")
    (run,) = shell.server.world.runs.values()
    assert [each.run for each in shell.server.world.versions("e/p/m")] == [run.name]


def test_rank_that_opens_no_store_links_its_run(shell: Shell) -> None:
    ranks = {"TORCHELASTIC_RUN_ID": "j1", "WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "2"}
    program = f"""{KIT}
import nemotron.kit.session as session
tracking = track(name="sft")
if session.is_first_rank():
    tracking.run.publish("m", path="m.pt", type="model", external=True)
else:
    run = wandb.init(project="p", entity="e")
    assert session.current_run() is None
    import time; time.sleep(0.5)
    run.finish()
print(tracking.id)
tracking.end()
"""
    first = shell.python(program, RANK="0", **ranks).strip()
    assert shell.python(program, RANK="1", **ranks).strip() == first
    shell.lineage("sync")
    with shell.open() as store:
        (receipt,) = store.receipts(f"run:{first}")
    (made,) = shell.server.world.versions("e/p/m")
    assert receipt.name == f"e/p/{made.run}"


def test_key_that_we_find_is_the_one_that_the_server_gets(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``wandb login`` stores it, we find it, a job that gets it as a variable is let in."""
    server = shell.server
    host = server.url.removeprefix("http://")
    monkeypatch.setenv("HOME", shell.environ["HOME"])
    del shell.environ["WANDB_API_KEY"]
    login = f"import wandb; wandb.login(key='{KEY}', host='{server.url}', verify=False)"
    shell.python(login)
    found = kit.find_wandb_key({**os.environ, "WANDB_BASE_URL": server.url})
    assert found == kit.Credential(KEY, f"~/.netrc for {host}")
    server.logins.clear()
    (Path(shell.environ["HOME"]) / ".netrc").unlink()
    shell.python(f"{KIT}init_wandb_from_env(); finish_wandb()", WANDB_API_KEY=found.value)
    server.logins.discard("")  # the probe, which needs no key
    (login,) = server.logins
    assert base64.b64decode(login.removeprefix("Basic ")).decode() == f"api:{KEY}"


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_modes_without_a_server(shell: Shell, mode: str) -> None:
    program = f"""{KIT}
import json
init_wandb_from_env()
run = wandb.run
add_wandb_tags(["b"])
seen = [run.project, run.entity, run.name, run.job_type, run.tags]
finish_wandb()
print(json.dumps([*seen, wandb.run is None]))
"""
    environ = {"WANDB_MODE": mode, "WANDB_NAME": "n", "WANDB_TAGS": "a", "WANDB_ENTITY": ""}
    *seen, is_over = json.loads(shell.python(program, **environ))
    assert is_over
    if mode == "offline":
        assert seen == ["p", "", "n", "data-prep", ["a", "b"]]
        runs = Path(shell.environ["WANDB_DIR"]) / "wandb"
        assert len(list(runs.glob("offline-run-*/*.wandb"))) == 1
    with shell.open() as store:
        assert len(store.runs()) == 1
    assert not shell.server.asked


def test_every_run_shows_its_inputs_and_tags(shell: Shell) -> None:
    """Twice in one process, whether wandb was imported before or not."""
    program = f"""{KIT}
import json
import nemotron.lineage as lineage
with lineage.open() as store, store.run("prep") as prep:
    prep.publish("tokens", path="tokens.bin", type="dataset", external=True)
patch_wandb_init_for_lineage(artifact_qualified_names=["art://tokens:v1"], tags=["sft"])
tags = []
for name in ("first", "second"):
    run = wandb.init(project="p", tags=[name])
    tags.append(list(run.tags))
    start_run(name).publish(name, path=f"{{name}}.pt", type="model", external=True)
    end_run()
    run.finish()
with lineage.open() as store:
    inputs = [[str(each.target) for each in store.inputs(name)] for name in ("first", "second")]
print(json.dumps([tags, inputs]))
"""
    tags, inputs = json.loads(shell.python(program, WANDB_MODE="offline"))
    assert tags == [["first", "sft"], ["second", "sft"]]
    assert inputs == [["art://tokens:v1"], ["art://tokens:v1"]]
