"""Secrets on a real Slurm: the job sees them, nobody else does, and nothing of them stays."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import warnings
from pathlib import Path
from secrets import choice, token_hex
from string import ascii_lowercase

import pytest

from ..leaks import (
    files_with,
    logs,
    nobody_reads,
    others_can_read,
    watching_processes,
)
from .conftest import Cluster, User, until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # those of what nemo-run imports
    pytest.importorskip("nemo_run")

# drawn anew, so that nothing of another run is found
KEY = token_hex(20)
TOKEN = f"hf_{token_hex(17)}"
SEEN = """\
import hashlib, json, os, sys, time
names = ("WANDB_API_KEY", "HF_TOKEN", "MY_KEY", "NETRC")
def mark(value): return hashlib.sha256(value.encode()).hexdigest()
out = {name: mark(os.environ[name]) for name in names if name in os.environ}
path = sys.argv[1]
with open(path + ".new", "w") as file:
    json.dump(out, file)
os.replace(path + ".new", path)  # whoever waits for it finds it whole
if "SLURM_RESTART_COUNT" not in os.environ:
    time.sleep(float(os.environ.get("WAIT", "0")))
    while not os.path.exists(os.environ.get("GO", "/")):
        time.sleep(0.05)
sys.exit(int(os.environ.get("CODE", "0")))
"""


def _mark(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


@pytest.fixture
def logged_in(user: User) -> User:
    """Somebody who is logged in to W&B and Hugging Face, and has exported neither."""
    (user.home / ".netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    token = user.home / ".cache" / "huggingface" / "token"
    token.parent.mkdir(parents=True)
    token.write_text(TOKEN)
    for path in (user.home / ".netrc", token):
        path.chmod(0o600)
    return user


def _own(user: User) -> set[Path]:
    return {user.home / ".netrc", user.home / ".cache" / "huggingface" / "token"}


def _secret_files(user: User) -> list[Path]:
    return list((user.home / ".nemo_run").rglob("secrets.sh"))


def _seen(user: User, name: str = "seen.json") -> dict[str, str]:
    found: dict[str, str] = json.loads((user.project / name).read_text())
    return found


# ------------------------------------------------------------------------------ the leak test


def test_with_defaults_nothing_is_left_and_nobody_else_could_read_it(
    logged_in: User, cluster: Cluster
) -> None:
    user = logged_in
    python = user.script(SEEN)
    with watching_processes(KEY, TOKEN) as seen_in_processes:
        go = user.project / "go"  # the job is there while we look
        words = [f"env_vars.GO={go}", "--", python, "job.py", "seen.json"]
        process = user.start("run", "ci", *words)
        until((user.project / "seen.json").exists, "the job")
        (file,) = _secret_files(user)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert nobody_reads(file)
        assert files_with(KEY, cluster.folder) == {user.home / ".netrc", file}
        go.touch()
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert _seen(user) == {"WANDB_API_KEY": _mark(KEY), "HF_TOKEN": _mark(TOKEN)}
    # homes, experiments, the state and the logs of Slurm: only what the user keeps there
    for secret in (KEY, TOKEN):
        assert files_with(secret, cluster.folder) <= _own(user)
        assert not seen_in_processes
        assert secret not in out + err
    assert len(logs(cluster.folder)) >= 4
    assert not _secret_files(user)


@pytest.mark.parametrize("form", ["file", "env", "inherit"])
def test_exported_key_reaches_the_job_and_no_other_user(
    user: User, cluster: Cluster, form: str
) -> None:
    key, mine = token_hex(20), "".join(choice(ascii_lowercase) for _ in range(16))
    python = user.script(SEEN)
    words = [f"secrets={form}", f"env_vars.MY_KEY={mine}"]
    result = user.lineage("run", "ci", *words, "--", python, "job.py", "seen.json",
                          WANDB_API_KEY=key)  # fmt: skip
    assert result.status == 0, result.err
    assert _seen(user) == {"WANDB_API_KEY": _mark(key), "MY_KEY": _mark(mine)}
    for secret in (key, mine):
        found = files_with(secret, cluster.folder)
        assert not [path for path in found if others_can_read(path)]
        if form != "env":
            assert not set(logs(cluster.folder)) & found
    if form == "env":  # as documented, in the script that Slurm runs; for the user alone
        assert [path for path in files_with(key, user.home) if path.name.endswith("_sbatch.sh")]


def test_netrc_hands_over_a_path(logged_in: User, cluster: Cluster) -> None:
    user = logged_in
    python = user.script(SEEN)
    table = '[ci.secrets]\nWANDB_API_KEY = "netrc"\nHF_TOKEN = "netrc"'
    user.settings(table)
    result = user.lineage("run", "ci", "--", python, "job.py", "seen.json")
    assert result.status == 0, result.err
    assert _seen(user) == {"NETRC": _mark(str(user.home / ".netrc"))}
    for secret in (KEY, TOKEN):
        assert files_with(secret, cluster.folder) <= _own(user)


@pytest.mark.parametrize("content", ["{}\n", "MY_KEY={}\n", "# mine\nexport MY_KEY='{}'\n"])
def test_file_of_the_user_is_read_by_the_job(user: User, cluster: Cluster, content: str) -> None:
    secret = token_hex(20)
    value = f"{secret} $(touch INJECTED) `id`"
    path = user.home / "mine"
    path.write_text(content.format(value))
    path.chmod(0o600)
    user.settings(f'[ci.secrets]\nMY_KEY = "file:{path}"')
    python = user.script(SEEN)
    result = user.lineage("run", "ci", "--", python, "job.py", "seen.json")
    assert result.status == 0, result.err
    assert _seen(user) == {"MY_KEY": _mark(value)}
    assert not (user.project / "INJECTED").exists()
    assert files_with(secret, cluster.folder) == {path}


# ------------------------------------------------------------------------------ its life


@pytest.mark.parametrize("code", ["0", "3"])
def test_file_of_secrets_goes_with_the_job(logged_in: User, code: str) -> None:
    python = logged_in.script(SEEN)
    words = ["run", "ci", f"env_vars.CODE={code}", "--", python, "job.py", "seen.json"]
    assert logged_in.lineage(*words).status == int(code)
    assert not _secret_files(logged_in)


def test_file_of_secrets_goes_with_a_cancelled_job_that_nobody_watches(
    logged_in: User, cluster: Cluster
) -> None:
    user = logged_in
    python = user.script(SEEN)
    words = ["--detach", "env_vars.WAIT=600", "--", python, "job.py", "seen.json"]
    result = user.lineage("run", "ci", *words)
    assert result.status == 0, result.err
    until((user.project / "seen.json").exists, "the job")
    assert _secret_files(user)
    cluster.run("scancel", user.number())
    until(lambda: not _secret_files(user), "the end")


def test_file_of_secrets_stays_while_the_job_is_to_run_again(
    logged_in: User, cluster: Cluster
) -> None:
    user = logged_in
    python = user.script(SEEN.replace("sys.argv[1]", "sys.argv[1] + os.environ.get("
                                      "'SLURM_RESTART_COUNT', '0')"))  # fmt: skip
    words = ["env_vars.WAIT=600", "--", python, "job.py", "seen"]
    process = user.start("run", "ci", *words)
    until((user.project / "seen0").exists, "the job")
    number = user.number()
    cluster.run("scontrol", "requeue", number)
    until(lambda: cluster.state(number) == "PENDING", "the requeue")
    assert _secret_files(user)

    # Slurm lets a requeued job wait for two minutes, unless it heeds this
    cluster.run("scontrol", "update", f"JobId={number}", "StartTime=now", check=False)
    until((user.project / "seen1").exists, "the second attempt", seconds=400)
    assert _seen(user, "seen1") == _seen(user, "seen0")
    process.communicate(timeout=300)
    assert process.returncode == 0
    assert not _secret_files(user)


def test_file_of_secrets_serves_all_elements_of_an_array(logged_in: User) -> None:
    user = logged_in
    python = user.script(SEEN.replace("sys.argv[1]", "sys.argv[1] + os.environ"
                                      "['SLURM_ARRAY_TASK_ID']"))  # fmt: skip
    words = ["array=1-3%1", "--", python, "job.py", "seen"]
    result = user.lineage("run", "ci", *words)
    assert result.status == 0, result.err
    marks = {"WANDB_API_KEY": _mark(KEY), "HF_TOKEN": _mark(TOKEN)}
    assert [_seen(user, f"seen{number}") for number in (1, 2, 3)] == [marks] * 3
    assert not _secret_files(user)


def test_what_a_killed_node_left_goes_with_the_next_launch(logged_in: User) -> None:
    """The job that owned it is unknown to Slurm; younger files may belong to one that starts."""
    user = logged_in
    python = user.script(SEEN)
    old, young = (user.home / ".nemo_run" / "experiments" / "t" / f"t_{at}" / "task" / ".lineage"
                  for at in (1, 2))  # fmt: skip
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "secrets.sh").write_text("export MY_KEY=left")
    os.utime(old / "secrets.sh", (1, 1))
    words = ["run", "ci", "env_vars.WAIT=1", "--", python, "job.py", "seen.json"]
    assert user.lineage(*words).status == 0
    assert not (old / "secrets.sh").exists()
    assert (young / "secrets.sh").exists()


def test_file_of_a_job_that_waits_is_not_swept(logged_in: User, cluster: Cluster) -> None:
    user = logged_in
    python = user.script(SEEN)
    later = 'additional_parameters={begin="now+3600"}'
    result = user.lineage("run", "ci", "--detach", later, "--", python, "job.py", "x.json")
    assert result.status == 0, result.err
    (file,) = _secret_files(user)
    os.utime(file, (1, 1))
    number = user.number()
    assert user.lineage("run", "ci", "--", "true").status == 0
    assert file.exists()
    cluster.run("scancel", number)


# ------------------------------------------------------------------------------ in one's own code


OWN = """\
import sys
import nemo_run as run
from nemotron.kit.run import build_executor, load_run_profile
executor = build_executor(load_run_profile("ci"), env_vars={"GREETING": "a b; $HOME"})
assert "WANDB_API_KEY" not in executor.env_vars
assert executor.env_vars["WANDB_PROJECT"] == "nemotron"
with run.Experiment("own") as exp:
    exp.add(run.Script(path=sys.argv[1], args=["seen.json"], entrypoint="python"),
            executor=executor, name="task")
    exp.run(detach=True)
"""


def test_executor_serves_an_experiment_of_the_users_own(logged_in: User, cluster: Cluster) -> None:
    user = logged_in
    user.settings(wandb='[wandb]\nproject = "nemotron"')
    user.script(SEEN.replace("sys.argv[1]", f"{str(user.project)!r} + '/' + sys.argv[1]"))
    user.script(OWN, "own.py")
    words = [sys.executable, "own.py", str(user.project / "job.py")]
    done = subprocess.run(words, cwd=user.project, env=user.environ, capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    until((user.project / "seen.json").exists, "the job")
    assert _seen(user) == {"WANDB_API_KEY": _mark(KEY), "HF_TOKEN": _mark(TOKEN)}
    until(lambda: not _secret_files(user), "the end")
    found = files_with(KEY, cluster.folder) | files_with(TOKEN, cluster.folder)
    assert found <= _own(user)


# ------------------------------------------------------------------------------ what is shown


def test_dry_run_shows_everything_but_secrets_and_does_nothing(user: User) -> None:
    mine = token_hex(8)
    words = ["--dry-run", f"env_vars.MY_KEY={mine}", "nodes=2", "secrets=env", "--"]
    result = user.lineage("run", "ci", *words, "python", "x.py", "--token", TOKEN,
                          WANDB_API_KEY=KEY)  # fmt: skip
    assert result.status == 0, result.err
    for shown in ("executor  slurm", "nodes = 2", "MY_KEY=[redacted]", "WANDB_API_KEY=[redacted]",
                  "python x.py --token '[redacted]'", "LINEAGE_JOB=nemo-run:"):  # fmt: skip
        assert shown in result.out
    for secret in (KEY, TOKEN, mine):
        assert secret not in result.out + result.err
    assert not (user.home / ".nemo_run").exists()
    assert not (user.project / "lineage.db").exists()


def test_refusal_of_slurm_shows_no_secret(user: User) -> None:
    words = ["secrets=env", "partition=nowhere", "--", "true"]
    result = user.lineage("run", "ci", *words, WANDB_API_KEY=KEY)
    assert result.status == 1
    assert KEY not in result.out + result.err


# ------------------------------------------------------------------------------ injection


COMMANDS = ["; touch INJECTED", "$(touch INJECTED)", "`touch INJECTED`", "' ; touch INJECTED ; '",
            '"; touch INJECTED; "', "\\'; touch INJECTED", "${x:=$(touch INJECTED)}",
            "a && touch INJECTED", "| touch INJECTED", "> INJECTED"]  # fmt: skip


@pytest.mark.parametrize("form", ["file", "env"])
def test_no_value_runs_a_command(user: User, form: str) -> None:
    table = "\n".join(f"V{at} = {json.dumps(text)}" for at, text in enumerate(COMMANDS))
    table += "\n" + "\n".join(f"K{at}_KEY = {json.dumps(t)}" for at, t in enumerate(COMMANDS))
    user.settings(f'secrets = "{form}"', "[ci.env_vars]", table)
    (user.project / "env.toml").chmod(0o600)  # else it may hold no secret
    python = user.script("import json, os; json.dump(dict(os.environ), open('seen.json', 'w'))")
    result = user.lineage("run", "ci", "--", python, "job.py", *COMMANDS)
    assert result.status == 0, result.err
    seen = json.loads((user.project / "seen.json").read_text())
    assert [seen[f"V{at}"] for at in range(len(COMMANDS))] == COMMANDS
    assert [seen[f"K{at}_KEY"] for at in range(len(COMMANDS))] == COMMANDS
    assert not list(user.home.parent.rglob("INJECTED"))


@pytest.mark.parametrize("key", ["job_name", "array", "packager_include_pattern"])
def test_words_that_nemo_run_would_not_quote_are_refused(user: User, key: str) -> None:
    result = user.lineage("run", "ci", f"{key}=x; touch INJECTED", "--", "true")
    assert result.status == 1
    assert f"{key}: would be read by a shell" in result.err
    assert not list(user.home.parent.rglob("INJECTED"))


# ------------------------------------------------------------------------------ Ray on Slurm


def test_ray_job_on_slurm_is_submitted_and_its_log_holds_no_key(
    logged_in: User, cluster: Cluster
) -> None:
    """The cluster itself needs containers (pyxis), which are not here: so the job fails."""
    user = logged_in
    user.settings(wandb='[wandb]\nproject = "nemotron"')
    result = user.lineage("run", "ci", "--ray", "packager=none", "--", "python", "train.py")
    assert (result.status, "ended as FAILED" in result.err) == (1, True), result.err
    (script,) = (user.home / ".nemo_run" / "ray").rglob("ray.sub")
    text = script.read_text()
    assert "export WANDB_PROJECT=nemotron" in text
    assert f"export NETRC={user.home}/.netrc" in text
    assert "python train.py" in text
    assert files_with(KEY, cluster.folder) <= _own(user)
    # it did start: what it prints of its environment is in its log
    assert any("WANDB_PROJECT=nemotron" in path.read_text() for path in logs(user.home))
