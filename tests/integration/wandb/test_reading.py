"""What W&B has and the store does not know: looked up, imported, verified, and then offline."""

from __future__ import annotations

import json
import shutil

import pytest

from nemotron.lineage import Lineage

from .conftest import Shell

# a project that no store of ours has seen
FOREIGN = """
import wandb, os
from pathlib import Path
def artifact(run, name, kind, path=None, checksum=True, metadata=None, aliases=()):
    made = wandb.Artifact(name, kind, metadata=metadata or {})
    if path is None:
        with made.new_file("x") as file: file.write(name)
    else:
        made.add_reference(f"file://{os.path.abspath(path)}", checksum=checksum)
    run.log_artifact(made, aliases=list(aliases)); made.wait()
    return made
Path("data").mkdir(exist_ok=True); Path("data/a.bin").write_text("tokens")
Path("ckpt/iter_0000010").mkdir(parents=True, exist_ok=True)
Path("ckpt/iter_0000010/w").write_text("weights")
with wandb.init(project="p", entity="e", name="prep", job_type="data-prep", config={"n": 1}) as run:
    artifact(run, "raw", "dataset")
with wandb.init(project="p", entity="e", name="tokenize") as run:
    run.use_artifact("raw:latest")
    artifact(run, "tokens", "dataset", "data", aliases=["best"])
with wandb.init(project="p", entity="e", name="train", job_type="training") as run:
    run.use_artifact("tokens:v0")
    artifact(run, "model", "model", "ckpt/iter_0000010", checksum=False,
             metadata={"iteration": 10}, aliases=["iter_0000010"])
    place = os.path.abspath("ckpt/iter_0000010")
    artifact(run, "legacy", "model", metadata={"absolute_path": place})
"""
KIT = """
import json, sys
from nemotron.kit import *
import nemotron.kit as kit
"""


@pytest.fixture
def foreign(shell: Shell) -> Shell:
    shell.python(FOREIGN)
    return shell


def _down(shell: Shell) -> None:
    shell.server.faults.is_down = True


def _edges(store: Lineage, reference: str) -> set[str]:
    return {str(getattr(each.target, "uri", each.target)) for each in store.inputs(reference)}


def test_project_is_brought_over_with_its_lineage(foreign: Shell) -> None:
    said = foreign.lineage("import", "wandb", "e/p")
    assert "e/p/model: 1 imported" in said
    _down(foreign)
    with foreign.open() as store:
        version = store.resolve("art://e/p/model:v0")
        assert version.path == foreign.folder / "ckpt" / "iter_0000010"
        assert version.metadata["iteration"] == 10
        assert version.aliases == ("iter_0000010",)
        assert version.origin is not None
        assert version.origin["name"] == "e/p/model:v0"
        assert version.origin["verified"] == "unverified: logged without checksums"
        tokens = store.version("e/p/tokens:best")
        assert tokens.origin is not None
        assert tokens.origin["verified"] == "verified"
        raw = store.version("e/p/raw:v0")
        assert raw.origin is not None
        assert raw.origin["verified"] == "unverified: its files are in W&B's own storage"
        assert raw.address == "wandb-artifact://e/p/raw/v0"
        assert _edges(store, "e/p/model:v0") == {"art://e/p/tokens:v0"}
        assert {n.uri for n in store.lineage("e/p/model:v0").ancestors()} == {
            "art://e/p/tokens:v0", "art://e/p/raw:v0",
        }  # fmt: skip
        assert version.run is not None
        run = store.run_info(version.run)
        assert (run.name, run.job_type, str(run.status)) == ("train", "training", "ok")
        (receipt,) = store.receipts(f"run:{version.run}")
        assert receipt.name == run.detail["origin"]["name"]


def test_repeat_adds_what_is_new_and_one_name_can_be_taken(foreign: Shell) -> None:
    assert "e/p/tokens: 1 imported" in foreign.lineage("import", "wandb", "e/p/tokens")
    assert "e/p/model: 1 imported" in foreign.lineage("import", "wandb", "e/p")
    said = foreign.lineage("import", "wandb", "e/p")
    assert "e/p/tokens: 1 already there" in said
    assert "imported" not in said.replace("already there", "")
    (foreign.folder / "data" / "a.bin").write_text("other tokens")
    foreign.python(FOREIGN.replace('"tokens")', '"newer tokens")'))
    assert "e/p/tokens: 1 imported, 1 already there" in foreign.lineage("import", "wandb", "e/p")
    with foreign.open() as store:
        assert [each.number for each in store.log("e/p/tokens")] == [1, 0]
    foreign.lineage("fsck")


def test_import_that_is_cut_off_goes_on(foreign: Shell) -> None:
    foreign.server.faults.status("ArtifactCreatedBy", 500, times=float("inf"))
    foreign.lineage("import", "wandb", "e/p", status=1)
    assert "run it again" in foreign.said
    foreign.server.faults.clear()
    foreign.lineage("import", "wandb", "e/p")
    with foreign.open() as store:
        assert len(store.artifacts()) == 4


def test_what_is_not_what_was_logged_is_kept_for_its_lineage_alone(foreign: Shell) -> None:
    (foreign.folder / "data" / "a.bin").write_text("tampered")
    said = foreign.lineage("import", "wandb", "e/p")
    assert "is not what e/p/tokens:v0 logged as a.bin" in said
    assert "imported as replaced, for its lineage" in said
    foreign.lineage("resolve", "e/p/tokens:v0", status=4)
    assert "is not what e/p/tokens:v0 logged" in foreign.said
    with foreign.open() as store:
        assert _edges(store, "e/p/model:v0") == {"art://e/p/tokens:v0"}
    foreign.lineage("import", "wandb", "e/p", "--no-verify", "--as", "unread")
    with foreign.open() as store:
        origin = store.resolve("unread/tokens:v0").origin
        assert origin is not None
        assert origin["verified"] == "unverified: not looked at"


def test_unknown_reference_is_looked_up_once_and_then_resolves_offline(foreign: Shell) -> None:
    program = f"""{KIT}
print(json.dumps([str(store().resolve(each).uri) for each in sys.argv[1:]]))
"""
    words = ["tokens:best", "art://model:iter_0000010", "e/p/legacy:latest", "art://e/p/raw:v0"]
    expected = [
        "art://e/p/tokens:v0",
        "art://e/p/model:v0",
        "art://e/p/legacy:v0",
        "art://e/p/raw:v0",
    ]
    assert json.loads(foreign.python(program, *words)) == expected
    _down(foreign)
    assert json.loads(foreign.python(program, *words)) == expected
    with foreign.open() as store:
        assert _edges(store, "e/p/model:v0") == {"art://e/p/tokens:v0"}


def test_training_uses_an_artifact_of_wandb_by_its_name(foreign: Shell) -> None:
    """The edge is in both: what W&B has already is used where it is, and not made again."""
    foreign.python(f"""{KIT}
from pathlib import Path
init_wandb_from_env()
parent = Artifact.from_uri("model:latest")
Path("out").mkdir()
ModelArtifact(path=Path("out"), step=1).save(name="sft-model")
finish_wandb()
""", WANDB_NAME="sft")  # fmt: skip
    world = foreign.server.world
    (made,) = world.versions("e/p/sft-model")
    assert len(world.versions("e/p/model")) == 1
    (run,) = [each for each in world.runs.values() if each.display_name == "sft"]
    assert made.run == run.name
    assert {world.artifacts[each].path for each in run.used} == {"e/p/model:v0"}
    foreign.lineage("sync", LINEAGE_MIRRORS="wandb")  # imported runs are not made anew
    assert {each.display_name for each in world.runs.values()} == {
        "prep",
        "tokenize",
        "train",
        "sft",
    }


def test_artifacts_of_wandb_that_every_run_is_to_show_are_its_inputs(foreign: Shell) -> None:
    del foreign.environ["WANDB_PROJECT"], foreign.environ["WANDB_ENTITY"]
    foreign.python(f"""{KIT}
import wandb
patch_wandb_init_for_lineage(artifact_qualified_names=["e/p/tokens:v0", "e/p/nothing:v7"])
with wandb.init(project="p", entity="e", name="sft"):
    start_run("sft").publish("m", path="m.pt", type="model", external=True)
    end_run()
""")
    assert "e/p/nothing:v7 is not recorded as an input" in foreign.said
    world = foreign.server.world
    (run,) = [each for each in world.runs.values() if each.display_name == "sft"]
    assert {world.artifacts[each].path for each in run.used} == {"e/p/tokens:v0"}
    with foreign.open() as store:
        assert _edges(store, "m:v1") == {"art://e/p/tokens:v0"}


def test_references_of_a_configuration_and_the_rule_of_iterations(foreign: Shell) -> None:
    program = f"""{KIT}
from omegaconf import OmegaConf
config = OmegaConf.create({{
    "run": {{"model": "legacy:latest", "data": "e/p/tokens:best"}},
    "load": "${{art:model,path}}", "step": "${{art:model,iteration}}", "data": "${{art:data,path}}",
}})
register_resolvers_from_config(config, mode=sys.argv[1])
print(json.dumps([config.load, config.step, config.data]))
"""
    place = foreign.folder
    expected = [str(place / "ckpt"), 10, str(place / "data")]
    assert json.loads(foreign.python(program, "pre_init")) == expected
    _down(foreign)
    for mode in ("pre_init", "active_run", "local"):
        assert json.loads(foreign.python(program, mode)) == expected


def test_what_this_store_delivered_is_recognised(shell: Shell) -> None:
    shell.python(f"""{KIT}
from pathlib import Path
init_wandb_if_configured(WandbConfig("p", "e", "sft"), job_type="training")
for n in (1, 2):
    Path(f"o{{n}}").mkdir(); (Path(f"o{{n}}") / "w").write_text(str(n))
    ModelArtifact(path=Path(f"o{{n}}"), step=n).save(name="m")
finish_wandb()
""")
    said = shell.lineage("resolve", "--uri", "art://e/p/m:v1")
    assert said == "art://m:v2\n"
    shell.lineage("import", "wandb", "e/p")
    with shell.open() as store:
        assert [artifact.name for artifact in store.artifacts()] == ["m"]


def test_another_store_goes_by_the_numbers_of_the_one_that_published(shell: Shell) -> None:
    shell.python(f"""{KIT}
from pathlib import Path
import wandb
init_wandb_if_configured(WandbConfig("p", "e", "sft"), job_type="training")
current_run().use("hf://org/raw@main", weight=0.5)
for n in (1, 2):
    Path(f"o{{n}}").mkdir(); (Path(f"o{{n}}") / "w").write_text(str(n))
    ModelArtifact(path=Path(f"o{{n}}"), step=n).save(name="nano3/m")
finish_wandb()
""")
    other = str(shell.folder / "other.db")
    shell.lineage("where", LINEAGE_STORE=str(shell.folder / "lineage.db"))
    with shell.open():
        pass
    shell.python(f"{KIT}store()", LINEAGE_STORE=other)
    said = shell.lineage("resolve", "--uri", "art://nano3/m:v1", "--store", other)
    assert said == "art://e/p/nano3..m:v0\n"
    assert shell.lineage("resolve", "nano3/m:v2", "--store", other) == f"{shell.folder}/o2\n"
    _down(shell)
    said = shell.lineage("resolve", "--uri", "art://nano3/m:v1", "--store", other)
    assert said == "art://e/p/nano3..m:v0\n"
    tree = shell.lineage("tree", "e/p/nano3..m:v0", "--store", other)
    assert "data [@main, weight 0.5]: hf://org/raw" in tree or "weight 0.5" in tree
    shell.lineage("resolve", "nano3/m:v9", "--store", other, status=3)


def test_server_that_is_down_is_one_warning_and_the_usual_error(shell: Shell) -> None:
    shell.python(f"{KIT}store()")
    _down(shell)
    shell.lineage("resolve", "art://nothing:v1", status=3)
    assert "W&B could not be asked for art://nothing:v1" in shell.said
    assert "there is no artifact 'nothing' in this store" in shell.said
    assert shell.said.count("W&B could not be asked") == 1


def test_offline_mode_and_no_project_ask_nobody(shell: Shell) -> None:
    shell.python(f"{KIT}store()")
    for environ in ({"WANDB_MODE": "offline"}, {"WANDB_PROJECT": ""}):
        shell.lineage("resolve", "art://nothing:v1", status=3, **environ)
        assert "W&B" not in shell.said
    assert not shell.server.asked


def test_name_that_cannot_be_one_here_is_left_out_or_renamed(shell: Shell) -> None:
    shell.python("""
import wandb
with wandb.init(project="p", entity="e") as run:
    made = wandb.Artifact("_odd", "dataset")
    with made.new_file("x") as file: file.write("x")
    run.log_artifact(made); made.wait()
    made = wandb.Artifact("even", "dataset")
    with made.new_file("x") as file: file.write("x")
    run.log_artifact(made); made.wait()
""")
    said = shell.lineage("import", "wandb", "e/p", status=8)
    assert "cannot be a name here" in said
    said = shell.lineage("import", "wandb", "e/p/even", "--as", "theirs")
    assert "theirs/even: 1 imported" in said


def test_project_that_is_not_there_is_named(shell: Shell) -> None:
    shell.lineage("import", "wandb", "e/nope", status=3)
    assert "W&B has no artifact e/nope" in shell.said
    shell.lineage("import", "wandb", "nope", status=2)
    assert shutil.which("sh")
