"""Jobs on a real Slurm: what they see, how they end, and what becomes of it in lineage."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from nemotron import lineage
from nemotron.lineage import Lineage, RunStatus
from nemotron.lineage.demo import STAGES

from .conftest import Cluster, User, until

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # those of what nemo-run imports
    pytest.importorskip("nemo_run")

SEEN = """\
import json, os, sys
json.dump(dict(os.environ), open(sys.argv[1], "w"))
"""
PUBLISH = """\
import os, sys, time
from nemotron import lineage
with lineage.open() as store, store.run("train", job_type="training") as run:
    for reference in sys.argv[1:]:
        run.use(reference)
    run.publish("model", path="job.py", type="model")
    if os.environ.get("WAIT"):
        open("started", "w").close()
        time.sleep(float(os.environ["WAIT"]))
sys.exit(int(os.environ.get("CODE", "0")))
"""


def _seen(user: User, *words: str, settings: tuple[str, ...] = (), **more: str) -> dict[str, str]:
    """Return the environment that a job sees."""
    user.settings(*settings)
    python = user.script(SEEN)
    result = user.lineage("run", "ci", *words, "--", python, "job.py", "seen.json", **more)
    assert result.status == 0, result.err
    found: dict[str, str] = json.loads((user.project / "seen.json").read_text())
    return found


def _store(user: User) -> Lineage:
    return lineage.open(user.project / "lineage.db")


# ------------------------------------------------------------------------------ what it sees


VALUES = {
    "SPACES": "two  spaces ", "DOLLARS": "$HOME ${num_nodes_var} $$ $(id) $", "SEMICOLON": "a;id",
    "QUOTES": "it's \"quoted\" `id`", "BACKSLASH": "\\n \\", "FOLDER": "/a/nemo_runs /nemo_run/x",
    "GLOB": "* ? [a] ~ {a,b} !x #y", "UNICODE": "größe ✓", "TAB": "a\tb", "EMPTY": "",
    "EQUALS": "a=b", "JINJA": "{{ x }} {% if %}", "PERCENT": "%j %t",
}  # fmt: skip


def test_variables_arrive_as_they_are(user: User) -> None:
    table = "\n".join(f"{name} = {json.dumps(value)}" for name, value in VALUES.items())
    seen = _seen(user, settings=("[ci.env_vars]", table))
    assert {name: seen.get(name) for name in VALUES} == VALUES


def test_job_sees_what_it_is_told(user: User) -> None:
    (user.home / ".netrc").write_text("machine api.wandb.ai login user password " + "k" * 40)
    (user.home / ".netrc").chmod(0o600)
    wandb = '[wandb]\nproject = "nemotron"\nentity = "my-team"\ngroup = "a group"\n'
    user.settings(wandb=wandb)
    python = user.script(SEEN)
    result = user.lineage("run", "ci", "--", python, "job.py", "seen.json")
    assert result.status == 0, result.err
    seen = json.loads((user.project / "seen.json").read_text())
    with _store(user) as store:
        (launch,) = store.runs()
    expected = {
        "WANDB_API_KEY": "k" * 40, "WANDB_PROJECT": "nemotron", "WANDB_ENTITY": "my-team",
        "WANDB_GROUP": "a group", "WANDB_RUN_GROUP": "a group",
        "LINEAGE_STORE": str(user.project / "lineage.db"), "LINEAGE_JOB": launch.job,
        "LINEAGE_PARENT_RUN": launch.id,
    }  # fmt: skip
    assert {name: seen.get(name) for name in expected} == expected


def test_words_of_the_command_arrive_as_they_are(user: User) -> None:
    words = ["a b", "$HOME", "x;touch INJECTED", "it's", '"', "`id`", "*", "-x=$(touch INJECTED)"]
    python = user.script("import json, sys; json.dump(sys.argv[1:], open('seen.json', 'w'))")
    result = user.lineage("run", "ci", "--", python, "job.py", *words)
    assert result.status == 0, result.err
    assert json.loads((user.project / "seen.json").read_text()) == words
    assert not (user.project / "INJECTED").exists()


# ------------------------------------------------------------------------------ how it ends


def test_output_and_exit_status_are_those_of_the_job(user: User) -> None:
    # Slurm mixes both streams into one log in an order of its own, write by write
    said = "os.write(1, b'one line\\n'); os.write(2, b'said why\\n')"
    python = user.script(f"import os, sys; {said}; sys.exit(1)")
    result = user.lineage("run", "ci", "--", python, "job.py")
    assert (result.status, sorted(result.out.splitlines())) == (1, ["one line", "said why"])
    assert "ended as FAILED, exit status 1" in result.err


def test_failing_job_fails_its_launcher_with_its_exit_status(user: User) -> None:
    python = user.script(PUBLISH)
    result = user.lineage("run", "ci", "env_vars.CODE=7", "--", python, "job.py")
    assert result.status == 7
    with _store(user) as store:
        runs = {run.name: run for run in store.runs()}
    assert runs["launch"].status is RunStatus.FAILED
    assert "exit status 7" in (runs["launch"].error or "")
    assert runs["train"].status is RunStatus.OK  # it had ended before


def test_killed_process_has_the_status_that_shells_give_it(user: User) -> None:
    python = user.script("import os; os.kill(os.getpid(), 9)")
    assert user.lineage("run", "ci", "--", python, "job.py").status == 137


def test_job_that_slurm_refuses_is_a_failed_launch(user: User) -> None:
    result = user.lineage("run", "ci", "partition=nowhere", "--", "true")
    assert result.status == 1
    assert "launching on slurm failed" in result.err
    assert "invalid partition" in result.err
    assert "Traceback" not in result.err
    with _store(user) as store:
        (run,) = store.runs()
    assert (run.name, run.status) == ("launch", RunStatus.FAILED)


def test_cancelled_job_ends_aborted(user: User, cluster: Cluster) -> None:
    python = user.script(PUBLISH)
    process = user.start("run", "ci", "env_vars.WAIT=600", "--", python, "job.py")
    until((user.project / "started").exists, "the job")
    cluster.run("scancel", user.number())
    _, err = process.communicate(timeout=300)
    assert process.returncode == 143, err
    with _store(user) as store:
        runs = {run.name: run for run in store.runs()}
    assert {name: run.status for name, run in runs.items()} == {
        "launch": "aborted", "train": "aborted",
    }  # fmt: skip
    assert "ended as CANCELLED" in (runs["train"].error or "")


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_launcher_that_is_stopped_cancels_its_job(
    user: User, cluster: Cluster, name: str, status: int
) -> None:
    python = user.script(PUBLISH)
    process = user.start("run", "ci", "env_vars.WAIT=600", "--", python, "job.py")
    until((user.project / "started").exists, "the job")
    process.send_signal(getattr(signal, name))
    process.communicate(timeout=300)
    assert process.returncode == status
    with _store(user) as store:
        assert {run.status for run in store.runs()} == {RunStatus.ABORTED}
        (number,) = {run.config["job"] for run in store.runs() if run.name == "launch"}
    until(lambda: cluster.state(number) == "CANCELLED", "the end")


def test_launcher_that_is_stopped_while_it_submits_cancels_its_job(
    user: User, cluster: Cluster
) -> None:
    sbatch = user.home.parent / "bin" / "sbatch"  # takes its time
    sbatch.write_text(
        f"#!/bin/sh\ntouch {user.home}/submitting\n"
        f"until [ -e {user.home}/go ]; do sleep 0.1; done\n"
        f'exec {shutil.which("sbatch")} "$@"\n'
    )
    sbatch.chmod(0o755)
    process = user.start("run", "ci", "--", "sleep", "600")
    until((user.home / "submitting").exists, "sbatch")
    process.send_signal(signal.SIGTERM)
    (user.home / "go").touch()
    _, err = process.communicate(timeout=300)
    assert (process.returncode, "cancelled once it is submitted" in err) == (143, True), err
    with _store(user) as store:
        (run,) = store.runs()
    assert run.status is RunStatus.ABORTED
    until(lambda: cluster.state(run.config["job"]) == "CANCELLED", "the end")


def test_detached_job_goes_on_without_its_launcher(user: User, cluster: Cluster) -> None:
    python = user.script(PUBLISH)
    result = user.lineage("run", "ci", "--detach", "--", python, "job.py", WAIT="1")
    assert result.status == 0, result.err
    with _store(user) as store:
        launch = next(run for run in store.runs() if run.name == "launch")
        assert (launch.status, f"{launch.job}\n") == ("ok", result.out)
        until(lambda: cluster.state(launch.config["job"]) == "COMPLETED", "the end")
        train = next(run for run in store.runs() if run.name == "train")
    assert (train.job, train.detail["parent"], train.status) == (launch.job, launch.id, "ok")


# ------------------------------------------------------------------------------ lineage


def test_launch_is_recorded_and_the_job_joins_it(user: User) -> None:
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        _git(user.project, *words)
    python = user.script(PUBLISH)
    assert user.lineage("run", "ci", "packager=none", "--", python, "job.py").status == 0
    words = ["job.py", "art://model:latest", "--api-key", "abc"]
    user.script(PUBLISH.replace("sys.argv[1:]", "sys.argv[1:2]"))
    result = user.lineage("run", "ci", "packager=none", "job_name=sft", "--", python, *words)
    assert result.status == 0, result.err
    with _store(user) as store:
        launch, train = (next(r for r in store.runs() if r.name == n) for n in ("launch", "train"))
        inputs = [str(each.target) for each in store.inputs("art://model:v2")]
    head = _git(user.project, "rev-parse", "HEAD")
    assert launch.config["profile"] == "ci"
    assert launch.config["executor"] == "slurm"
    assert launch.config["command"] == (f"{python} job.py art://model:v1 --api-key '[redacted]'")
    assert launch.detail["git"]["commit"] == head.strip()
    assert re.fullmatch(r"nemo-run:sft_\d+", launch.job or "")
    assert train.job == launch.job
    assert train.detail["parent"] == launch.id
    assert train.detail["launcher"]["SLURM_JOB_ID"] == launch.config["job"]
    assert inputs == ["art://model:v1"]


def test_inputs_are_pinned_when_the_job_is_submitted(user: User, cluster: Cluster) -> None:
    with _store(user) as store, store.run("first") as run:
        run.publish("tokens", path=user.project, type="dataset")
    (user.project / "train.yaml").write_text(
        'run: {data: "tokens:latest"}\npath: "${art:data,version}"\n'
    )
    python = user.script("""\
import sys
from omegaconf import OmegaConf
from nemotron.kit.resolvers import register_resolvers_from_config
config = OmegaConf.load(sys.argv[1])
register_resolvers_from_config(config)
print(config.path, sys.argv[2])
""")
    later = 'additional_parameters={begin="now+2"}'
    process = user.start(
        "run", "ci", later, "--art.base", "tokens", "--", python, "job.py", "train.yaml"
    )  # fmt: skip
    with _store(user) as store:
        until(lambda: any(run.name == "launch" for run in store.runs()), "the launch")
        with store.run("second") as run:
            run.publish("tokens", path=user.home, type="dataset")
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (0, "v1 run.base=art://tokens:v1\n"), err


def test_reference_to_nothing_is_told_before_the_job(user: User) -> None:
    result = user.lineage("run", "ci", "--", "python", "train.py", "art://nothing:latest")
    assert result.status == 3
    assert "there is no artifact 'nothing'" in result.err
    assert not (user.home / ".nemo_run" / "experiments").exists()


def test_demo_has_the_same_lineage_as_without_a_cluster(user: User) -> None:
    alone, submitted = user.project / "alone", user.project / "submitted"
    for folder in (alone, submitted):
        folder.mkdir()
    for stage in STAGES:
        stage_words = [sys.executable, "-m", "nemotron.lineage.demo", stage]
        subprocess.run(
            [*stage_words, str(alone)], check=True, cwd=user.project, capture_output=True,
            env={**user.environ, "LINEAGE_STORE": str(alone / "lineage.db")},
        )  # fmt: skip
        result = user.lineage(
            "run", "ci", f"job_name={stage}", "--store", submitted / "lineage.db", "--",
            *stage_words, submitted,
        )  # fmt: skip
        assert result.status == 0, result.err
    assert _shape(submitted) == _shape(alone)


def _shape(folder: Path) -> dict[str, Any]:
    """Return all that lineage says about a demo, but for ids, times and its folder."""
    with lineage.open(folder / "lineage.db") as store:
        found: dict[str, Any] = {}
        for artifact in store.artifacts():
            for version in store.log(artifact.name):
                inputs = sorted(
                    (str(i.target).replace(str(folder), ""), i.role, str(i.weight), str(i.split))
                    for i in store.inputs(version)
                )
                made = store.run_info(version.run or "")
                found[str(version.uri)] = (
                    version.type, version.state, version.aliases, dict(version.metadata), inputs,
                    made.name, made.job_type, dict(made.config),
                    version.address.removeprefix(str(folder)),
                )  # fmt: skip
        tree = store.lineage("art://demo/rl-model:final").tree()
        return {"versions": found, "tree": tree.replace(str(folder), "")}


# ------------------------------------------------------------------------------ the code


def test_committed_code_is_what_runs_and_env_toml_stays(user: User) -> None:
    python = user.script("""\
import os, pathlib
print(sorted(str(path) for path in pathlib.Path().rglob("*.*")), os.getcwd())
""")
    (user.project / "sub").mkdir()
    (user.project / "sub" / "env.toml").write_text("")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"]):
        _git(user.project, *words)
    (user.project / "later.py").write_text("")
    result = user.lineage("run", "ci", "--", python, "job.py")
    assert result.status == 0, result.err
    assert result.out.startswith("['job.py'] ")
    assert "/code" in result.out


def _git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
    return subprocess.run(
        ["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True,
        env={**os.environ, "HOME": str(folder)},
    ).stdout  # fmt: skip
