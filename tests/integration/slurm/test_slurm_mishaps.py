"""Launches on a real Slurm that go wrong: no key stays behind, and one sentence says why."""

from __future__ import annotations

import json
import signal
import subprocess
import warnings
from pathlib import Path
from secrets import token_hex
from shutil import which

import pytest

from nemotron import lineage
from nemotron.lineage import Run, RunStatus

from ..leaks import files_with, logs
from .conftest import Cluster, User, until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # those of what nemo-run imports
    pytest.importorskip("nemo_run")

SEEN = "import json, os; json.dump(dict(os.environ), open('seen.json', 'w'))"


def _launch(user: User) -> Run:
    with lineage.open(user.project / "lineage.db") as store:
        return next(run for run in store.runs() if run.name == "launch")


def _shim(user: User, name: str, text: str) -> Path:
    path = user.home.parent / "bin" / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


# ------------------------------------------------------------------------------ what is left


def test_refused_job_leaves_no_key(user: User, cluster: Cluster) -> None:
    key = token_hex(20)
    result = user.lineage("run", "ci", "partition=nowhere", "--", "true", WANDB_API_KEY=key)
    assert (result.status, result.err) == (
        1, ("lineage: launching on slurm failed: sbatch: error: invalid partition specified: "
            "nowhere sbatch: error: Batch job submission failed: Invalid partition name "
            "specified\n"),
    )  # fmt: skip
    assert files_with(key, cluster.folder) == set()


def test_launcher_that_is_stopped_while_the_job_waits_leaves_no_key(
    user: User, cluster: Cluster
) -> None:
    """A job that never ran cannot take its secrets along."""
    key = token_hex(20)
    later = 'additional_parameters={begin="now+3600"}'
    process = user.start("run", "ci", later, "--", "true", WANDB_API_KEY=key)
    number = user.number()
    assert files_with(key, user.home)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert cluster.state(number) == "CANCELLED"
    # Slurm itself keeps what was exported, for root alone, until it forgets the job
    assert not files_with(key, user.home)


@pytest.mark.parametrize("name", ["PGPASSWORD", "MYSQL_PWD", "SERVER"])
def test_secret_by_any_name_is_in_no_script_and_no_log(
    user: User, cluster: Cluster, name: str
) -> None:
    """Of a server's address the password is one, whatever the variable is called."""
    secret = token_hex(9)
    value = f"https://me:{secret}@db.example.com/x" if name == "SERVER" else secret
    user.settings("[ci.env_vars]", f"{name} = {json.dumps(value)}")
    (user.project / "env.toml").chmod(0o600)  # else it may hold no secret
    python = user.script(SEEN)
    result = user.lineage("run", "ci", "--", python, "job.py")
    assert result.status == 0, result.err
    seen = user.project / "seen.json"
    assert json.loads(seen.read_text())[name] == value
    assert len(logs(user.home)) >= 2
    assert files_with(secret, cluster.folder) == {user.project / "env.toml", seen}


def test_exported_variable_is_handed_over_in_a_file(user: User, cluster: Cluster) -> None:
    secret = token_hex(20)
    user.settings('[ci.secrets]\nMY_VARIABLE = "file"')
    python = user.script(SEEN)
    result = user.lineage("run", "ci", "--", python, "job.py", MY_VARIABLE=secret)
    assert result.status == 0, result.err
    seen = user.project / "seen.json"
    assert json.loads(seen.read_text())["MY_VARIABLE"] == secret
    assert not set(logs(cluster.folder)) & files_with(secret, cluster.folder)
    assert not files_with(secret, user.home)


def test_settings_by_another_name_are_in_no_archive(user: User) -> None:
    (user.project / "env.toml").rename(user.project / "cluster.toml")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        who = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
        subprocess.run(["git", *who, *words], cwd=user.project, check=True, env=user.environ)
    result = user.lineage("run", "--file", "cluster.toml", "ci", "--", "sh", "-c", "ls; pwd")
    assert result.status == 0, result.err
    assert "/code" in result.out
    assert "cluster.toml" not in result.out


# ------------------------------------------------------------------------------ what is said


def test_job_that_does_not_begin_says_where_to_look(user: User) -> None:
    # srun knows no --container-image: pyxis is not here
    result = user.lineage("run", "ci", "container_image=/x.sqsh", "--", "true")
    assert result.status not in (0, 1), result.err
    launch = _launch(user)
    said = f"its command did not begin, and the logs in {launch.config['folder']} tell why"
    assert said in result.err
    assert (launch.status, said in (launch.error or "")) == (RunStatus.FAILED, True)
    texts = [path.read_text() for path in logs(Path(launch.config["folder"]))]
    assert any("container-image" in text for text in texts)


def test_job_that_cannot_be_cancelled_is_not_said_to_be(user: User, cluster: Cluster) -> None:
    shim = _shim(user, "scancel", "exit 1")
    process = user.start("run", "ci", "--", "sh", "-c", "touch started; sleep 600")
    until((user.project / "started").exists, "the job")
    number = user.number()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    said = f"job {number} could not be cancelled, and may still run; say: scancel {number}"
    assert (process.returncode, said in err) == (1, True), err
    assert (_launch(user).status, _launch(user).error) == (RunStatus.FAILED, said)
    assert cluster.state(number) == "RUNNING"
    shim.unlink()
    cluster.run("scancel", number)


def test_launcher_that_is_stopped_while_it_asks_slurm_cancels_its_job(
    user: User, cluster: Cluster
) -> None:
    """What runs the commands keeps Ctrl-C to itself while one runs."""
    slow, asked, go = (user.home / name for name in ("slow", "asked", "go"))
    wait = f"touch {asked}; until [ -e {go} ]; do sleep 0.05; done"
    _shim(user, "scontrol", f'[ ! -e {slow} ] || {{ {wait}; }}\nexec {which("scontrol")} "$@"')
    process = user.start("run", "ci", "--", "sh", "-c", "touch started; sleep 600")
    until((user.project / "started").exists, "the job")
    number = user.number()
    slow.touch()
    until(asked.exists, "a look")
    process.send_signal(signal.SIGINT)
    go.touch()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert _launch(user).status is RunStatus.ABORTED
    until(lambda: cluster.state(number) == "CANCELLED", "the end")


def test_launches_at_once_do_not_mix(user: User) -> None:
    key = token_hex(20)
    started = [
        user.start("run", "ci", "--", "sh", "-c", f"echo {code}; exit {code}", WANDB_API_KEY=key)
        for code in range(3)
    ]
    ends = [(*each.communicate(timeout=300), each.returncode) for each in started]
    assert [(out, status) for out, _, status in ends] == [(f"{n}\n", n) for n in range(3)], ends
    assert not files_with(key, user.home)


# ------------------------------------------------------------------------------ behind ssh


@pytest.fixture
def remote(user: User, cluster: Cluster) -> Path:
    """The folder of the jobs on the other side; the profile ``ci`` leads there."""
    folder = user.home.parent / "remote"
    folder.mkdir()
    user.settings(
        'tunnel = "ssh"', 'host = "127.0.0.1"', 'user = "root"', f"port = {cluster.port}",
        f'identity = "{cluster.key}"', f'remote_job_dir = "{folder}"', 'packager = "none"',
    )  # fmt: skip
    return folder


def test_refused_job_behind_ssh_leaves_no_key_on_either_side(
    user: User, cluster: Cluster, remote: Path
) -> None:
    key = token_hex(20)
    result = user.lineage("run", "ci", "partition=nowhere", "--", "true", WANDB_API_KEY=key)
    assert (result.status, "invalid partition" in result.err) == (1, True), result.err
    assert list(remote.rglob("*_sbatch.sh"))  # it had got there
    assert files_with(key, cluster.folder) == set()


def test_lost_connection_is_made_anew(user: User, cluster: Cluster, remote: Path) -> None:
    go = user.project / "go"
    script = f"echo first; until [ -e {go} ]; do sleep 0.1; done; echo last; exit 3"
    process = user.start("run", "ci", "--", "sh", "-c", script)
    number = user.number()
    until(lambda: cluster.state(number) == "RUNNING", "the job")
    cluster.stop_sshd()
    assert process.stderr is not None
    # it says so when it connects; what cannot be reached is tried again
    tries = 0
    while tries < 3:
        line = process.stderr.readline()
        assert line, "the launcher has ended"
        tries += "Connecting to" in line
    cluster.start_sshd()
    go.touch()
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (3, "first\nlast\n"), err
    assert _launch(user).status is RunStatus.FAILED
