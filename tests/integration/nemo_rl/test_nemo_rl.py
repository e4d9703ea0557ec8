"""Every checkpoint of NeMo-RL appears once, and every pruned one has an end.

The real class is used where ``NEMO_RL_SOURCE`` names a folder with ``nemo_rl/`` in it, or with
folders that have one (NeMo-RL is on no registry), by the Python of ``NEMO_RL_PYTHON``, which has
torch. Stand-ins are used always.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nemotron import lineage
from nemotron.lineage import ArtifactVersionNotFoundError, Lineage, State

HERE = Path(__file__).parent
NAMESPACE = HERE.parents[2] / "tools" / "ns"
SOURCE = os.environ.get("NEMO_RL_SOURCE", "")
PYTHON = os.environ.get("NEMO_RL_PYTHON", sys.executable)
BACKGROUND = ("Main", "main", "HEAD")


def _real() -> list[Path]:
    if not SOURCE:
        return []
    folders = [Path(SOURCE), *sorted(Path(SOURCE).iterdir())]
    return [folder for folder in folders if (folder / "nemo_rl/utils/checkpoint.py").is_file()]


Run = Callable[..., Path]


@pytest.fixture(params=["Released", "Main", *_real()], ids=lambda each: getattr(each, "name", each))
def nemo_rl(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with a ``nemo_rl`` package."""
    if isinstance(request.param, Path):
        return request.param
    package = tmp_path / request.param / "nemo_rl" / "utils"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / "checkpoint.py").write_text(
        f"import sys\nsys.path.insert(0, {str(HERE)!r})\n"
        f"from standins import {request.param}\n\n\n"
        f"class CheckpointManager({request.param}):\n    pass\n"
    )
    return package.parents[1]


@pytest.fixture
def run(nemo_rl: Path, tmp_path: Path) -> Run:
    """Runs a case in a process of its own, as a driver is."""

    def act(case: str, folder: str = "results/grpo", *, warns: bool = False) -> Path:
        out = tmp_path / folder
        is_real = not nemo_rl.is_relative_to(tmp_path)
        path = os.pathsep.join(map(str, (nemo_rl, NAMESPACE)))
        result = subprocess.run(
            [PYTHON if is_real else sys.executable, HERE / "scenario.py", case, out],
            capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "PYTHONPATH": path, "LINEAGE_STORE": str(tmp_path / "lineage.db")},
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert ("training goes on" in result.stderr) == warns
        return out

    return act


@pytest.fixture
def store(tmp_path: Path, run: Run) -> Iterator[Lineage]:  # after the fixtures that write it
    del run
    with lineage.open(tmp_path / "lineage.db") as store:
        yield store


def _versions(store: Lineage, name: str = "grpo") -> list[tuple[int, str]]:
    return [(v.metadata["step"], v.state) for v in reversed(store.log(name))]


@pytest.mark.parametrize("case", ["three", "three_in_turn"])
def test_each_checkpoint_appears_once(run: Run, store: Lineage, case: str) -> None:
    out = run(case)
    assert _versions(store) == [(1, "live"), (2, "live"), (3, "live")]
    version = store.resolve("grpo:step_2")
    assert version.path == out / "step_2"
    assert version.metadata["consumed_samples"] == 16
    assert version.metadata["absolute_path"] == str(out / "step_2")


def test_inputs_are_those_of_the_configuration(run: Run, store: Lineage) -> None:
    run("three")
    inputs = {(each.role, str(each.target), each.split) for each in store.inputs("grpo")}
    assert inputs == {
        ("data", "hf://org/validation", "validation"), ("init", "hf://org/base", None),
        ("tokenizer", "hf://org/tokenizer", None), ("teacher", "hf://org/teacher", None),
        ("reward", "hf://org/reward", None),
    }  # fmt: skip
    assert store.resolve("grpo").metadata["algorithm"] == "grpo"


def test_pruned_checkpoint_has_an_end_and_the_best_one_keeps_its_name(
    run: Run, store: Lineage
) -> None:
    run("keep_the_best")
    assert _versions(store) == [(1, "live"), (2, "deleted"), (3, "live")]
    assert store.resolve("grpo:best").metadata["step"] == 1
    assert store.resolve("grpo:latest").metadata["step"] == 3


def test_best_is_the_best_of_those_that_are_there(run: Run, store: Lineage) -> None:
    run("lose_the_best")
    assert store.resolve("grpo:best").metadata["step"] == 3


def test_of_equally_good_checkpoints_the_best_is_the_one_that_is_kept(
    run: Run, store: Lineage
) -> None:
    run("tie")
    assert _versions(store) == [(1, "deleted"), (2, "live"), (3, "live")]
    assert store.resolve("grpo:best").metadata["step"] == 2


def test_best_step_that_is_saved_again_and_is_worse_hands_the_alias_back(
    run: Run, store: Lineage
) -> None:
    run("save_worse_again")
    assert _versions(store) == [(1, "live"), (2, "replaced"), (2, "live")]
    assert store.resolve("grpo:best").metadata["step"] == 1
    assert store.resolve("grpo:latest").metadata["step"] == 2


def test_alias_goes_to_the_version_that_was_saved_whatever_was_written_into_it(
    run: Run, store: Lineage
) -> None:
    run("write_into_the_best")
    assert _versions(store) == [(1, "live"), (2, "replaced"), (2, "live")]
    assert store.resolve("grpo:best").number == 1
    assert store.resolve("grpo:latest").number == 3


@pytest.mark.parametrize("names_newest", [True, False])
def test_folder_of_megatron_checkpoints_means_its_newest_one(
    run: Run, store: Lineage, tmp_path: Path, *, names_newest: bool
) -> None:
    root = tmp_path / "results" / "nano3"
    with store.run("pretrain") as pretraining:
        for step in (2, 4):
            iteration = root / f"iter_{step:07d}"
            iteration.mkdir(parents=True)
            (iteration / "run_config.yaml").write_text(f"step: {step}")
            pretraining.publish("nano3", path=iteration, type="model")
    if names_newest:
        (root / "latest_checkpointed_iteration.txt").write_text("2\n")
    run("from_megatron")
    inputs = {(each.role, str(each.target)) for each in store.inputs("grpo")}
    assert ("init", "art://nano3:v1" if names_newest else "art://nano3:v2") in inputs


def test_checkpoint_that_tells_too_much_is_recorded_without_it(run: Run, store: Lineage) -> None:
    run("large")
    assert _versions(store) == [(1, "live")]
    assert "more than 524,288 bytes" in store.resolve("grpo").metadata["training_info"]


def test_step_that_is_saved_again_replaces_the_one_before(run: Run, store: Lineage) -> None:
    run("save_again")
    assert _versions(store) == [(3, "replaced"), (3, "live")]
    assert store.resolve("grpo:step_3").number == 2
    assert store.resolve("grpo:best").number == 2


def test_checkpoint_that_its_own_end_prunes_is_recorded_before(run: Run, store: Lineage) -> None:
    out = run("go_back")
    assert [path.name for path in sorted(out.glob("step_*"))] == ["step_5"]
    assert _versions(store) == [(5, "live"), (2, "deleted")]


def test_nothing_is_recorded_of_a_checkpoint_that_failed(
    run: Run, store: Lineage, nemo_rl: Path
) -> None:
    if nemo_rl.name not in BACKGROUND:
        pytest.skip("this generation finishes in the caller's thread")
    run("fail")
    assert _versions(store) == [(1, "live")]


def test_checkpoints_for_recovery_get_an_end_too(run: Run, store: Lineage, nemo_rl: Path) -> None:
    if nemo_rl.name not in BACKGROUND:
        pytest.skip("this generation has no ft_keep_latest_k")
    run("keep_the_latest")
    assert _versions(store) == [
        (9, "deleted"), (10, "live"), (11, "deleted"), (12, "live"),
    ]  # fmt: skip


def test_best_one_that_is_pruned_hands_the_alias_back(
    run: Run, store: Lineage, nemo_rl: Path
) -> None:
    run("prune_the_best")
    is_main = nemo_rl.name in BACKGROUND
    assert _versions(store)[1] == (11, "deleted" if is_main else "live")
    assert store.resolve("grpo:best").metadata["step"] == (10 if is_main else 11)


def test_resumed_run_goes_on_from_its_checkpoint(run: Run, store: Lineage) -> None:
    run("three")
    run("resume")
    inputs = {(each.role, str(each.target)) for each in store.inputs("grpo:step_4")}
    assert ("resume", "art://grpo:v3") in inputs
    assert "init" not in {role for role, _ in inputs}
    assert store.resolve("grpo:best").metadata["step"] == 3
    assert "art://grpo:v2" not in [str(v.uri) for v in store.lineage("grpo:v4").ancestors()]
    assert len(store.runs()) == 2


def test_a_start_without_a_checkpoint_has_the_model_that_it_starts_from(
    run: Run, store: Lineage
) -> None:
    run("start")
    assert ("init", "hf://org/base") in {(i.role, str(i.target)) for i in store.inputs("grpo")}
    version = store.resolve("grpo")
    assert version.non_finite == ("val:accuracy",)
    with pytest.raises(ArtifactVersionNotFoundError):
        store.resolve("grpo:best")


@pytest.mark.parametrize(
    ("case", "folder", "name"),
    [
        ("three", "nano3.v2", "nano3.v2"),
        ("three", "results", "rl-of-today-results"),
        ("named", "exp/checkpoints", "rl-checkpoints"),
        ("given", "results", "my-policy"),
    ],
)
def test_name_says_which_run_it_is(
    run: Run, store: Lineage, case: str, folder: str, name: str
) -> None:
    run(case, folder)
    assert [artifact.name for artifact in store.artifacts()] == [name]


def test_two_runs_that_save_into_results_share_no_artifact(run: Run, store: Lineage) -> None:
    run("three", "a/results")
    run("three", "b/results")
    names = [artifact.name for artifact in store.artifacts()]
    assert len(names) == 2
    assert all(len(store.log(name)) == 3 for name in names)


def test_training_goes_on_without_a_store(run: Run, tmp_path: Path) -> None:
    (tmp_path / "lineage.db.d").write_text("in the way")
    out = tmp_path / "results/grpo"
    run("three", warns=True)
    assert len(list(out.glob("step_*"))) == 3
    records = [
        json.loads(line.partition(" ")[2])
        for path in (out / ".lineage").iterdir()
        for line in path.read_text().splitlines()
    ]
    assert sum(record.get("kind") == "published" for record in records) == 3


def _pinned() -> list[tuple[str, dict[str, list[str] | None]]]:
    table = json.loads((HERE.parents[1] / "data/signatures/nemo_rl.json").read_text())
    return [(release, table[release]) for release in table if release != "v0.2.1"]


@pytest.mark.parametrize(("release", "table"), _pinned(), ids=lambda each: str(each)[:9])
def test_stand_ins_have_the_methods_of_the_real_class(
    release: str, table: dict[str, list[str] | None]
) -> None:
    kind = "Released" if release.startswith("v") else "Main"
    spec = importlib.util.spec_from_file_location("standins", HERE / "standins.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for target, real in table.items():
        ours = getattr(getattr(module, kind), target.rpartition(".")[2], None)
        assert (real is None) == (ours is None), target
        assert ours is None or list(inspect.signature(ours).parameters) == real, target


def test_deleted_state_is_what_readers_see(run: Run, store: Lineage) -> None:
    run("keep_the_best")
    assert store.version("grpo:v2").state is State.DELETED
