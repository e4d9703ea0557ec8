"""What Megatron-Bridge saves, loads and deletes becomes lineage, as its hooks tell it."""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nemotron import kit, lineage
from nemotron.kit import session
from nemotron.kit.patches import megatron_bridge
from nemotron.kit.patches.assets import is_gone
from nemotron.kit.wandb import patch_wandb_checkpoint_logging, patch_wandb_init_for_lineage
from nemotron.lineage import Lineage, URIError
from nemotron.lineage.index import queries

STANDIN = Path(__file__).parent / "standin"
DATA = Path(__file__).parents[1] / "data"

Settings = dict[str, Any]


class Trainer:
    """One training process of the stand-in."""

    def __init__(self, folder: Path) -> None:
        self.checkpointing = importlib.import_module("megatron.bridge.training.checkpointing")
        self.hooks = importlib.import_module("megatron.bridge.training.utils.wandb_utils")
        self.training = importlib.import_module("megatron.bridge.training.pretrain")
        checkpoint = SimpleNamespace(
            save=str(folder), load=None, pretrained_checkpoint=None, finetune=False,
            most_recent_k=-1, async_save=False,
        )  # fmt: skip
        self.state = SimpleNamespace(
            cfg=SimpleNamespace(checkpoint=checkpoint), train_state=None,
            config={"checkpoint": {"save": str(folder)}, "train": {"train_iters": 10}},
        )  # fmt: skip

    @property
    def checkpoint(self) -> SimpleNamespace:
        found: SimpleNamespace = self.state.cfg.checkpoint
        return found

    def save(self, step: int, **facts: Any) -> None:
        self.checkpointing.save_checkpoint(self.state, step, **facts)

    def load(self, step: int) -> None:
        self.state.config["checkpoint"] |= {
            key: value for key, value in vars(self.checkpoint).items() if key != "save"
        }
        self.checkpointing.load_checkpoint(self.state, step)


@pytest.fixture(autouse=True)
def framework(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(STANDIN))
    importlib.invalidate_caches()
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "megatron"]:
        del sys.modules[name]


@pytest.fixture
def save(tmp_path: Path) -> Path:
    return tmp_path / "ckpts" / "nano3"


def _steps(store: Lineage, name: str) -> list[tuple[Any, str]]:
    return [(v.metadata["iteration"], str(v.state)) for v in reversed(store.log(name))]


def _inputs(store: Lineage, reference: str) -> set[tuple[str, str]]:
    return {(each.role, str(each.target)) for each in store.inputs(reference)}


# ---------------------------------------------------------------------- saving


def test_each_checkpoint_is_a_version_with_its_step(store: Lineage, save: Path) -> None:
    kit.track()
    trainer = Trainer(save)
    trainer.state.train_state = DATA / "train_state-0.3.1.pt"
    trainer.state.config |= {
        "dataset": {"sequence_length": 32},
        "tokenizer": {"tokenizer_type": "NullTokenizer"},
    }
    trainer.save(100)
    trainer.save(200)
    assert _steps(store, "nano3") == [(100, "live"), (200, "live")]
    version = store.resolve("nano3:iter_0000100")
    assert version == store.resolve("nano3:step_100")
    assert version.path == save / "iter_0000100"
    expected = {
        "iteration": 100, "absolute_path": str(save), "checkpoint_path": str(version.path),
        "kind": "persistent", "seq_length": 32, "tokenizer": "NullTokenizer",
        "consumed_train_samples": 12, "consumed_train_tokens": 12 * 32, "train_iters": 10,
        "framework": "megatron-bridge",
    }  # fmt: skip
    assert {key: version.metadata.get(key) for key in expected} == expected


def test_step_is_that_of_the_folder_and_not_of_the_argument(store: Lineage, save: Path) -> None:
    kit.track()
    Trainer(save).save(2, told=4)
    assert _steps(store, "nano3") == [(2, "live")]


def test_final_checkpoint_that_is_saved_twice_is_one_version(store: Lineage, save: Path) -> None:
    kit.track()
    trainer = Trainer(save)
    trainer.save(4)
    trainer.save(4)  # .metadata differs, as with the real one
    assert _steps(store, "nano3") == [(4, "live")]


def test_relative_folder_is_resolved_at_once(
    store: Lineage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.track()
    trainer = Trainer(Path("out/nano3"))
    trainer.save(1)
    monkeypatch.chdir("/")
    assert store.resolve("nano3").path == tmp_path / "out/nano3/iter_0000001"


def test_data_and_tokenizer_are_inputs(store: Lineage, save: Path, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.mkdir()
    with store.run("prep") as prep:
        prep.publish("tokens", path=tokens, type="dataset")
    kit.track()
    trainer = Trainer(save)
    trainer.state.config |= {
        "dataset": {
            "blend": [[str(tokens / "a_text_document"), "/elsewhere/b_text_document"], [0.7, 0.3]]
        },
        "tokenizer": {"tokenizer_model": "org/tokenizer"},
    }
    trainer.save(1)
    assert _inputs(store, "nano3") == {
        ("data", "art://tokens:v1"), ("data", "file:///elsewhere/b_text_document"),
        ("tokenizer", "hf://org/tokenizer"),
    }  # fmt: skip
    assert {each.weight for each in store.inputs("nano3")} == {0.7, 0.3, None}


def test_inputs_of_the_configuration_are_inputs_of_the_checkpoints(
    store: Lineage, save: Path, tmp_path: Path
) -> None:
    with store.run("prep") as prep:
        prep.publish("packed", path=tmp_path, type="dataset")
    tracking = kit.track(
        {"run": {"data": "packed:latest"}, "dataset": {"path": "${art:data,path}"}}
    )
    assert tracking.inputs == ("art://packed:v1",)
    Trainer(save).save(1)
    assert _inputs(store, "nano3") == {("data", "art://packed:v1")}
    (run,) = [run for run in store.runs() if run.id == tracking.id]
    assert run.config["dataset"] == {"path": str(tmp_path)}


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("nano3.v2", "nano3.v2"), ("ckpt-0.5B", "ckpt-0.5B"), ("exp 1", "exp-1"),
        ("sft/checkpoints", "sft-checkpoints"), ("sft/results/ckpt", "sft-ckpt"),
        ("nano3/non_persistent", "nano3-non_persistent"),
    ],
)  # fmt: skip
def test_name_is_that_of_the_folder(store: Lineage, tmp_path: Path, folder: str, name: str) -> None:
    kit.track()
    Trainer(tmp_path / folder).save(1)
    assert [artifact.name for artifact in store.artifacts()] == [name]


def test_experiment_leads_a_folder_that_says_nothing(store: Lineage, tmp_path: Path) -> None:
    kit.track()
    trainer = Trainer(tmp_path / "a" / "checkpoints")
    trainer.state.config["logger"] = {"wandb_exp_name": "lr-sweep"}
    trainer.save(1)
    assert [artifact.name for artifact in store.artifacts()] == ["lr-sweep-checkpoints"]


def test_two_runs_that_save_into_checkpoints_share_no_artifact(
    store: Lineage, tmp_path: Path
) -> None:
    for folder in ("a", "b", "a"):
        with kit.track(name="pretrain"):
            trainer = Trainer(tmp_path / folder / "checkpoints")
            trainer.save(1 if not (tmp_path / "a/checkpoints").exists() else 2)
    names = {artifact.name: artifact.versions for artifact in store.artifacts()}
    assert sorted(names.values()) == [1, 2]
    assert "pretrain-checkpoints" in names


def test_given_name_wins_and_a_bad_one_is_refused(store: Lineage, tmp_path: Path) -> None:
    with pytest.raises(URIError, match="'my model' is not a valid reference"):
        kit.track(artifact_name="my model")
    for more in ("nano3:v2", "art://nano3:latest", "nano3#weights"):
        for ask in (kit.track, patch_wandb_checkpoint_logging):
            with pytest.raises(URIError, match="more than an artifact, whose name is 'nano3'"):
                ask(artifact_name=more)
    kit.track(artifact_name="team/nano3")
    Trainer(tmp_path / "checkpoints").save(1)
    assert store.resolve("team/nano3").number == 1


def test_clash_of_plain_names_is_told(
    store: Lineage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kit.track()
    Trainer(tmp_path / "a" / "nano3").save(1)
    Trainer(tmp_path / "b" / "nano3").save(1)
    assert len(store.log("nano3")) == 2
    assert f"also has the checkpoints of {tmp_path}/a/nano3" in caplog.text


def test_conversion_and_passing_checkpoints_are_labelled(store: Lineage, save: Path) -> None:
    kit.track()
    trainer = Trainer(save)
    trainer.save(1, save_dir=str(save / "non_persistent"))
    converted = Trainer(save.parent / "converted")
    converted.state.config["train"] = None
    converted.save(0)
    assert store.resolve("nano3-non_persistent").metadata["kind"] == "non_persistent"
    assert store.resolve("converted").metadata["kind"] == "conversion"


def test_losses_of_the_callbacks_are_recorded(store: Lineage, save: Path) -> None:
    kit.track()
    trainer = Trainer(save)
    manager = trainer.training.pretrain([])
    manager.fire("on_train_step_end", loss_dict={"lm loss": 2.5, "mtp_1 loss": float("nan")})
    manager.fire("on_eval_end", total_loss_dict={"lm loss": 2.75})
    manager.fire("on_train_step_end", loss_dict=None)
    trainer.save(1)
    version = store.resolve("nano3")
    assert (version.metadata["loss"], version.metadata["validation_loss"]) == (2.5, 2.75)
    assert version.non_finite == ("loss mtp_1 loss",)
    assert trainer.training.pretrain(None) is None


def test_checkpoints_are_sealed_in_the_background_when_that_is_asked_for(
    store: Lineage, save: Path
) -> None:
    with pytest.raises(ValueError, match="'background' or None"):
        kit.track(seal="now")  # type: ignore[arg-type]  # that is the point
    with kit.track(seal="background"):
        trainer = Trainer(save)
        trainer.save(1)
        trainer.save(2)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not all(v.digest for v in store.log("nano3")):
        time.sleep(0.05)
    for version in store.log("nano3"):
        assert version.digest == lineage.digest(version.path).text


def test_damaged_files_of_a_checkpoint_are_told_and_it_is_recorded(
    store: Lineage, save: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kit.track()
    trainer = Trainer(save)
    trainer.state.config = ["no mapping"]
    trainer.state.train_state = Path(__file__)
    trainer.save(1)
    version = store.resolve("nano3")
    assert "is no train state" in version.metadata["counters"]
    assert "data and tokenizer" in caplog.text


def test_configuration_that_is_too_large_for_a_hook_is_told(
    store: Lineage, save: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kit.track()
    trainer = Trainer(save)
    paths = [f"/data/{number:032}/text_document" for number in range(30_000)]
    trainer.state.config |= {"dataset": {"blend": [paths, None]}}
    for step in (1, 2):
        trainer.save(step)
    assert [v.metadata["iteration"] for v in store.log("nano3")] == [2, 1]
    (said,) = [each.message for each in caplog.records]
    assert "data and tokenizer" in said
    assert "run_config.yaml has more than 1,048,576 bytes" in said


def test_relative_data_is_no_repository_and_a_bare_name_no_file(
    store: Lineage, save: Path, tmp_path: Path
) -> None:
    kit.track()
    trainer = Trainer(save)
    trainer.state.config |= {
        # the prefix of data/a_text_document.bin, as Megatron names it
        "dataset": {"blend": [["data/a_text_document"], None], "dataset_name": "squad"},
        "tokenizer": {"tokenizer_model": "gpt2"},
    }
    trainer.save(1)
    assert _inputs(store, "nano3") == {
        ("data", f"file://{tmp_path}/data/a_text_document"), ("data", "hf://squad"),
        ("tokenizer", "hf://gpt2"),
    }  # fmt: skip


def test_checkpoint_in_an_object_store_is_recorded_and_makes_no_folder_here(
    store: Lineage, save: Path, tmp_path: Path
) -> None:
    kit.track()
    Trainer(save).hooks.on_save_checkpoint_success(
        "s3://bucket/nano3/iter_0000002", "s3://bucket/nano3", 2, None
    )
    version = store.resolve("nano3:step_2")
    assert version.address == "s3://bucket/nano3/iter_0000002"
    assert version.metadata["absolute_path"] == "s3://bucket/nano3"
    assert not (tmp_path / "s3:").exists()


# --------------------------------------------------------------------- loading


def test_resumed_training_goes_on_from_its_checkpoint(store: Lineage, save: Path) -> None:
    with kit.track():
        Trainer(save).save(100)
    with kit.track():
        trainer = Trainer(save)
        trainer.checkpoint.load = str(save)
        trainer.load(100)
        trainer.save(200)
    assert _inputs(store, "nano3:step_200") == {("resume", "art://nano3:v1")}
    assert _inputs(store, "nano3:step_100") == set()
    assert len(store.runs()) == 2


@pytest.mark.parametrize(("finetune", "role"), [(False, "resume"), (True, "init")])
def test_a_model_from_another_folder_is_a_branch_or_a_start(
    store: Lineage, save: Path, tmp_path: Path, *, finetune: bool, role: str
) -> None:
    with kit.track():
        Trainer(save).save(100)
    with kit.track():
        trainer = Trainer(tmp_path / "sft")
        trainer.checkpoint.load, trainer.checkpoint.finetune = str(save), finetune
        trainer.load(100)
        trainer.save(1)
    assert _inputs(store, "sft") == {(role, "art://nano3:v1")}


def test_pretrained_checkpoint_is_a_start(store: Lineage, save: Path, tmp_path: Path) -> None:
    with kit.track():
        Trainer(save).save(100)
    with kit.track():
        trainer = Trainer(tmp_path / "sft")
        trainer.checkpoint.load = str(tmp_path / "sft")  # holds nothing yet
        trainer.checkpoint.pretrained_checkpoint = str(save)
        trainer.load(100)
        trainer.save(1)
    assert _inputs(store, "sft") == {("init", "art://nano3:v1")}
    assert [str(v.uri) for v in store.lineage("sft").ancestors()] == ["art://nano3:v1"]


def test_without_the_live_configuration_the_first_checkpoint_says_what_the_load_was(
    store: Lineage, save: Path, tmp_path: Path
) -> None:
    with kit.track():
        Trainer(save).save(100)
    with kit.track():
        trainer = Trainer(tmp_path / "sft")
        trainer.state.config["checkpoint"] |= {"pretrained_checkpoint": str(save)}
        trainer.hooks.on_load_checkpoint_success(str(save / "iter_0000100"), str(save), None)
        trainer.save(1)
    assert _inputs(store, "sft") == {("init", "art://nano3:v1")}


def test_checkpoint_that_is_only_evaluated_is_used(store: Lineage, save: Path) -> None:
    """Nothing is saved, so there is no folder beside which this could be recorded."""
    with kit.track():
        Trainer(save).save(100)
    with kit.track(name="evaluate") as tracking:
        trainer = Trainer(save)
        trainer.checkpoint.load, trainer.checkpoint.save = str(save), None
        trainer.load(100)
    with store.reading() as db:
        (used,) = queries.uses_of(db, tracking.id)
    assert (used.role, str(used.target)) == ("eval", "art://nano3:v1")


def test_start_from_a_hub_model_is_recorded(store: Lineage, save: Path) -> None:
    kit.track()
    trainer = Trainer(save)
    trainer.state.config["checkpoint"]["pretrained_checkpoint"] = "org/base-model"
    trainer.save(1)
    assert _inputs(store, "nano3") == {("init", "hf://org/base-model")}


def test_start_from_a_hub_model_is_inherited_after_a_resume(store: Lineage, save: Path) -> None:
    for step in (1, 2):
        with kit.track():
            trainer = Trainer(save)
            trainer.checkpoint.pretrained_checkpoint = "org/base-model"
            trainer.state.config["checkpoint"]["pretrained_checkpoint"] = "org/base-model"
            if step == 2:
                trainer.checkpoint.load = str(save)
                trainer.load(1)
            trainer.save(step)
    assert _inputs(store, "nano3:v1") == {("init", "hf://org/base-model")}
    assert _inputs(store, "nano3:v2") == {("resume", "art://nano3:v1")}


# -------------------------------------------------------------------- deleting


@pytest.mark.parametrize("in_background", [False, True])
def test_checkpoints_that_retention_deletes_get_an_end(
    store: Lineage, save: Path, *, in_background: bool
) -> None:
    with kit.track():
        trainer = Trainer(save)
        trainer.checkpoint.most_recent_k, trainer.checkpoint.async_save = 1, in_background
        for step in (1, 2, 3):
            trainer.save(step)
            if in_background:
                for thread in _others():
                    thread.join()
    assert _steps(store, "nano3") == [(1, "deleted"), (2, "deleted"), (3, "live")]
    (gone,) = [fact for fact in store.facts("nano3:v1") if fact.kind == "deleted"]
    assert gone.payload["reason"] == "retention keeps 1"


def test_deletion_that_ends_after_the_run_does_is_seen(
    store: Lineage, save: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, remove = threading.Event(), shutil.rmtree

    def slowly(path: Path) -> None:
        ends.wait(30)
        remove(path)

    with kit.track():
        trainer = Trainer(save)
        trainer.checkpoint.most_recent_k, trainer.checkpoint.async_save = 1, True
        trainer.save(1)
        monkeypatch.setattr(trainer.checkpointing.shutil, "rmtree", slowly)
        trainer.save(2)
        threading.Timer(0.3, ends.set).start()
    assert _steps(store, "nano3") == [(1, "deleted"), (2, "live")]


def test_deletion_that_takes_longer_than_all_looks_is_seen(
    store: Lineage, save: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, remove, looks = threading.Event(), shutil.rmtree, threading.Semaphore(0)

    def slowly(path: Path) -> None:
        ends.wait(30)
        remove(path)

    def look(path: str) -> bool:
        looks.release()
        return is_gone(path)

    monkeypatch.setattr(megatron_bridge, "is_gone", look)
    monkeypatch.setattr(megatron_bridge, "_LOOKS", ())
    monkeypatch.setattr(megatron_bridge, "_LAST_LOOK", 0.01)
    monkeypatch.setattr(megatron_bridge, "_PATIENCE", 0.01)
    kit.track()
    trainer = Trainer(save)
    trainer.checkpoint.most_recent_k, trainer.checkpoint.async_save = 1, True
    trainer.save(1)
    monkeypatch.setattr(trainer.checkpointing.shutil, "rmtree", slowly)
    trainer.save(2)
    try:
        for _ in range(6):
            assert looks.acquire(timeout=10)
    finally:
        ends.set()
    for thread in _others():
        thread.join()
    session.end_run()
    assert _steps(store, "nano3") == [(1, "deleted"), (2, "live")]


def test_folder_that_is_out_of_sight_is_not_deleted(store: Lineage, save: Path) -> None:
    with kit.track():
        trainer = Trainer(save)
        trainer.checkpoint.most_recent_k, trainer.checkpoint.async_save = 2, True
        trainer.save(1)
        trainer.save(2)
        for thread in _others():
            thread.join()
        save.rename(save.parent / "unmounted")
    (save.parent / "unmounted").rename(save)
    assert _steps(store, "nano3") == [(1, "live"), (2, "live")]


def test_reason_of_a_deletion_is_what_retention_was_told(store: Lineage, save: Path) -> None:
    kit.track()
    trainer = Trainer(save)
    trainer.save(1)
    trainer.checkpointing.cleanup_old_non_persistent_checkpoint(str(save), leave_ckpt_num=0)
    (gone,) = [fact for fact in store.facts("nano3:v1") if fact.kind == "deleted"]
    assert gone.payload["reason"] == "retention keeps 0"


def _others() -> list[Any]:
    return [t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()]


def test_what_vanished_unseen_is_found_missing_and_not_guessed_deleted(
    store: Lineage, save: Path
) -> None:
    with kit.track():
        Trainer(save).save(1)
    shutil.rmtree(save / "iter_0000001")
    assert _steps(store, "nano3") == [(1, "live")]
    assert store.look("nano3").state == "missing"


def test_only_rank_0_tells_of_deletions(
    store: Lineage, save: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with kit.track():
        trainer = Trainer(save)
        trainer.checkpoint.most_recent_k = 1
        trainer.save(1)
        trainer.save(2)
    assert _steps(store, "nano3") == [(1, "live"), (2, "live")]


# -------------------------------------------------------------- never in the way


def test_nothing_of_ours_looks_like_a_checkpoint(store: Lineage, save: Path) -> None:
    kit.track()
    Trainer(save).save(1)
    assert len(store.log("nano3")) == 1
    assert sorted(path.name for path in save.iterdir()) == [".lineage", "iter_0000001"]
    assert not list(save.rglob("iter_*"))[1:]


def test_hook_of_the_framework_runs_once_as_it_was_called(store: Lineage, save: Path) -> None:
    kit.track()
    trainer = Trainer(save)
    written: list[str] = []
    trainer.save(1, writer=written.append)
    trainer.load_dir = str(save)
    assert written == [str(save / "iter_0000001")]
    assert [f"saved {save}/iter_0000001 {save} 1"] == trainer.hooks.CALLS
    assert len(store.log("nano3")) == 1


def test_checkpoint_is_recorded_even_when_logging_to_wandb_fails(
    store: Lineage, save: Path
) -> None:
    def broken(_: str) -> None:
        raise RuntimeError("W&B is down")

    kit.track()
    trainer = Trainer(save)
    with pytest.raises(RuntimeError, match="W&B is down"):  # as without us
        trainer.save(1, writer=broken)
    assert _steps(store, "nano3") == [(1, "live")]


def test_nothing_is_recorded_after_the_end(store: Lineage, save: Path) -> None:
    trainer = Trainer(save)
    before = vars(trainer.hooks)["on_save_checkpoint_success"]
    with kit.track():
        assert vars(trainer.hooks)["on_save_checkpoint_success"] is not before
        trainer.save(1)
    assert vars(trainer.hooks)["on_save_checkpoint_success"] is before
    trainer.save(2)
    assert _steps(store, "nano3") == [(1, "live")]
    assert [run.status for run in store.runs()] == ["ok"]


def test_run_that_fails_is_recorded_as_failed(store: Lineage, save: Path) -> None:
    def train() -> None:
        with kit.track():
            Trainer(save).save(1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert [run.status for run in store.runs()] == ["failed"]
    assert _steps(store, "nano3") == [(1, "live")]


def test_tracking_twice_is_tracking_once(store: Lineage, save: Path) -> None:
    first = kit.track()
    second = kit.track()
    patch_wandb_checkpoint_logging()
    assert first.id == second.id
    Trainer(save).save(1)
    assert _steps(store, "nano3") == [(1, "live")]
    assert len(store.runs()) == 1


def test_settings_that_a_run_began_with_are_not_said_to_come_late(
    store: Lineage, save: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = kit.start_run("sft", config={"lr": 1})
    with kit.track({"lr": 1}, name="sft"):
        Trainer(save).save(1)
    assert "the run began before" not in caplog.text
    assert store.run_info(run.id).config == {"lr": 1}


def test_tracking_after_a_documented_function_seals_and_says_what_it_cannot_change(
    store: Lineage, save: Path, caplog: pytest.LogCaptureFixture
) -> None:
    patch_wandb_checkpoint_logging()
    with kit.track(seal="background"):
        assert "the run began before" not in caplog.text
        kit.track({"lr": 1}, name="sft")
        assert "its name and its settings stay as they are" in caplog.text
        Trainer(save).save(1)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and store.resolve("nano3").digest is None:
        time.sleep(0.05)
    assert store.resolve("nano3").digest is not None


def test_tracking_twice_with_settings_is_no_reason_to_warn(
    store: Lineage, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        kit.track({"lr": 1}, name="sft")
    assert not caplog.records
    assert store.runs()[0].name == "sft"


def test_framework_that_is_not_known_opens_no_run(store: Lineage) -> None:
    with pytest.raises(ValueError, match="'nemo' is not observed; the known frameworks are"):
        kit.track(frameworks=["nemo-rl", "nemo"])
    assert store.runs() == []


def test_forked_child_records_nothing(store: Lineage, save: Path) -> None:
    kit.track()
    trainer = Trainer(save)
    trainer.save(1)
    child = os.fork()
    if not child:
        trainer.save(2)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    trainer.save(3)
    assert _steps(store, "nano3") == [(1, "live"), (3, "live")]


def test_helper_that_imports_the_script_again_opens_no_run(
    store: Lineage, save: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import multiprocessing

    # what multiprocessing sets while a spawned child imports the main module
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with kit.track() as tracking:
        patch_wandb_checkpoint_logging()
        patch_wandb_init_for_lineage(artifact_qualified_names=["team/project/tokens:v7"])
        assert (tracking.id, tracking.patches) == ("", ())
    assert "tokens" not in caplog.text
    assert store.runs() == []


def test_documented_function_alone_is_enough(store: Lineage, save: Path) -> None:
    states = [str(status.state) for status in patch_wandb_checkpoint_logging()]
    assert set(states) == {"waiting"}
    Trainer(save).save(1)
    assert _steps(store, "nano3") == [(1, "live")]


def test_store_that_is_chosen_after_tracking_began_is_told(
    store: Lineage, save: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    patch_wandb_checkpoint_logging()
    kit.init(root=tmp_path / "other.db")
    (said,) = [each.message for each in caplog.records]
    assert "call kit.init() before track(), or track() again" in said
    patch_wandb_checkpoint_logging()
    Trainer(save).save(1)
    session.end_run()
    assert _steps(session.store(), "nano3") == [(1, "live")]


def test_unlucky_store_is_one_warning_and_records_are_kept(
    tmp_path: Path, save: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINEAGE_STORE", str(tmp_path / "lineage.db"))
    obstacle = tmp_path / "lineage.db.d"
    obstacle.write_text("in the way")
    caplog.set_level(logging.WARNING)
    kit.track()
    trainer = Trainer(save)
    for step in (1, 2, 3):
        trainer.save(step)
    session.end_run()
    warnings = [record.message for record in caplog.records if record.name.startswith("nemotron")]
    assert len(warnings) == 2  # the store, and where its records are
    obstacle.unlink()
    lines = [
        json.loads(line.partition(" ")[2])["kind"]
        for path in (save / ".lineage").iterdir()
        for line in path.read_text().splitlines()[1:]
    ]
    assert lines.count("published") == 3


@pytest.mark.parametrize("root", ["lineage.db", "journal"])
def test_store_that_is_gone_at_the_end_fails_no_training(
    tmp_path: Path, save: Path, caplog: pytest.LogCaptureFixture, root: str
) -> None:
    kit.init(root=tmp_path / root)
    with kit.track():
        Trainer(save).save(1)
        for path in tmp_path.glob(f"{root}*"):
            if path.is_dir():
                shutil.rmtree(path)
            path.write_text("something else " * 1000)
    assert "is not recorded: " in caplog.text


def test_folder_that_is_deleted_and_made_again_takes_records(store: Lineage, save: Path) -> None:
    kit.track()
    trainer = Trainer(save)
    trainer.save(1)
    assert _steps(store, "nano3") == [(1, "live")]
    shutil.rmtree(save)
    trainer.save(2)
    assert _steps(store, "nano3") == [(1, "live"), (2, "live")]


@pytest.mark.parametrize("address", ["lineage.db", "sqlite:///lineage.db", "lineage"])
def test_store_is_the_one_of_the_folder_that_tracking_began_in(
    address: str, tmp_path: Path, save: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.init(root=address)
    (tmp_path / "work").mkdir()
    with kit.track():
        monkeypatch.chdir(tmp_path / "work")  # as Hydra does
        Trainer(save).save(1)
    assert list((tmp_path / "work").iterdir()) == []
    monkeypatch.chdir(tmp_path)
    assert _steps(session.store(), "nano3") == [(1, "live")]


def test_working_folder_that_was_deleted_loses_no_record(
    store: Lineage, save: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit.track()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "work").rmdir()
    Trainer(save).save(1)
    monkeypatch.chdir(tmp_path)
    assert _steps(store, "nano3") == [(1, "live")]


def test_folder_whose_name_is_no_text_is_told_and_harms_nobody(
    store: Lineage, save: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kit.track()
    strange = Trainer(Path(os.fsdecode(os.fsencode(tmp_path) + b"/ck\xffpts")))
    strange.state.config["checkpoint"] = {"pretrained_checkpoint": "org/base"}
    strange.save(1)
    assert "is no UTF-8, and no record can hold it; rename it" in caplog.text
    Trainer(save).save(2)
    assert _steps(store, "nano3") == [(2, "live")]


def test_callback_without_losses_ends_no_training(store: Lineage, save: Path) -> None:
    kit.track()
    trainer = Trainer(save)
    manager = trainer.training.pretrain([])
    manager.fire("on_train_step_end")
    manager.fire("on_eval_end")
    trainer.save(1)
    assert "loss" not in store.resolve("nano3").metadata


def test_settings_that_only_the_launcher_can_resolve_are_recorded_as_written(
    store: Lineage, save: Path
) -> None:
    with kit.track({"run": {}, "folder": "${hydra:runtime.cwd}", "lr": 1}):
        Trainer(save).save(1)
    (run,) = store.runs()
    assert run.config == {"run": {}, "folder": "${hydra:runtime.cwd}", "lr": 1}


def test_stand_in_has_the_signatures_of_the_releases() -> None:
    table = json.loads((DATA / "signatures" / "megatron_bridge.json").read_text())["v0.3.1"]
    for target, parameters in table.items():
        module, _, name = target.partition(":")
        ours = inspect.signature(getattr(importlib.import_module(module), name)).parameters
        real = list(ours) if name == "_load_checkpoint_from_path" else parameters
        assert list(ours)[: len(ours)] == real[: len(ours)], target


def test_default_store_is_used_without_init(
    tmp_path: Path, save: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINEAGE_STORE", str(tmp_path / "other.db"))
    with kit.track():
        Trainer(save).save(1)
    with lineage.open(tmp_path / "other.db") as store:
        assert _steps(store, "nano3") == [(1, "live")]
