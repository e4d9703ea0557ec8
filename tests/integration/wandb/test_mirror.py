"""What W&B is told of versions, inputs, aliases and ends; later, offline, and by whom."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Shell
from .server.world import Artifact

KIT = """
import wandb, os, time
from pathlib import Path
from nemotron.kit import *
import nemotron.kit as kit
init_wandb_if_configured(WandbConfig("p", "e", "sft"), job_type="training")
run = kit.current_run()
def publish(name, path, text="x", **facts):
    Path(path).mkdir(parents=True, exist_ok=True)
    (Path(path) / "w").write_text(text)
    return run.publish(name, path=path, type=facts.pop("type", "model"), **facts)
"""


def _ours(artifact: Artifact) -> dict[str, object]:
    found: dict[str, object] = artifact.metadata["lineage"]
    return found


def test_artifact_holds_one_reference_and_what_never_changes(shell: Shell) -> None:
    shell.python(f"""{KIT}
publish("m", "out/iter_1", metadata={{"step": 1}}, aliases=["step_1", "iter_0000001"])
for n in range(300): (Path("out/iter_1") / f"{{n}}.distcp").write_text("x")
finish_wandb()
""")
    (made,) = shell.server.world.versions()
    place = shell.folder / "out" / "iter_1"
    assert sorted(made.entries) == ["lineage.json", "output"]
    assert made.entries["output"]["ref"] == f"file://{place}"
    assert made.metadata["absolute_path"] == str(place)
    assert made.metadata["step"] == 1
    assert made.aliases == ["iter_0000001", "latest", "lineage-v1", "step_1"]
    lines = json.loads(shell.server.world.blobs[f"/upload/{made.id}/lineage.json"])
    with shell.open() as store:
        version = store.version("m")
        assert lines == {
            "format": 1, "uri": "art://m:v1", "type": "model", "store": store.journal.id,
            "run": version.run, "path": str(place), "fingerprint": version.fingerprint,
            "host": version.location.host, "inputs": [],
        }  # fmt: skip
        assert _ours(made)["uri"] == "art://m:v1"
        assert _ours(made)["store"] == store.journal.id
        (receipt,) = store.receipts("m:v1")
        (event,) = [fact for fact in store.facts("m:v1") if fact.kind == "published"]
        assert event.payload["name"] == "m"
    assert (receipt.name, receipt.url) == (
        "e/p/m:v0", f"{shell.server.url}/e/p/artifacts/model/m/v0",
    )  # fmt: skip
    said = shell.lineage("show", "m:v1")
    assert f"wandb: e/p/m:v0  {shell.server.url}/e/p/artifacts/model/m/v0" in said


def test_aliases_and_ends_follow(shell: Shell) -> None:
    shell.python(f"""{KIT}
one = publish("m", "out/1", "1", aliases=["best", "mine"])
two = publish("m", "out/2", "2")
three = publish("m", "out/3", "3", aliases=["best"])
finish_wandb()
""")
    world = shell.server.world
    assert world.artifact("e/p/m:best").path == world.artifact("e/p/m:latest").path == "e/p/m:v2"
    with shell.open() as store:
        store.alias("m:v2", "best")
        store.unalias("m", "mine")
        store.retire("m:v3", "too old")
        store.describe("m:v2", {"score": 0.5})
    shell.lineage("sync")
    assert world.artifact("e/p/m:best").path == world.artifact("e/p/m:latest").path == "e/p/m:v1"
    first, second, third = world.versions()
    assert first.aliases == ["lineage-v1"]
    assert second.metadata["score"] == 0.5
    assert (third.tags, third.aliases) == (["deleted"], ["lineage-v3"])
    assert third.description == "art://m:v3 was deleted: too old. Its lineage stays."
    with shell.open() as store:
        store.alias("m:v1", "best")
        store.alias("m:v2", "best")
    before = len(shell.server.asked)
    shell.lineage("sync")
    changed = [
        name for name, _ in shell.server.asked[before:] if name in ("AddAliases", "UpdateArtifact")
    ]
    assert changed == []  # how things stand counts, not how they came to


def test_what_others_say_in_wandb_stays(shell: Shell) -> None:
    shell.python(f"{KIT}\npublish('m', 'out/1'); finish_wandb()")
    (made,) = shell.server.world.versions()
    made.collection.aliases["theirs"] = made.id
    made.tags.append("theirs")
    made.metadata["theirs"] = 1
    made.description = "a note of theirs"
    with shell.open() as store:
        store.describe("m:v1", {"score": 1})
    shell.lineage("sync")
    assert {"theirs", "latest", "lineage-v1"} == set(made.aliases)
    assert (made.tags, made.description) == (["theirs"], "a note of theirs")
    assert (made.metadata["theirs"], made.metadata["score"]) == (1, 1)


def test_sources_are_inputs_that_nobody_made(shell: Shell) -> None:
    program = f"""{KIT}
import sys
run.use("hf://org/raw-text@main", role="data")
run.use("s3://bucket/key/file?versionId=7")
run.use("hf://org/raw-text@main", role="eval")
publish(sys.argv[1], sys.argv[1])
finish_wandb()
"""
    shell.python(program, "one")
    shell.python(program, "two")
    world = shell.server.world
    sources = [each for each in world.versions() if each.collection.type == "source"]
    assert len(sources) == 2
    assert {each.run for each in sources} == {None}
    assert {_ours(each)["source"] for each in sources} == {
        "hf://org/raw-text", "s3://bucket/key/file",
    }  # fmt: skip
    assert all(len(world.users(each)) == 2 for each in sources)
    web = {each.entries["source"]["ref"] for each in sources}
    assert "https://huggingface.co/datasets/org/raw-text" in web


def test_input_of_a_run_that_is_not_mirrored_is_made_for_its_user(shell: Shell) -> None:
    with shell.open() as store, store.run("prep") as run:
        run.publish("tokens", path="tokens", type="dataset", external=True)
    shell.python(f"""{KIT}
run.use("tokens:latest"); run.use("tokens:v1", role="eval")
publish("m", "out/1")
finish_wandb()
""")
    (tokens,) = shell.server.world.versions("e/p/tokens")
    assert (tokens.run, tokens.aliases) == (None, ["latest", "lineage-v1"])
    assert [run.display_name for run in shell.server.world.users(tokens)] == ["sft"]
    with shell.open() as store:
        assert store.receipts("tokens:v1")[0].name == "e/p/tokens:v0"
        store.retire("tokens:v1", "no longer there")  # it is in W&B, so W&B hears of it
    shell.lineage("sync")
    assert tokens.tags == ["deleted"]


def test_every_run_of_the_store_is_mirrored_when_asked(shell: Shell) -> None:
    """The input waits for whoever made it; runs that W&B never had are made there."""
    with shell.open() as store:
        with store.run("prep", job_type="data-prep", config={"n": 1}) as prep:
            prep.use("hf://org/raw")
            prep.publish("tokens", path="tokens", type="dataset", external=True)
        with pytest.raises(ValueError, match="boom"), store.run("bad"):
            raise ValueError("boom")
    shell.python(f"""{KIT}
run.use("tokens:latest")
publish("m", "out/1")
finish_wandb()
""", LINEAGE_MIRRORS="wandb", LINEAGE_MIRROR_DRAIN="4")  # fmt: skip
    assert "not in W&B yet; deliver them with: lineage sync" in shell.said
    shell.lineage("sync", LINEAGE_MIRRORS="wandb")
    world = shell.server.world
    (tokens,) = world.versions("e/p/tokens")
    assert tokens.run == prep.id
    made = world.run(f"e/p/{prep.id}")
    assert (made.display_name, made.told["jobType"], made.state) == (
        "prep",
        "data-prep",
        "finished",
    )
    assert made.config == {"n": 1, "lineage_run": f"run:{prep.id}"}
    assert [run.state for run in world.runs.values() if run.display_name == "bad"] == ["failed"]
    assert {run.display_name for run in world.users(tokens)} == {"sft"}
    shell.lineage("sync", LINEAGE_MIRRORS="wandb")
    assert len(world.versions()) == 3


def test_later_delivery_leaves_the_run_itself_alone(shell: Shell) -> None:
    """No file, setting, summary or state of the run is written anew by ``lineage sync``."""
    program = f"""{KIT}
wandb.run.log({{"loss": 1.0}}); wandb.run.summary["best"] = 3
shut = kit.session.mirroring(); shut._live.close(0)
publish("m", "out/1")
run.use("hf://org/x")
finish_wandb(exit_code=2)
"""
    shell.python(program)
    (run,) = shell.server.world.runs.values()
    before = (
        run.config,
        run.state,
        run.exit_code,
        run.display_name,
        run.tags,
        run.told.get("notes"),
    )
    run.files.clear()
    assert not shell.server.world.versions("e/p/m")
    shell.lineage("sync", WANDB_NAME="another", WANDB_TAGS="t", WANDB_RUN_GROUP="g",
                  WANDB_MODE="offline", WANDB_RUN_ID="other")  # fmt: skip
    assert [each.run for each in shell.server.world.versions("e/p/m")] == [run.name]
    assert not run.files
    assert run.summary["best"] == 3
    after = (
        run.config,
        run.state,
        run.exit_code,
        run.display_name,
        run.tags,
        run.told.get("notes"),
    )
    assert after == before
    assert len(shell.server.world.runs) == 1


@pytest.mark.parametrize("first", ["wandb", "lineage"])
def test_offline_run_is_delivered_later(shell: Shell, first: str) -> None:
    """Before or after ``wandb sync`` uploads the run itself; its inputs too, which that loses."""
    shell.python(f"""{KIT}
wandb.run.log({{"loss": 1.0}})
run.use("hf://org/raw")
publish("m", "out/1", aliases=["best"])
finish_wandb()
""", WANDB_MODE="offline")  # fmt: skip
    assert "nothing is delivered; later: lineage sync" in shell.said
    assert not shell.server.asked
    (folder,) = (Path(shell.environ["WANDB_DIR"]) / "wandb").glob("offline-run-*")

    def upload() -> None:
        command = [str(Path(sys.executable).parent / "wandb"), "sync", str(folder)]
        subprocess.run(
            command, check=True, env=shell.environ, cwd=shell.folder, capture_output=True
        )

    acts = [upload, lambda: shell.lineage("sync")]
    for act in acts if first == "wandb" else reversed(acts):
        act()
    world = shell.server.world
    (run,) = world.runs.values()
    (made,) = world.versions("e/p/m")
    assert (made.run, made.aliases) == (run.name, ["best", "latest", "lineage-v1"])
    assert len(run.used) == 1
    assert run.display_name == "sft"
    with shell.open() as store:
        (receipt,) = store.receipts(f"run:{store.runs()[0].id}")
        assert receipt.name == f"e/p/{run.name}"
    shell.lineage("sync")
    assert len(world.versions()) == 2


def test_kit_with_the_backend_wandb_is_delivered_by_sync(shell: Shell) -> None:
    shell.python("""
import nemotron.kit as kit
from pathlib import Path
kit.init(backend="wandb", wandb_project="q", wandb_entity="team")
Path("m").mkdir()
kit.ModelArtifact(path=Path("m"), step=1).save(name="m")
""")
    assert "W&B project q is told by: lineage sync" in shell.said
    shell.lineage("sync")
    assert [each.path for each in shell.server.world.versions()] == ["team/q/m:v0"]


def test_names_that_meet_in_wandb_are_refused_and_never_merged(shell: Shell) -> None:
    shell.python(f"{KIT}\npublish('m', 'out/1'); finish_wandb()")
    other = str(shell.folder / "other.db")
    shell.python(f"{KIT}\npublish('m', 'out/2'); finish_wandb()", LINEAGE_STORE=other)
    assert [_ours(each)["path"] for each in shell.server.world.versions()] == [
        str(shell.folder / "out" / "1")
    ]
    shell.lineage("sync", "--store", other, status=11)
    said = shell.lineage("sync", "--status", "--store", other, status=11)
    assert "refused art://m:v1: e/p/m:v0 holds versions of another store" in said
    assert "after a cure: lineage sync --retry" in said


def test_moved_store_goes_on_telling_of_the_same_artifacts(shell: Shell) -> None:
    """What the old store told is told once, and what it did not tell is not lost."""
    shell.python(f"{KIT}\npublish('m', 'out/1'); finish_wandb()")
    with shell.open() as store, store.run("later") as run:
        run.publish("m", path="s3://b/2", type="model")
    new = str(shell.folder / "moved")
    shell.lineage("move", shell.environ["LINEAGE_STORE"], new)
    shell.lineage("sync", LINEAGE_MIRRORS="wandb", status=11)
    assert "which feeds wandb from now on. Try: lineage sync --store" in shell.said
    for _ in range(2):
        shell.lineage("sync", LINEAGE_MIRRORS="wandb", LINEAGE_STORE=new)
    shell.python(f"{KIT}\npublish('m', 'out/3'); finish_wandb()", LINEAGE_STORE=new)
    made = shell.server.world.versions("e/p/m")
    assert [_ours(each)["uri"] for each in made] == [f"art://m:v{n}" for n in (1, 2, 3)]


def test_copy_and_its_source_are_told_apart_where_they_differ(shell: Shell) -> None:
    shell.python(f"{KIT}\npublish('m', 'out/1'); finish_wandb()")
    copy = str(shell.folder / "copy.db")
    shell.lineage("copy", shell.environ["LINEAGE_STORE"], copy)
    shell.python(f"{KIT}\npublish('m', 'out/2'); finish_wandb()")
    shell.python(f"{KIT}\npublish('m', 'out/3'); finish_wandb()", LINEAGE_STORE=copy)
    shell.lineage("sync", "--store", copy, status=11)  # its m:v2 is not the one that is there
    said = shell.lineage("sync", "--status", "--store", copy, status=11)
    assert "refused art://m:v2: e/p/m:v1 holds versions of another store" in said
    made = shell.server.world.versions("e/p/m")
    assert [Path(str(_ours(each)["path"])).name for each in made] == ["1", "2"]


def test_names_are_read_back(shell: Shell) -> None:
    names = [
        "nano3/sft/data?sample=100",
        "nano3-sft-data-sample=100".replace("=", "-"),
        "a..b",
        "a/b",
    ]
    shell.python(
        f"{KIT}\nfor n, name in enumerate({names!r}): publish(name, f'out/{{n}}')\nfinish_wandb()"
    )
    from nemotron.lineage.mirror.names import decode

    made = shell.server.world.versions()
    assert {decode(each.collection.name) for each in made} == set(names)


# ------------------------------------------------------------------- Megatron-Bridge

BRIDGE = """
def _stem(save_dir, checkpoint_path): return Path(save_dir).stem, Path(checkpoint_path).stem
def on_save_checkpoint_success(checkpoint_path, save_dir, iteration, wandb_writer):
    if wandb_writer:
        artifact_name, artifact_version = _stem(save_dir, checkpoint_path)
        metadata = {"iteration": iteration}
        artifact = wandb_writer.Artifact(artifact_name, type="model", metadata=metadata)
        checkpoint_path = str(Path(checkpoint_path).resolve())
        artifact.add_reference(f"file://{checkpoint_path}", checksum=False)
        wandb_writer.run.log_artifact(artifact, aliases=[artifact_version])
def save(folder, step, writer, name=None):
    path = Path(folder) / f"iter_{step:07d}"
    path.mkdir(parents=True)
    for n in range(3): (path / f"__{n}_0.distcp").write_text(f"{step}")
    # what our hook records before the function itself runs
    run.record(
        name or Path(folder).name, path=path, type="model",
        metadata={"iteration": step, "absolute_path": os.path.abspath(folder),
                  "checkpoint_path": os.path.abspath(path), "framework": "megatron-bridge"},
        aliases=[f"iter_{step:07d}", f"step_{step}"],
    )
    on_save_checkpoint_success(str(path), folder, step, writer)
"""


def test_checkpoint_that_megatron_bridge_logs_itself_is_not_doubled(shell: Shell) -> None:
    shell.python(f"""{KIT}{BRIDGE}
for step in (2, 4): save("ckpts/nano3", step, wandb)
finish_wandb()
""")
    world = shell.server.world
    first, second = world.versions()
    assert [each.path for each in (first, second)] == ["e/p/nano3:v0", "e/p/nano3:v1"]
    assert second.aliases == ["iter_0000004", "latest", "lineage-v2", "step_4"]
    assert _ours(first)["uri"] == "art://nano3:v1"
    assert "lineage.json" not in first.entries
    with shell.open() as store:
        assert store.receipts("nano3:v2")[0].name == "e/p/nano3:v1"
        store.retire("nano3:v1", "retention keeps 1")
    shell.lineage("sync")
    assert first.tags == ["deleted"]
    assert len(world.versions()) == 2


def test_checkpoint_under_another_name_is_an_artifact_of_ours(shell: Shell) -> None:
    """Every ``.../checkpoints`` shares a name with all others there: it is never taken as ours."""
    shell.python(f"""{KIT}{BRIDGE}
save("out/checkpoints", 2, wandb, name="nano3-sft-checkpoints")
save("out2/nano3", 2, None)
finish_wandb()
""")
    world = shell.server.world
    assert {each.path for each in world.versions()} == {
        "e/p/checkpoints:v0", "e/p/nano3-sft-checkpoints:v0", "e/p/nano3:v0",
    }  # fmt: skip
    assert "lineage" not in world.artifact("e/p/checkpoints:v0").metadata
    assert sorted(world.artifact("e/p/nano3:v0").entries) == ["lineage.json", "output"]


def test_status_says_what_is_left_without_a_server(shell: Shell) -> None:
    shell.python(f"{KIT}\npublish('m', 'out/1'); finish_wandb()", WANDB_MODE="offline")
    shell.server.faults.is_down = True
    said = shell.lineage("sync", "--status", status=11)
    assert said.startswith("wandb: 2 left, the oldest since ")
    found = json.loads(shell.lineage("sync", "--status", "--json", status=11))
    assert [(each["mirror"], each["left"], each["dead"]) for each in found] == [("wandb", 2, [])]
    assert not shell.server.asked


def test_store_is_whole_and_receipts_are_no_news(shell: Shell) -> None:
    shell.python(f"{KIT}\nfor n in range(5): publish('m', f'out/{{n}}')\nfinish_wandb()")
    assert shell.lineage("fsck").startswith("clean: ")
    with shell.open() as store:
        events = [entry.event for commit in store.journal.read() for entry in commit.entries]
        receipts = [event.payload() for event in events if event.kind == "receipt"]
        heads = [facts["head"] for facts in receipts if "head" in facts]
        known = {commit.hash for commit in store.journal.read()}
        assert heads
        assert set(heads) <= known
        commits = store.journal.head().number
    shell.lineage("sync")
    with shell.open() as store:
        assert store.journal.head().number == commits


def test_homes_of_the_sdk_are_its_own(shell: Shell) -> None:
    """Nothing is left behind in the working folder by ``lineage sync``."""
    shell.python(f"{KIT}\npublish('m', 'out/1'); finish_wandb()", WANDB_MODE="offline")
    before = {path.name for path in shell.folder.iterdir()}
    shell.lineage("sync")
    assert {path.name for path in shell.folder.iterdir()} == before
