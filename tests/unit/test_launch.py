"""Jobs, attempts and the ranks that are one run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from nemotron.lineage.launch import Launch, Process, code_version

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "run7", "TORCHELASTIC_RESTART_COUNT": "0", "MASTER_ADDR": "n1",
    "MASTER_PORT": "29500", "WORLD_SIZE": "16", "GROUP_WORLD_SIZE": "2",
}  # fmt: skip
SRUN = {"SLURM_JOB_ID": "123", "SLURM_STEP_ID": "0", "SLURM_NTASKS": "8"}


def _id(environ: dict[str, str], name: str = "sft", occasion: int = 0) -> str:
    return Launch.read(environ).run_id(name, occasion)


@pytest.mark.parametrize("launcher", [TORCHRUN, SRUN], ids=["torchrun", "srun"])
def test_all_ranks_work_out_the_same_run(launcher: dict[str, str]) -> None:
    ids = {_id({**launcher, "RANK": str(r), "SLURM_PROCID": str(r)}) for r in range(8)}
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("launcher", "change"),
    [
        (TORCHRUN, {"TORCHELASTIC_RESTART_COUNT": "1"}),
        (TORCHRUN, {"TORCHELASTIC_RUN_ID": "run8"}),
        (TORCHRUN, {"MASTER_PORT": "29501"}),
        (SRUN, {"SLURM_RESTART_COUNT": "1"}),
        (SRUN, {"SLURM_STEP_ID": "1"}),
        (SRUN, {"SLURM_JOB_ID": "124"}),
    ],
)
def test_another_attempt_is_another_run(launcher: dict[str, str], change: dict[str, str]) -> None:
    assert _id(launcher) != _id({**launcher, **change})


def test_requeued_job_keeps_its_job_id() -> None:
    again = {**SRUN, "SLURM_RESTART_COUNT": "1"}
    assert Launch.read(SRUN).job == Launch.read(again).job == "slurm:123"


def test_name_and_occasion_tell_runs_of_one_launch_apart() -> None:
    assert len({_id(SRUN, "sft", 0), _id(SRUN, "sft", 1), _id(SRUN, "eval", 0)}) == 3


def test_processes_without_a_group_are_runs_of_their_own() -> None:
    batch = {"SLURM_JOB_ID": "123", "SLURM_NTASKS": "1"}
    assert _id({}) != _id({})
    assert _id(batch) != _id(batch)


def test_two_torchruns_on_one_node_are_two_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = {**TORCHRUN, "GROUP_WORLD_SIZE": "1"}
    first = _id(alone)
    assert first == _id(alone)
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert _id(alone) != first


def test_launcher_of_ours_decides_the_run() -> None:
    assert _id({"LINEAGE_RUN": "x"}) == _id({"LINEAGE_RUN": "x"}) != _id({"LINEAGE_RUN": "y"})


@pytest.mark.parametrize(
    ("environ", "job"),
    [
        ({}, None),
        ({"SLURM_JOB_ID": "1"}, "slurm:1"),
        ({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}, "slurm:7_2"),
        ({"SLURM_JOB_ID": "1", "NEMO_EXPERIMENT_ID": "exp_1"}, "nemo-run:exp_1"),
        ({"NEMO_EXPERIMENT_ID": "exp_1", "LINEAGE_JOB": "mine"}, "mine"),
        ({"TORCHELASTIC_RUN_ID": "none"}, None),
        ({"TORCHELASTIC_RUN_ID": "abc"}, "torchrun:abc"),
    ],
)
def test_job_of_each_launcher(environ: dict[str, str], job: str | None) -> None:
    assert Launch.read(environ).job == job


def test_rank_and_world() -> None:
    launch = Launch.read({**SRUN, "SLURM_PROCID": "3"})
    assert (launch.rank, launch.world) == (3, 8)
    assert (Launch.read({}).rank, Launch.read({}).world) == (0, 1)


def test_process_is_known_to_be_gone() -> None:
    child = subprocess.Popen(["sleep", "60"])
    here = Process.current()
    started = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
    process = Process(here.host, child.pid, here.boot, started)
    assert process.is_gone() is False
    child.kill()
    child.wait()
    assert process.is_gone() is True
    assert here.is_gone() is False


def test_process_of_another_host_or_boot() -> None:
    here = Process.current()
    assert Process("elsewhere", here.pid, here.boot, here.started).is_gone() is None
    assert Process(here.host, here.pid, "another boot", here.started).is_gone() is True
    # the number was given to another process since
    assert Process(here.host, here.pid, here.boot, "1").is_gone() is True


def test_code_version_is_that_of_git(tmp_path: Path) -> None:
    assert code_version(str(tmp_path)) == {}
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q", "-b", "main"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    found = code_version(str(tmp_path))
    assert (found["branch"], found["dirty"], len(found["commit"])) == ("main", False, 40)
    (tmp_path / "a").touch()
    assert not code_version(str(tmp_path))["dirty"]
    subprocess.run([*git, "add", "a"], cwd=tmp_path, check=True)
    assert code_version(str(tmp_path))["dirty"]


def test_no_git_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert code_version() == {}
