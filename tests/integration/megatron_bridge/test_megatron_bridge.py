"""Real ``pretrain()`` runs of Megatron-Bridge: each checkpoint appears once, each deleted one ends.

Needs the Python of an environment that has Megatron-Bridge, ``MEGATRON_PYTHON``;
``make test-megatron`` makes one. Every run is a process with a time limit: a fault of
asynchronous retention makes the real one hang.
"""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from nemotron import lineage
from nemotron.lineage import Lineage

ROOT = Path(__file__).parents[3]
SCRIPTS = ROOT / "examples" / "megatron"
NAMESPACE = ROOT / "tools" / "ns"
PYTHON = os.environ.get("MEGATRON_PYTHON", "")

pytestmark = pytest.mark.skipif(not PYTHON, reason="MEGATRON_PYTHON names no environment")

Train = Callable[..., str]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder with one store for all runs: the later ones go on from the first."""
    return tmp_path_factory.mktemp("megatron")


@pytest.fixture(scope="module")
def train(place: Path) -> Train:
    """Run ``pretrain()`` once, and return what it printed."""

    def act(save: str, *words: object, ranks: int = 1, returns: int = 0, **environ: str) -> str:
        script = [str(SCRIPTS / "pretrain.py"), save, *map(str, words)]
        command = [PYTHON, *script]
        if ranks > 1:
            launcher = [PYTHON, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks)]
            command = [*launcher, *script]
        log = place / "log"
        with log.open("w") as file:
            process = subprocess.Popen(
                command, stdout=file, stderr=subprocess.STDOUT, cwd=place, start_new_session=True,
                env={
                    **os.environ, "PYTHONPATH": str(NAMESPACE), "HOME": str(place),
                    "LINEAGE_STORE": str(place / "lineage.db"), **environ,
                },
            )  # fmt: skip
            try:
                returned = process.wait(240)
            finally:  # helpers of one that was killed go on
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        said = log.read_text()
        assert returned == returns, said[-4000:]
        return said

    return act


@pytest.fixture
def store(place: Path) -> Iterator[Lineage]:
    with lineage.open(place / "lineage.db") as store:
        yield store


@pytest.fixture(scope="module")
def first(train: Train) -> str:
    """Four iterations, a checkpoint every two, the last one saved twice by 0.3.1."""
    return train("out/nano3", "--losses")


def _steps(store: Lineage, name: str) -> list[tuple[int, str]]:
    return [(v.metadata["iteration"], str(v.state)) for v in reversed(store.log(name))]


def _inputs(store: Lineage, reference: str) -> set[tuple[str, str]]:
    return {(each.role, str(each.target)) for each in store.inputs(reference)}


def test_each_checkpoint_appears_once(first: str, store: Lineage, place: Path) -> None:
    assert '"megatron-bridge-save": "applied"' in first
    assert '"megatron-bridge-losses": "applied"' in first
    assert [v.metadata["iteration"] for v in reversed(store.log("nano3"))][:2] == [2, 4]
    assert len(store.log("nano3")) == len({v.path for v in store.log("nano3")})
    version = store.version("nano3:v2")
    assert version.path == place / "out/nano3/iter_0000004"
    assert version.metadata["consumed_train_samples"] == 8
    assert version.metadata["consumed_train_tokens"] == 8 * 32
    assert 4.0 < version.metadata["loss"] < 7.0
    assert 4.0 < version.metadata["validation_loss"] < 7.0


def test_resume_with_retention_goes_on_and_ends_what_it_deletes(
    first: str, train: Train, store: Lineage
) -> None:
    del first
    before = {run.id for run in store.runs()}
    train("out/nano3", "--load", "out/nano3", "--iters", 6, "--keep", 1)
    assert _steps(store, "nano3") == [(2, "deleted"), (4, "deleted"), (6, "live")]
    assert _inputs(store, "nano3:step_6") == {("resume", "art://nano3:v2")}
    (run,) = [run for run in store.runs() if run.id not in before]
    assert (run.job_type, run.status) == ("training", "ok")


def test_finetuning_starts_from_its_parent(first: str, train: Train, store: Lineage) -> None:
    del first
    newest = store.resolve("nano3")
    said = train("out/sft", "--pretrained", "out/nano3", "--iters", 2, "--name", "sft")
    assert "DRIFTED" not in said
    assert _steps(store, "sft") == [(2, "live")]
    assert _inputs(store, "sft") == {("init", str(newest.uri))}
    assert str(newest.uri) in [str(v.uri) for v in store.lineage("sft").ancestors()]
    children = {str(v.uri) for v in store.lineage(str(newest.uri)).descendants()}
    assert "art://sft:v1" in children


def test_asynchronous_saves_have_the_step_of_their_folder(train: Train, store: Lineage) -> None:
    train("out/async7", "--async-save", "--iters", 5)
    assert _steps(store, "async7") == [(2, "live"), (4, "live"), (5, "live")]


def test_last_rank_saves_and_rank_0_deletes_in_one_run(train: Train, store: Lineage) -> None:
    said = train("out/pair", "--iters", 3, "--keep", 1, ranks=2)
    assert said.count("STATES") == 2
    assert _steps(store, "pair") == [(2, "deleted"), (3, "live")]
    runs = {version.run for version in store.log("pair")}
    assert len(runs) == 1
    (run,) = [run for run in store.runs() if run.id in runs]
    assert run.status == "ok"


def test_real_data_are_an_input_of_the_version_that_made_them(
    train: Train, store: Lineage, place: Path
) -> None:
    tokens = place / "tokens"
    tokens.mkdir()
    made = subprocess.run(
        [PYTHON, SCRIPTS / "tokens.py", tokens / "text_document"], check=False, capture_output=True,
        text=True, env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    with store.run("prep", job_type="data-prep") as run:
        run.publish("tokens", path=tokens, type="dataset")
    train("out/real", "--data", tokens / "text_document", "--iters", 2)
    assert ("data", "art://tokens:v1") in _inputs(store, "real")
    assert _steps(store, "real") == [(2, "live")]


def test_fault_of_ours_leaves_training_alone(train: Train, store: Lineage) -> None:
    said = train("out/faulty", "--raise-in-hook", "--iters", 2)
    assert "a fault of ours" in said
    assert "training goes on" in said
    assert "faulty" not in {artifact.name for artifact in store.artifacts()}


def test_kill_9_right_after_a_save_loses_nothing(train: Train, store: Lineage) -> None:
    train("out/killed", "--kill-after-save", returns=-signal.SIGKILL)
    assert _steps(store, "killed") == [(2, "live")]
    (run,) = [run for run in store.runs() if run.id == store.resolve("killed").run]
    assert run.status == "lost"


def test_no_store_and_no_disk_for_records_leave_training_alone(
    train: Train, place: Path, store: Lineage
) -> None:
    saves = place / "out" / "nowhere"
    saves.mkdir(parents=True)
    (saves / ".lineage").write_text("in the way")
    (place / "gone.db.d").write_text("in the way")
    said = train("out/nowhere", "--iters", 2, LINEAGE_STORE=str(place / "gone.db"))
    assert "training goes on" in said
    assert (saves / "iter_0000002" / ".metadata").is_file()
    shutil.rmtree(saves)
    assert store.artifacts()


def test_offline_wandb_logs_its_own_artifacts_as_before(
    train: Train, store: Lineage, place: Path
) -> None:
    (place / "wandb-files").mkdir()
    train(
        "out/withwb", "--wandb", "--iters", 2, WANDB_MODE="offline",
        WANDB_DIR=str(place / "wandb-files"),
    )  # fmt: skip
    assert _steps(store, "withwb") == [(2, "live")]
    assert (place / "out/withwb/latest_wandb_artifact_path.txt").is_file()


def test_hooks_are_looked_up_when_they_are_called() -> None:
    """``module.name(...)`` reaches a patch that came after the import; a copied name does not."""
    found = subprocess.run(
        [PYTHON, "-c", "import megatron; print(*megatron.__path__)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    source = Path(found.stdout.strip()) / "bridge" / "training" / "checkpointing.py"
    calls = {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Call)
    }
    assert {
        "wandb_utils.on_save_checkpoint_success", "wandb_utils.on_load_checkpoint_success",
        "cleanup_old_non_persistent_checkpoint", "_load_checkpoint_from_path",
    } <= calls  # fmt: skip
