"""Slurm behind ssh: a real sshd on 127.0.0.1, with nothing of the user's on the other side."""

from __future__ import annotations

import json
import shlex
import stat
import sys
import warnings
from pathlib import Path
from secrets import token_hex

import pytest

from nemotron import lineage

from ..leaks import files_with, logs, watching_processes
from .conftest import Cluster, Result, User, until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # those of what nemo-run imports
    pytest.importorskip("nemo_run")

SEEN = """\
import json, os, sys
from nemotron import lineage
with lineage.open() as store, store.run("train") as run:
    run.publish("model", path=__file__, type="model")
print("said", flush=True)
json.dump({name: os.environ.get(name) for name in sys.argv[2:]}, open(sys.argv[1], "w"))
sys.exit(int(os.environ.get("CODE", "0")))
"""
VALUE = 'a  b; $HOME `id` it\'s "q" /nemo_run/x'


@pytest.fixture
def remote(user: User, cluster: Cluster) -> Path:
    """The folder of the jobs on the other side; the profile ``ci`` leads there."""
    folder = user.home.parent / "remote"
    folder.mkdir()
    user.settings(
        'tunnel = "ssh"', 'host = "127.0.0.1"', 'user = "root"', f"port = {cluster.port}",
        f'identity = "{cluster.key}"', f'remote_job_dir = "{folder}"', 'packager = "none"',
        "[ci.env_vars]", f"PYTHONPATH = {json.dumps(user.environ['PYTHONPATH'])}",
        f"LINEAGE_STORE = {json.dumps(str(user.project / 'lineage.db'))}",
    )  # fmt: skip
    return folder


def _run(user: User, *words: str, **more: str) -> Result:
    (user.project / "job.py").write_text(SEEN)
    seen = str(user.project / "seen.json")
    command = [sys.executable, str(user.project / "job.py"), seen, "WANDB_API_KEY", "VALUE"]
    return user.lineage("run", "ci", *words, "--", *command, **more)


def test_job_behind_ssh_sees_all_and_leaks_nothing(
    user: User, cluster: Cluster, remote: Path
) -> None:
    key = token_hex(20)
    with watching_processes(key) as seen_in_processes:
        result = _run(user, f"env_vars.VALUE={VALUE}", WANDB_API_KEY=key)
    assert (result.status, result.out) == (0, "said\n"), result.err
    assert json.loads((user.project / "seen.json").read_text()) == {
        "WANDB_API_KEY": key, "VALUE": VALUE,
    }  # fmt: skip
    # the local copy, the other side, Slurm: nothing is left but what the job itself wrote
    assert files_with(key, cluster.folder) == {user.project / "seen.json"}
    assert not seen_in_processes
    assert len(logs(remote)) == 2
    (experiment,) = (remote / "nemo-run").iterdir()
    assert stat.S_IMODE(experiment.stat().st_mode) == 0o700
    with lineage.open(user.project / "lineage.db") as store:
        runs = {run.name: run for run in store.runs()}
    assert runs["train"].detail["parent"] == runs["launch"].id
    assert runs["launch"].config["folder"] == str(experiment / "nemo-run")


def test_failing_job_behind_ssh_fails_its_launcher(user: User, remote: Path) -> None:
    assert _run(user, "env_vars.CODE=5").status == 5


def test_cancelled_job_behind_ssh_ends_aborted(user: User, cluster: Cluster, remote: Path) -> None:
    process = user.start("run", "ci", "--", "sleep", "600")
    until(lambda: "RUNNING" in cluster.run("squeue", "-h", "-o", "%T"), "the job")
    cluster.run("scancel", user.number())
    _, err = process.communicate(timeout=300)
    assert process.returncode == 143, err


def test_store_of_this_side_is_not_handed_over(user: User, remote: Path) -> None:
    text = (user.project / "env.toml").read_text()
    (user.project / "env.toml").write_text(text.partition("LINEAGE_STORE")[0])
    result = user.lineage("run", "ci", "--", "sh", "-c", "echo store=$LINEAGE_STORE")
    assert (result.status, result.out) == (0, "store=\n")
    assert "the job gets no store" in result.err


def test_login_that_fails_is_one_sentence(user: User, remote: Path, cluster: Cluster) -> None:
    result = user.lineage("run", "ci", "port=1", "--", "true")
    assert result.status == 1
    assert "launching on slurm failed" in result.err
    assert "Traceback" not in result.err


def test_words_that_reach_a_shell_over_ssh_are_refused(user: User, remote: Path) -> None:
    for key in ("host", "user", "remote_job_dir", "identity"):
        value = shlex.quote("x$(touch INJECTED)")
        result = user.lineage("run", "ci", f"{key}={value}", "--", "true")
        assert f"{key}: would be read by a shell" in result.err
    assert not list(user.home.parent.rglob("INJECTED"))
